//! The names of the codecs that this program was built with.

use std::sync::Arc;

use clap::ValueEnum;
use larder::codec::{self, Codec, CodecError};

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum CodecName {
    /// Whichever of the others saves most for its time, tried on samples
    Auto,
    /// Fast, and saves less than others
    #[cfg(feature = "snappy")]
    Snappy,
    /// Fast
    #[cfg(feature = "lz4")]
    Lz4,
    /// Saves much; level 6
    #[cfg(feature = "deflate")]
    Deflate,
    /// Saves most for its time; level 3
    #[cfg(feature = "zstd")]
    Zstd,
}

impl CodecName {
    pub(crate) fn codec(self) -> Result<Arc<dyn Codec>, CodecError> {
        Ok(match self {
            Self::Auto => Arc::new(codec::Auto::new()),
            #[cfg(feature = "snappy")]
            Self::Snappy => Arc::new(codec::Snappy::new()),
            #[cfg(feature = "lz4")]
            Self::Lz4 => Arc::new(codec::Lz4::new()),
            #[cfg(feature = "deflate")]
            Self::Deflate => Arc::new(codec::Deflate::new(6)?),
            #[cfg(feature = "zstd")]
            Self::Zstd => Arc::new(codec::Zstd::new(3)?),
        })
    }
}
