//! Who may use the server: a file of `user:password` lines, one format for memcached's text form and for SASL PLAIN.
//!
//! Knows the file, and keeps nothing of it but digests: comparing them takes the same time whatever was sent, however
//! long, and whichever line it resembles. Knows no protocol and no socket.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use parking_lot::RwLock;
use ring::digest::{Context, SHA256, SHA256_OUTPUT_LEN};
use subtle::{Choice, ConstantTimeEq};

use crate::server::error::ServerError;

/// The file has at most so many bytes: what is larger is some other file, named by mistake.
const MAX_FILE: u64 = 1 << 20;

type Digest = [u8; SHA256_OUTPUT_LEN];

/// The users of a server, replaced as a whole when the file is read again.
pub(crate) struct Credentials {
    path: PathBuf,
    users: RwLock<Box<[Digest]>>,
}

impl Credentials {
    /// Reads the file.
    ///
    /// # Errors
    ///
    /// When it can't be read, has a line that is not `user:password`, or no line at all.
    pub(crate) fn load(path: &Path) -> Result<Self, ServerError> {
        let users = read(path)?;
        Ok(Self { path: path.to_owned(), users: RwLock::new(users) })
    }

    /// Reads the file again; on an error the users stay who they were.
    pub(crate) fn reload(&self) -> Result<(), ServerError> {
        let users = read(&self.path)?;
        *self.users.write() = users;
        Ok(())
    }

    /// Whether there is such a user with that password.
    pub(crate) fn check(&self, user: &[u8], password: &[u8]) -> bool {
        let given = digest(user, password);
        let users = self.users.read();
        let found = users.iter().fold(Choice::from(0), |found, known| found | known.ct_eq(&given));
        found.into()
    }
}

/// Without the digests: a password that is easy to guess could be guessed from one.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("path", &self.path).finish_non_exhaustive()
    }
}

/// One digest for both parts; the user's length in front keeps `ab`, `c` and `a`, `bc` apart.
fn digest(user: &[u8], password: &[u8]) -> Digest {
    let mut context = Context::new(&SHA256);
    context.update(&(user.len() as u64).to_le_bytes());
    context.update(user);
    context.update(password);
    let mut digest = [0; SHA256_OUTPUT_LEN];
    digest.copy_from_slice(context.finish().as_ref());
    digest
}

fn read(path: &Path) -> Result<Box<[Digest]>, ServerError> {
    let failed = |source: io::Error| ServerError::File { path: path.to_owned(), source };
    if fs::metadata(path).map_err(failed)?.len() > MAX_FILE {
        return Err(failed(io::Error::other("too large for a file of credentials")));
    }
    parse(&fs::read(path).map_err(failed)?).map_err(|line| ServerError::Credentials { path: path.to_owned(), line })
}

/// Digests of all lines; an error is the number of the line that is wrong, or 0 for a file without lines.
fn parse(text: &[u8]) -> Result<Box<[Digest]>, usize> {
    let mut users = Vec::new();
    for (at, line) in text.split(|&byte| byte == b'\n').enumerate() {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            continue;
        }
        let colon = line.iter().position(|&byte| byte == b':').ok_or(at + 1)?;
        let (user, password) = (&line[..colon], &line[colon + 1..]);
        // In memcached's text form a space ends the name.
        if user.is_empty() || password.is_empty() || user.contains(&b' ') {
            return Err(at + 1);
        }
        users.push(digest(user, password));
    }
    if users.is_empty() { Err(0) } else { Ok(users.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Credentials {
        let users = parse(text.as_bytes()).expect("lines are right");
        Credentials { path: PathBuf::new(), users: RwLock::new(users) }
    }

    #[test]
    fn every_line_is_a_user_and_nothing_else_is() {
        let credentials = of("alice:secret\nbob:a:b c\r\n\n");
        assert!(credentials.check(b"alice", b"secret"));
        assert!(credentials.check(b"bob", b"a:b c"));
        for (user, password) in
            [("alice", "secre"), ("alice", "secrets"), ("alice", ""), ("", ""), ("bob", "secret"), ("alices", "ecret")]
        {
            assert!(!credentials.check(user.as_bytes(), password.as_bytes()), "{user} {password}");
        }
    }

    #[test]
    fn nothing_of_a_user_is_shown() {
        assert_eq!(format!("{:?}", of("alice:secret\n")), "Credentials { path: \"\", .. }");
    }

    #[test]
    fn a_wrong_line_is_named() {
        assert_eq!(parse(b"a:b\nnocolon\n").unwrap_err(), 2);
        assert_eq!(parse(b":b\n").unwrap_err(), 1);
        assert_eq!(parse(b"a:\n").unwrap_err(), 1);
        assert_eq!(parse(b"a b:c\n").unwrap_err(), 1);
        assert_eq!(parse(b"\n\n").unwrap_err(), 0);
    }
}
