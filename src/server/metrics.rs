//! `/metrics` for Prometheus and `/healthz`, over HTTP on a thread of its own. Off unless an address was given.
//!
//! One request at a time, each with a length and a time that it may have: whoever reaches the address and means ill makes
//! others wait there, and takes neither memory nor threads.
//!
//! Knows what is counted and its names there; the text is `prometheus-client`'s, and `httparse` reads what is asked.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{self, Shutdown, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::net::TcpListener;
use mio::{Events, Interest, Poll, Token};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use crate::server::error::ServerError;
use crate::server::service::Service;
use crate::server::shared::Shared;

/// How long a stop may go unnoticed.
const PATIENCE: Duration = Duration::from_millis(100);

/// How long a request may take to come, and the answer to be taken.
const TIMEOUT: Duration = Duration::from_secs(1);

/// The longest request, and the most headers it has.
const MAX_REQUEST: usize = 8 << 10;
const MAX_HEADERS: usize = 64;

/// What `prometheus-client` writes.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const PLAIN: &str = "text/plain; charset=utf-8";

/// The listener, and what is told there.
pub(crate) struct Metrics {
    listener: TcpListener,
    poll: Poll,
    address: String,
    registry: Registry,
}

/// What is answered.
struct Answer {
    status: &'static str,
    kind: &'static str,
    text: String,
    /// Whether only the head is sent.
    is_head: bool,
}

impl Metrics {
    pub(crate) fn bind(address: &str, service: Arc<Service>) -> Result<Self, ServerError> {
        let mut registry = Registry::with_prefix("larder");
        registry.register_collector(Box::new(Figures(service)));
        let (listener, poll, bound) = listen(address)
            .map_err(|error| ServerError::Metrics { address: address.to_owned(), what: error.to_string() })?;
        Ok(Self { listener, poll, address: bound, registry })
    }

    /// `HOST:PORT`.
    pub(crate) fn address(&self) -> String {
        self.address.clone()
    }

    /// Answers until the server stops.
    pub(crate) fn run(mut self, shared: &Shared) {
        let mut events = Events::with_capacity(1);
        while !shared.is_stopping() {
            match self.listener.accept() {
                // Whoever asked may be gone.
                Ok((stream, _)) => drop(self.serve(stream.into())),
                // Nobody is there, or the system has no descriptor for them.
                Err(_) => drop(self.poll.poll(&mut events, Some(PATIENCE))),
            }
        }
    }

    fn serve(&self, mut stream: TcpStream) -> io::Result<()> {
        stream.set_nonblocking(false)?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        let Answer { status, kind, text, is_head } = self.receive(&mut stream)?;
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            text.len()
        );
        let text = if is_head { "" } else { &text };
        stream.write_all([&head, text].concat().as_bytes())?;
        stream.shutdown(Shutdown::Write)
    }

    /// Reads a request and says what is to be answered.
    fn receive(&self, stream: &mut TcpStream) -> io::Result<Answer> {
        let deadline = Instant::now() + TIMEOUT;
        let (mut request, mut filled) = ([0; MAX_REQUEST], 0);
        while filled < request.len() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            stream.set_read_timeout(Some(left))?;
            match stream.read(&mut request[filled..])? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => filled += count,
            }
            let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
            let mut parsed = httparse::Request::new(&mut headers);
            match parsed.parse(&request[..filled]) {
                Ok(httparse::Status::Partial) => {}
                Ok(httparse::Status::Complete(_)) => {
                    return Ok(self.answer(parsed.method.unwrap_or_default(), parsed.path.unwrap_or_default()));
                }
                Err(_) => return Ok(plain("400 Bad Request", "this is not HTTP\n")),
            }
        }
        Ok(plain("431 Request Header Fields Too Large", "too long\n"))
    }

    fn answer(&self, method: &str, path: &str) -> Answer {
        let is_head = method == "HEAD";
        if method != "GET" && !is_head {
            return plain("405 Method Not Allowed", "only GET\n");
        }
        let answer = match path.split('?').next() {
            Some("/metrics") => {
                let mut text = String::new();
                // Writing to memory does not fail.
                let _ = encode(&mut text, &self.registry);
                Answer { status: "200 OK", kind: OPEN_METRICS, text, is_head }
            }
            Some("/healthz") => plain("200 OK", "ok\n"),
            _ => plain("404 Not Found", "there are /metrics and /healthz\n"),
        };
        Answer { is_head, ..answer }
    }
}

fn plain(status: &'static str, text: &str) -> Answer {
    Answer { status, kind: PLAIN, text: text.to_owned(), is_head: false }
}

/// A listener that does not block, what tells when somebody is there, and its address.
fn listen(address: &str) -> io::Result<(TcpListener, Poll, String)> {
    let listener = net::TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    let mut listener = TcpListener::from_std(listener);
    let poll = Poll::new()?;
    poll.registry().register(&mut listener, Token(0), Interest::READABLE)?;
    let bound = listener.local_addr()?.to_string();
    Ok((listener, poll, bound))
}

/// Looks up all figures when they are asked for.
struct Figures(Arc<Service>);

impl fmt::Debug for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Figures").finish_non_exhaustive()
    }
}

impl Collector for Figures {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut done = Ok(());
        let mut show = |name: &'static str, value: u64| {
            done = done.and_then(|()| put(&mut encoder, name, value));
        };
        let stats = self.0.cache.stats();
        self.0.each_counter(&mut show);
        show("curr_items", stats.curr_items);
        show("bytes", stats.bytes);
        show("limit_maxbytes", stats.limit_maxbytes);
        done
    }
}

fn put(encoder: &mut DescriptorEncoder<'_>, name: &'static str, value: u64) -> fmt::Result {
    let help = format!("memcached's {name}, where it has one");
    if is_gauge(name) {
        let gauge = ConstGauge::new(value);
        gauge.encode(encoder.encode_descriptor(name, &help, None, gauge.metric_type())?)
    } else {
        let counter = ConstCounter::new(value);
        counter.encode(encoder.encode_descriptor(name, &help, None, counter.metric_type())?)
    }
}

/// What can become less.
fn is_gauge(name: &str) -> bool {
    let gauges = [
        "max_connections",
        "curr_connections",
        "accepting_conns",
        "threads",
        "curr_items",
        "bytes",
        "limit_maxbytes",
        "pending_bytes",
    ];
    gauges.contains(&name)
}
