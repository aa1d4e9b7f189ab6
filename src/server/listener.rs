//! Addresses, and the thread that accepts connections on all of them.
//!
//! One thread accepts for all, and gives each connection to the event loop that has the fewest. The kernel's own way, a
//! listening socket for each loop (`SO_REUSEPORT`), deals by a hash of the addresses: eight clients of one machine may all
//! come to the same loop and stay there, and it does not exist for Unix sockets. The price is one wake-up for each new
//! connection; and whoever waits for the system to have descriptors again holds up nobody.
//!
//! Knows sockets and counters; knows no protocol.

use std::fs::{self, Permissions};
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use mio::net::{TcpListener, UnixListener};
use mio::{Events, Interest, Poll, Token, Waker};
use socket2::{Domain, SockAddr, Type};

use crate::server::error::ServerError;
use crate::server::shared::Shared;
use crate::server::stream::{Socket, Stream};
use crate::server::tls::{Acceptor, Tls};

/// For so long nobody is accepted after the system had no descriptor left.
const PAUSE: Duration = Duration::from_millis(20);

const TOO_MANY: &[u8] = b"ERROR Too many open connections\r\n";

/// Where a server listens: TCP on a host and port, or a Unix socket; each with or without TLS.
///
/// A text with a `/` in it is the path of a Unix socket, any other is `HOST:PORT`. A host name stands for all its
/// addresses; port 0 lets the system choose, and [`Handle::addresses`](crate::server::Handle::addresses) says what.
///
/// # Examples
///
/// ```
/// use larder::server::{Listen, Tls};
///
/// let plain = Listen::from("127.0.0.1:11211");
/// let secure = Listen::from("[::]:11212").tls(Tls::new("chain.pem", "key.pem"));
/// let local = Listen::from("/run/larder.sock").mode(0o770);
/// ```
#[derive(Clone, Debug)]
pub struct Listen {
    at: String,
    mode: u32,
    tls: Option<Tls>,
}

impl From<&str> for Listen {
    fn from(at: &str) -> Self {
        Self::from(at.to_owned())
    }
}

impl From<String> for Listen {
    fn from(at: String) -> Self {
        Self { at, mode: 0o700, tls: None }
    }
}

impl From<SocketAddr> for Listen {
    fn from(at: SocketAddr) -> Self {
        Self::from(at.to_string())
    }
}

impl Listen {
    /// Connections here are encrypted.
    #[must_use]
    pub fn tls(mut self, tls: Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Who may use a Unix socket: its file's mode, `0o700` unless set otherwise. Has no effect on TCP.
    #[must_use]
    pub fn mode(mut self, mode: u32) -> Self {
        self.mode = mode;
        self
    }

    /// The sockets, open and listening. `anyone` says that connections from beyond this machine need not authenticate.
    pub(crate) fn bind(self, backlog: u32, anyone: bool) -> Result<Vec<Listener>, ServerError> {
        let backlog = i32::try_from(backlog).unwrap_or(i32::MAX);
        let open = !anyone && !self.tls.as_ref().is_some_and(Tls::authenticates);
        let tls = self.tls.map(|files| Acceptor::load(files).map(Arc::new)).transpose()?;
        if self.at.contains('/') {
            let path = PathBuf::from(&self.at);
            let socket = bind_unix(&path, self.mode, backlog)
                .map_err(|source| ServerError::Listen { address: self.at, source })?;
            return Ok(vec![Listener::new(Bound::Unix(socket, path), tls)]);
        }
        let hosts = match self.at.to_socket_addrs() {
            Ok(hosts) => hosts,
            Err(source) => return Err(ServerError::Address { given: self.at, source }),
        };
        let mut bound = Vec::new();
        for host in hosts {
            if open && !host.ip().to_canonical().is_loopback() {
                return Err(ServerError::Unauthenticated { address: host.to_string() });
            }
            let socket =
                bind_tcp(host, backlog).map_err(|source| ServerError::Listen { address: host.to_string(), source })?;
            bound.push(Listener::new(Bound::Tcp(socket), tls.clone()));
        }
        Ok(bound)
    }
}

fn bind_tcp(at: SocketAddr, backlog: i32) -> io::Result<TcpListener> {
    let socket = socket2::Socket::new(Domain::for_address(at), Type::STREAM, None)?;
    if at.is_ipv6() {
        // Each family is asked for by its own address.
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    // What is accepted inherits both.
    socket.set_keepalive(true)?;
    socket.set_tcp_nodelay(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&at.into())?;
    socket.listen(backlog)?;
    Ok(TcpListener::from_std(socket.into()))
}

fn bind_unix(path: &Path, mode: u32, backlog: i32) -> io::Result<UnixListener> {
    remove_stale(path)?;
    let socket = socket2::Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::unix(path)?)?;
    // Nobody can connect before listen(), so the mode is right from the first connection on.
    fs::set_permissions(path, Permissions::from_mode(mode))?;
    socket.listen(backlog)?;
    Ok(UnixListener::from_std(socket.into()))
}

/// Removes a socket that a server left behind; one that answers is somebody's, and what is no socket is left alone.
fn remove_stale(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => match UnixStream::connect(path) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
            _ => Err(io::ErrorKind::AddrInUse.into()),
        },
        _ => Ok(()),
    }
}

#[derive(Debug)]
enum Bound {
    Tcp(TcpListener),
    Unix(UnixListener, PathBuf),
}

/// A listening socket; a Unix socket's file goes with it.
#[derive(Debug)]
pub(crate) struct Listener {
    socket: Bound,
    tls: Option<Arc<Acceptor>>,
    /// As memcached writes it: `tcp:HOST:PORT`, `unix:PATH`.
    name: Arc<str>,
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Bound::Unix(_, path) = &self.socket {
            // It may be gone already.
            let _ = fs::remove_file(path);
        }
    }
}

impl Listener {
    fn new(socket: Bound, tls: Option<Arc<Acceptor>>) -> Self {
        let name = match &socket {
            Bound::Tcp(socket) => socket.local_addr().map_or_else(|error| error.to_string(), |at| format!("tcp:{at}")),
            Bound::Unix(_, path) => format!("unix:{}", path.display()),
        };
        Self { socket, tls, name: name.into() }
    }

    /// `HOST:PORT`, or a Unix socket's path.
    pub(crate) fn address(&self) -> &str {
        self.name.split_once(':').map_or("", |(_, address)| address)
    }

    pub(crate) fn tls(&self) -> Option<&Arc<Acceptor>> {
        self.tls.as_ref()
    }

    fn accept(&self) -> io::Result<(Socket, String)> {
        match &self.socket {
            Bound::Tcp(socket) => socket.accept().map(|(stream, peer)| (Socket::Tcp(stream), format!("tcp:{peer}"))),
            Bound::Unix(socket, _) => socket.accept().map(|(stream, _)| (Socket::Unix(stream), self.name.to_string())),
        }
    }

    fn register(&mut self, poll: &Poll, token: Token) -> io::Result<()> {
        match &mut self.socket {
            Bound::Tcp(socket) => poll.registry().register(socket, token, Interest::READABLE),
            Bound::Unix(socket, _) => poll.registry().register(socket, token, Interest::READABLE),
        }
    }
}

/// All listeners, and what wakes up the thread that accepts for them.
pub(crate) struct Accepting {
    poll: Poll,
    listeners: Vec<Listener>,
}

impl Accepting {
    /// The waker is for stopping it.
    pub(crate) fn new(mut listeners: Vec<Listener>) -> io::Result<(Self, Waker)> {
        let poll = Poll::new()?;
        for (at, listener) in listeners.iter_mut().enumerate() {
            listener.register(&poll, Token(at))?;
        }
        let waker = Waker::new(poll.registry(), Token(listeners.len()))?;
        Ok((Self { poll, listeners }, waker))
    }

    pub(crate) fn listeners(&self) -> &[Listener] {
        &self.listeners
    }

    /// Accepts until the server stops; the listeners are closed then.
    pub(crate) fn run(mut self, shared: &Shared) {
        let mut events = Events::with_capacity(64);
        while !shared.is_stopping() {
            // All of them, whatever the event: it is rare, and there are few. Each is asked until it has no more.
            let exhausted = self.listeners.iter().any(|listener| !accept_waiting(listener, shared));
            shared.set_accepting(!exhausted);
            if let Err(error) = self.poll.poll(&mut events, exhausted.then_some(PAUSE)) {
                if error.kind() != io::ErrorKind::Interrupted {
                    shared.stop();
                }
            }
        }
    }
}

/// Takes what waits at one listener. False when the system has no descriptor or memory for it: it goes on waiting.
fn accept_waiting(listener: &Listener, shared: &Shared) -> bool {
    loop {
        match listener.accept() {
            Ok((socket, peer)) => welcome(socket, peer, listener, shared),
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock => return true,
                io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted => {}
                _ => return false,
            },
        }
    }
}

/// Gives the connection to an event loop, unless there are too many.
fn welcome(mut socket: Socket, peer: String, listener: &Listener, shared: &Shared) {
    if shared.open_connections() >= shared.limits.max_connections {
        shared.reject();
        if listener.tls.is_none() {
            socket.refuse(TOO_MANY);
        }
        return;
    }
    match listener.tls.as_deref().map(Acceptor::accept).transpose() {
        Ok(tls) => shared.admit(Stream::new(socket, tls), peer, listener.name.clone()),
        Err(_) => shared.reject(),
    }
}
