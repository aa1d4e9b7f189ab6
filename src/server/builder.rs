//! Every setting of a server, set once and checked once; the server that is ready to run, and the handle of one that runs.
//!
//! Does nothing at run time but start and stop threads.

use std::path::PathBuf;
use std::sync::Arc;
use std::thread::{self, JoinHandle, ThreadId};
use std::time::Duration;

use mio::Poll;
use parking_lot::Mutex;

use crate::server::auth::Credentials;
use crate::server::conversation::Protocol;

use crate::server::error::ServerError;
use crate::server::listener::{Accepting, Listen, Listener};
use crate::server::metrics::Metrics;
use crate::server::service::Service;
use crate::server::shared::{Around, Limits, Shared};
use crate::server::store::ServerCache;
use crate::server::tls::Acceptor;
use crate::server::worker::{self, Worker};

/// The most event loops.
const MAX_THREADS: usize = 1024;

/// The most connections, should the system have descriptors for them.
const MAX_CONNECTIONS: usize = 1 << 20;

/// Settings of a server to be; made by [`Server::builder`].
///
/// An address is needed, all else has a default. Of a setting made twice the later counts, but [`listen`](Self::listen)
/// adds an address with each call.
#[derive(Debug)]
#[must_use = "a builder makes a server only when build() is called"]
pub struct ServerBuilder {
    listen: Vec<Listen>,
    threads: usize,
    backlog: u32,
    credentials: Option<PathBuf>,
    allow_unauthenticated: bool,
    max_output: usize,
    requests_per_turn: usize,
    protocol: Option<Protocol>,
    allow_flush: bool,
    allow_dump: bool,
    metrics: Option<String>,
    limits: Limits,
}

impl ServerBuilder {
    fn new() -> Self {
        let limits =
            Limits { max_connections: 1024, idle_timeout: None, allow_shutdown: false, grace: Duration::from_secs(5) };
        Self {
            listen: Vec::new(),
            threads: thread::available_parallelism().map_or(4, usize::from),
            backlog: 1024,
            credentials: None,
            allow_unauthenticated: false,
            max_output: 256 << 10,
            requests_per_turn: 1000,
            protocol: None,
            allow_flush: true,
            allow_dump: true,
            metrics: None,
            limits,
        }
    }

    /// Adds an address: `"127.0.0.1:11211"`, `"[::1]:11211"`, `"/run/larder.sock"`, or a [`Listen`] with settings of its own.
    pub fn listen(mut self, at: impl Into<Listen>) -> Self {
        self.listen.push(at.into());
        self
    }

    /// The number of event loops, each a thread: as many as the machine has cores unless set otherwise. One more thread
    /// accepts connections and is mostly asleep.
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = threads;
        self
    }

    /// The most connections at a time, 1024 unless set otherwise. One more is answered `ERROR Too many open connections`
    /// and closed, and counted in `rejected_connections`.
    pub fn max_connections(mut self, max_connections: usize) -> Self {
        self.limits.max_connections = max_connections;
        self
    }

    /// How many connections may wait in the kernel to be accepted, 1024 unless set otherwise.
    pub fn backlog(mut self, backlog: u32) -> Self {
        self.backlog = backlog;
        self
    }

    /// Closes a connection that has sent and read nothing for so long, to the second; never unless set. One that has answers to
    /// read is given ten times as long: that it reads slowly is not seen at once. Counted in `idle_kicks`.
    pub fn idle_timeout(mut self, idle_timeout: Duration) -> Self {
        self.limits.idle_timeout = Some(idle_timeout);
        self
    }

    /// So many requests of one connection are answered before others have their turn, 1000 unless set otherwise. Counted in
    /// `conn_yields`.
    pub fn requests_per_turn(mut self, requests: usize) -> Self {
        self.requests_per_turn = requests;
        self
    }

    /// So many bytes, or one answer more, may wait for a connection to read them before its next request is looked at, 256
    /// KiB unless set otherwise. Values above 64 KiB are lent by the cache and count only while they wait. Counted in `output_stalls`.
    pub fn max_output(mut self, bytes: usize) -> Self {
        self.max_output = bytes;
        self
    }

    /// Speaks only this protocol. Unless set either is, as each client's first byte says.
    pub fn protocol(mut self, protocol: Protocol) -> Self {
        self.protocol = Some(protocol);
        self
    }

    /// Whether clients may remove all items by `flush_all`: `true` unless set otherwise.
    pub fn allow_flush(mut self, allow: bool) -> Self {
        self.allow_flush = allow;
        self
    }

    /// Whether clients may list all keys by `lru_crawler metadump`: `true` unless set otherwise.
    pub fn allow_dump(mut self, allow: bool) -> Self {
        self.allow_dump = allow;
        self
    }

    /// Serves counters at this address over HTTP, at `/metrics` as Prometheus reads them, and `ok` at `/healthz`; not unless
    /// set. Nobody has to authenticate there: it should be an address that only the monitoring reaches.
    pub fn metrics(mut self, address: impl Into<String>) -> Self {
        self.metrics = Some(address.into());
        self
    }

    /// Whether a client may end the server by `shutdown`: `false` unless set otherwise.
    pub fn allow_shutdown(mut self, allow: bool) -> Self {
        self.limits.allow_shutdown = allow;
        self
    }

    /// How long [`Handle::stop`] waits for requests that are half sent, and for answers to be read: 5 seconds unless set
    /// otherwise.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.limits.grace = grace;
        self
    }

    /// Whoever connects has to authenticate as one of the users in this file, which has lines `user:password`: in
    /// memcached's text form, where the first `set` has `user password` as its data block, or by SASL PLAIN in the binary
    /// protocol. [`Handle::reload`] reads it again.
    pub fn credentials(mut self, file: impl Into<PathBuf>) -> Self {
        self.credentials = Some(file.into());
        self
    }

    /// Whether addresses beyond this machine may be listened on where nobody has to authenticate, neither by
    /// [`credentials`](Self::credentials) nor by client certificates: `false` unless set otherwise.
    pub fn allow_unauthenticated(mut self, allow: bool) -> Self {
        self.allow_unauthenticated = allow;
        self
    }

    /// Checks the settings, reads the files and opens the sockets. Whoever connects now waits for [`Server::spawn`].
    ///
    /// # Errors
    ///
    /// When a setting is out of bounds, a file is not what it should be, or the system refuses an address.
    pub fn build(self, cache: ServerCache) -> Result<Server, ServerError> {
        within("threads", self.threads, 1, MAX_THREADS)?;
        within("max_connections", self.limits.max_connections, 1, MAX_CONNECTIONS)?;
        within("max_output", self.max_output, 1, usize::MAX)?;
        within("requests_per_turn", self.requests_per_turn, 1, usize::MAX)?;
        within("backlog", self.backlog as usize, 1, i32::MAX as usize)?;
        if self.listen.is_empty() {
            return Err(ServerError::NoAddress);
        }
        let credentials = self.credentials.map(|file| Credentials::load(&file)).transpose()?;
        let anyone = self.allow_unauthenticated || credentials.is_some();
        let mut listeners = Vec::new();
        for listen in self.listen {
            listeners.extend(listen.bind(self.backlog, anyone)?);
        }
        let system = |source| ServerError::System { source };
        let encrypted = if listeners.iter().any(|listener| listener.tls().is_some()) { "yes" } else { "no" };
        let settings = vec![
            ("listen", listeners.iter().map(Listener::address).collect::<Vec<_>>().join(",")),
            ("tcp_backlog", self.backlog.to_string()),
            ("ssl_enabled", encrypted.to_owned()),
        ];
        let (accepting, acceptor) = Accepting::new(listeners).map_err(system)?;
        let mut polls = Vec::new();
        let mut desks = Vec::new();
        for _ in 0..self.threads {
            let (poll, desk) = worker::prepare().map_err(system)?;
            polls.push(poll);
            desks.push(desk);
        }
        let shared = Arc::new(Shared::new(credentials, self.limits, settings, acceptor, desks));
        let mut service = Service::new(cache, Around(shared.clone()))
            .max_output(self.max_output)
            .requests_per_turn(self.requests_per_turn)
            .allow_flush(self.allow_flush)
            .allow_dump(self.allow_dump);
        if let Some(protocol) = self.protocol {
            service = service.protocol(protocol);
        }
        let service = Arc::new(service);
        let metrics = self.metrics.map(|at| Metrics::bind(&at, service.clone())).transpose()?;
        Ok(Server { shared, service, accepting, polls, metrics })
    }
}

fn within(setting: &'static str, given: usize, min: usize, max: usize) -> Result<(), ServerError> {
    if (min..=max).contains(&given) {
        return Ok(());
    }
    Err(ServerError::OutOfBounds { setting, given: given as u64, min: min as u64, max: max as u64 })
}

/// A server whose sockets are open, and which does not serve yet.
///
/// # Examples
///
/// ```
/// use larder::server::{Server, ServerCache};
/// use std::io::{Read, Write};
/// use std::net::TcpStream;
///
/// let cache = ServerCache::builder().max_bytes(16 << 20).build()?;
/// let server = Server::builder().listen("127.0.0.1:0").build(cache.clone())?.spawn()?;
///
/// let mut client = TcpStream::connect(&server.addresses()[0])?;
/// client.write_all(b"set greeting 0 0 5\r\nhello\r\nquit\r\n")?;
/// let mut answer = String::new();
/// client.read_to_string(&mut answer)?;
/// assert_eq!(answer, "STORED\r\n");
/// assert_eq!(cache.get(b"greeting").unwrap().value, b"hello");
///
/// server.stop();
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "a server serves only when spawn() is called"]
pub struct Server {
    shared: Arc<Shared>,
    service: Arc<Service>,
    accepting: Accepting,
    polls: Vec<Poll>,
    metrics: Option<Metrics>,
}

impl Server {
    /// Settings for a server.
    pub fn builder() -> ServerBuilder {
        ServerBuilder::new()
    }

    /// Starts its threads.
    ///
    /// # Errors
    ///
    /// When the system refuses a thread.
    pub fn spawn(self) -> Result<Handle, ServerError> {
        let Self { shared, service, accepting, polls, metrics } = self;
        let addresses = accepting.listeners().iter().map(|listener| listener.address().to_owned()).collect();
        let acceptors = accepting.listeners().iter().filter_map(|listener| listener.tls().cloned()).collect();
        let metrics_address = metrics.as_ref().map(Metrics::address);
        let mut handle = Handle {
            shared: shared.clone(),
            addresses,
            metrics_address,
            acceptors,
            threads: Mutex::default(),
            own: Vec::new(),
        };
        for (at, poll) in polls.into_iter().enumerate() {
            let (shared, service) = (shared.clone(), service.clone());
            handle
                .start(format!("larder-{at}"), move || Worker::new(poll, &shared, &shared.desks[at], &service).run())?;
        }
        if let Some(metrics) = metrics {
            let shared = shared.clone();
            handle.start("larder-metrics".to_owned(), move || metrics.run(&shared))?;
        }
        handle.start("larder-accept".to_owned(), move || accepting.run(&shared))?;
        Ok(handle)
    }
}

/// A server that runs. Dropped, it [stops](Self::stop).
#[derive(Debug)]
pub struct Handle {
    shared: Arc<Shared>,
    addresses: Vec<String>,
    metrics_address: Option<String>,
    acceptors: Vec<Arc<Acceptor>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    /// Those threads, which can't wait for themselves.
    own: Vec<ThreadId>,
}

impl Handle {
    /// What it listens on, in the order of [`ServerBuilder::listen`]: `HOST:PORT`, or a socket's path.
    #[must_use]
    pub fn addresses(&self) -> &[String] {
        &self.addresses
    }

    /// Where it serves metrics, if it does: `HOST:PORT`.
    #[must_use]
    pub fn metrics_address(&self) -> Option<&str> {
        self.metrics_address.as_deref()
    }

    /// Reads the credentials and certificates again. Connections that are open stay as they are.
    ///
    /// # Errors
    ///
    /// The first file that is not what it should be. It counts as it was; all others are read.
    pub fn reload(&self) -> Result<(), ServerError> {
        let credentials = self.shared.credentials.as_ref().map_or(Ok(()), Credentials::reload);
        self.acceptors.iter().map(|acceptor| acceptor.reload()).fold(credentials, Result::and)
    }

    /// Stops: requests that have been sent are answered, connections are closed, threads end, and the addresses are free
    /// when this returns. Waits for as long as [`ServerBuilder::grace`] says.
    ///
    /// On one of the server's own threads, as by a listener of the cache, it waits for nothing: they end after it returns.
    pub fn stop(&self) {
        self.shared.stop();
        self.wait();
    }

    /// Waits until the server has stopped, by [`stop`](Self::stop) from another thread or by a client's `shutdown`. Not on
    /// one of the server's own threads, which would wait for itself.
    pub fn wait(&self) {
        if self.own.contains(&thread::current().id()) {
            return;
        }
        // Who comes second waits for the lock.
        let mut threads = self.threads.lock();
        for thread in threads.drain(..) {
            // A thread that panicked has ended, too.
            let _ = thread.join();
        }
        // Who was accepted too late for any event loop is to see that nobody is there.
        self.shared.desks.iter().for_each(|desk| drop(desk.take_arrivals()));
    }

    fn start(&mut self, name: String, run: impl FnOnce() + Send + 'static) -> Result<(), ServerError> {
        let thread = thread::Builder::new().name(name).spawn(run).map_err(|source| ServerError::System { source })?;
        self.own.push(thread.thread().id());
        self.threads.get_mut().push(thread);
        Ok(())
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.stop();
    }
}
