//! What keeps a server from starting, or from reading its files again.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::PathBuf;

/// A server that can't be as it was asked for.
#[derive(Debug)]
#[non_exhaustive]
pub enum ServerError {
    /// No address to listen on was given.
    NoAddress,
    /// What should be an address is none, or no host has that name.
    Address {
        /// What was given.
        given: String,
        /// Why it is none.
        source: io::Error,
    },
    /// The server would be open to everyone who reaches an address beyond this machine.
    Unauthenticated {
        /// That address.
        address: String,
    },
    /// A setting is out of its bounds.
    OutOfBounds {
        /// The setting's name.
        setting: &'static str,
        /// What was asked for.
        given: u64,
        /// The least there can be.
        min: u64,
        /// The most there can be.
        max: u64,
    },
    /// The system refused the address.
    Listen {
        /// What was to be listened on.
        address: String,
        /// Why not.
        source: io::Error,
    },
    /// The metrics can't be served at that address.
    Metrics {
        /// What was given.
        address: String,
        /// Why not.
        what: String,
    },
    /// A file could not be read.
    File {
        /// Its path.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A file of credentials has a line that is not `user:password`, or none at all.
    Credentials {
        /// Its path.
        path: PathBuf,
        /// The number of the line, from 1, or 0 where there is none.
        line: usize,
    },
    /// A certificate or key is not what it should be.
    Certificate {
        /// The file's path.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// The system refused a thread, or what an event loop needs.
    System {
        /// Why.
        source: io::Error,
    },
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoAddress => f.write_str("a server needs an address: call listen()"),
            Self::Address { given, source } => {
                write!(
                    f,
                    "\"{given}\" is not an address to listen on ({source}): give HOST:PORT, or a path for a socket"
                )
            }
            Self::Unauthenticated { address } => {
                write!(
                    f,
                    "{address} can be reached from beyond this machine and nobody would have to authenticate: give \
                     credentials or client certificates, listen on 127.0.0.1, or allow it by allow_unauthenticated"
                )
            }
            Self::OutOfBounds { setting, given, min, max } => {
                write!(f, "{setting} is {given}: it must be from {min} to {max}")
            }
            Self::Listen { address, source } => write!(f, "can't listen on {address}: {source}"),
            Self::Metrics { address, what } => write!(f, "can't serve metrics at {address}: {what}"),
            Self::File { path, source } => write!(f, "can't read {}: {source}", path.display()),
            Self::Credentials { path, line: 0 } => {
                write!(f, "{} has no line user:password, so nobody could authenticate", path.display())
            }
            Self::Credentials { path, line } => {
                write!(f, "{}, line {line}: it should be user:password, without a space in the name", path.display())
            }
            Self::Certificate { path, what } => write!(f, "TLS with {}: {what}", path.display()),
            Self::System { source } => write!(f, "can't start a thread of the server: {source}"),
        }
    }
}

impl Error for ServerError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Address { source, .. }
            | Self::Listen { source, .. }
            | Self::File { source, .. }
            | Self::System { source } => Some(source),
            _ => None,
        }
    }
}
