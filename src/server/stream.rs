//! The bytes of one connection: TCP or a Unix socket, with or without TLS, none of which ever blocks.
//!
//! Knows sockets and `rustls`; knows nothing of what the bytes mean, nor of event loops.

use std::io::{self, IoSlice, Read, Write};
use std::net::Shutdown;

use mio::event::Source;
use mio::net::{TcpStream, UnixStream};
use mio::{Interest, Registry, Token};
use rustls::ServerConnection;

/// An accepted socket.
#[derive(Debug)]
pub(crate) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Socket {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(into),
            Self::Unix(stream) => stream.read(into),
        }
    }

    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write(from),
            Self::Unix(stream) => stream.write(from),
        }
    }

    /// A last word to who is not served. Without waiting: a socket that is just open has room for it.
    pub(crate) fn refuse(&mut self, why: &[u8]) {
        let _ = self.write(why);
        self.shutdown_write();
        // What is closed unread takes back what was written.
        let _ = self.read(&mut [0; 2048]);
    }

    fn source(&mut self) -> &mut dyn Source {
        match self {
            Self::Tcp(stream) => stream,
            Self::Unix(stream) => stream,
        }
    }

    fn shutdown_write(&self) {
        // It may be closed by the other side, which is as good.
        let _ = match self {
            Self::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Self::Unix(stream) => stream.shutdown(Shutdown::Write),
        };
    }
}

/// For `rustls`, which reads and writes by these traits.
struct Wire<'a>(&'a mut Socket);

impl Read for Wire<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.0.read(into)
    }
}

impl Write for Wire<'_> {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        self.0.write(from)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A socket, and its encryption where the listener asks for it.
#[derive(Debug)]
pub(crate) struct Stream {
    socket: Socket,
    tls: Option<Box<ServerConnection>>,
}

impl Stream {
    pub(crate) fn new(socket: Socket, tls: Option<ServerConnection>) -> Self {
        Self { socket, tls: tls.map(Box::new) }
    }

    /// Reads what there is, 0 at the end. `WouldBlock` when there is nothing now.
    pub(crate) fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let Some(tls) = &mut self.tls else { return self.socket.read(into) };
        loop {
            match tls.reader().read(into) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // Some clients close without saying so first; what is incomplete then is dropped as on a plain connection.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(0),
                done => return done,
            }
            tls.read_tls(&mut Wire(&mut self.socket))?;
            let processed = tls.process_new_packets();
            // The handshake's next message, or the alert that says what was wrong.
            let written = write_tls(tls, &mut self.socket);
            processed.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            match written {
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
                _ => {}
            }
        }
    }

    /// Whether a read that did not fill its buffer has taken all there was.
    pub(crate) fn short_read_is_all(&self) -> bool {
        self.tls.is_none()
    }

    /// Writes some of it. `WouldBlock` when nothing can be written now.
    pub(crate) fn write_vectored(&mut self, from: &[IoSlice<'_>]) -> io::Result<usize> {
        match (&self.tls, &mut self.socket) {
            // Encryption copies in any case: piece by piece.
            (Some(_), _) => from.first().map_or(Ok(0), |first| self.write(first)),
            (None, Socket::Tcp(stream)) => stream.write_vectored(from),
            (None, Socket::Unix(stream)) => stream.write_vectored(from),
        }
    }

    /// The same, of what lies together.
    pub(crate) fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        let Some(tls) = &mut self.tls else { return self.socket.write(from) };
        // First what it holds back: it takes nothing more when that is too much.
        write_tls(tls, &mut self.socket)?;
        let taken = tls.writer().write(from)?;
        match write_tls(tls, &mut self.socket) {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
            _ => Ok(taken),
        }
    }

    /// Writes what encryption holds back; `WouldBlock` when some is left.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        match &mut self.tls {
            Some(tls) => write_tls(tls, &mut self.socket),
            None => Ok(()),
        }
    }

    /// Says goodbye, as far as that can be done without waiting: the other side reads all that was written, then the end.
    pub(crate) fn finish(&mut self) {
        if let Some(tls) = &mut self.tls {
            tls.send_close_notify();
            let _ = write_tls(tls, &mut self.socket);
        }
        self.socket.shutdown_write();
    }

    pub(crate) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        self.socket.source().register(registry, token, Interest::READABLE)
    }

    /// Also wakes up, or no longer does, when something can be written.
    pub(crate) fn watch_writable(&mut self, registry: &Registry, token: Token, writable: bool) -> io::Result<()> {
        let interest = if writable { Interest::READABLE | Interest::WRITABLE } else { Interest::READABLE };
        self.socket.source().reregister(registry, token, interest)
    }
}

fn write_tls(tls: &mut ServerConnection, socket: &mut Socket) -> io::Result<()> {
    while tls.wants_write() {
        if tls.write_tls(&mut Wire(socket))? == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
    }
    Ok(())
}
