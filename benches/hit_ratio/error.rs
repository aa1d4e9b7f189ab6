//! What can be wrong with the input or the output, with the facts that a user needs to put it
//! right.

use std::fmt;
use std::io;
use std::path::PathBuf;

#[derive(Debug)]
pub(crate) enum Error {
    /// The file could not be read or unpacked.
    Read { path: PathBuf, source: io::Error },
    /// The file was read, and as a whole it is no trace.
    Format { path: PathBuf, what: String },
    /// A line of a text trace is wrong.
    Line { path: PathBuf, line: usize, what: String },
    /// The file could not be written.
    Write { path: PathBuf, source: io::Error },
    /// The plot could not be drawn.
    Plot(String),
    /// The arguments contradict each other.
    Arguments(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Read { path, source } => {
                write!(f, "{}: cannot be read: {source}", path.display())
            }
            Error::Format { path, what } => write!(f, "{}: {what}", path.display()),
            Error::Line { path, line, what } => {
                write!(f, "{}, line {line}: {what}", path.display())
            }
            Error::Write { path, source } => {
                write!(f, "{}: cannot be written: {source}", path.display())
            }
            Error::Plot(what) => write!(f, "the plot cannot be drawn: {what}"),
            Error::Arguments(what) => f.write_str(what),
        }
    }
}
