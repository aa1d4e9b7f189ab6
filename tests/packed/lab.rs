//! A codec that fails when it is told to.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

use larder::codec::{Codec, CodecError};

/// Keeps every other byte of values that are pairs of equal ones, and fails when it is told to.
#[derive(Default)]
pub(crate) struct Brittle {
    pub(crate) refuses: AtomicBool,
    pub(crate) panics: AtomicBool,
    pub(crate) is_broken: AtomicBool,
    /// Values of this length do not open.
    pub(crate) broken_len: AtomicUsize,
    pub(crate) must_encode: bool,
}

impl Brittle {
    pub(crate) fn strict() -> Self {
        Self { must_encode: true, ..Self::default() }
    }
}

impl Codec for Brittle {
    fn name(&self) -> &str {
        "brittle"
    }

    fn encode(&self, _: &[u8], plain: &[u8], out: &mut Vec<u8>) -> Result<(), CodecError> {
        out.extend(plain.iter().step_by(2));
        assert!(!self.panics.load(SeqCst), "told to panic");
        if self.refuses.load(SeqCst) { Err(CodecError::refused("brittle", "told to")) } else { Ok(()) }
    }

    fn decode(&self, _: &[u8], stored: &[u8], len: usize, out: &mut Vec<u8>) -> Result<(), CodecError> {
        out.extend(stored.iter().flat_map(|byte| [byte; 2]).take(len));
        assert!(!self.panics.load(SeqCst), "told to panic");
        let is_broken = self.is_broken.load(SeqCst) || len == self.broken_len.load(SeqCst);
        if is_broken { Err(CodecError::damaged("brittle", "told to")) } else { Ok(()) }
    }

    fn must_encode(&self) -> bool {
        self.must_encode
    }
}

/// What `Brittle` halves.
pub(crate) fn pairs(number: u8, len: usize) -> Vec<u8> {
    vec![number; len]
}
