//! What all threads of a server share: limits, counters, who is connected, and the sign to stop.
//!
//! Knows no protocol. Counters belong to one event loop each, so that two of them do not write to the same line.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::*};
use std::time::{Duration, Instant};

use crossbeam_utils::CachePadded;
use mio::Waker;
use parking_lot::Mutex;

use crate::server::auth::Credentials;
use crate::server::roster::{Peer, Roster};
use crate::server::service::Host;
use crate::server::stream::Stream;

/// The limits that a server keeps on its connections.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    pub(crate) max_connections: usize,
    pub(crate) idle_timeout: Option<Duration>,
    pub(crate) allow_shutdown: bool,
    pub(crate) grace: Duration,
}

/// A connection that has just been accepted.
pub(crate) type Arrival = (Stream, Arc<Peer>);

/// A counter with one writer.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, n: u64) {
        // One thread writes, so this loses nothing and needs no locked instruction.
        self.0.store(self.0.load(Relaxed) + n, Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// What one event loop has done.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) bytes_read: Counter,
    pub(crate) bytes_written: Counter,
    pub(crate) yields: Counter,
    pub(crate) idle_kicks: Counter,
    pub(crate) output_stalls: Counter,
    pub(crate) panics: Counter,
}

/// How others reach an event loop.
#[derive(Debug)]
pub(crate) struct Desk {
    arrivals: Mutex<Vec<Arrival>>,
    waker: Waker,
    open: AtomicUsize,
    pub(crate) counters: CachePadded<Counters>,
}

impl Desk {
    pub(crate) fn new(waker: Waker) -> Self {
        Self { arrivals: Mutex::default(), waker, open: AtomicUsize::new(0), counters: CachePadded::default() }
    }

    pub(crate) fn take_arrivals(&self) -> Vec<Arrival> {
        std::mem::take(&mut self.arrivals.lock())
    }

    /// One connection less.
    pub(crate) fn closed(&self) {
        self.open.fetch_sub(1, Relaxed);
    }
}

/// One of each for a server.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) credentials: Option<Credentials>,
    pub(crate) limits: Limits,
    /// For `stats settings`, besides.
    settings: Vec<(&'static str, String)>,
    pub(crate) roster: Roster,
    pub(crate) desks: Vec<Desk>,
    acceptor: Waker,
    stopping: AtomicBool,
    started: Instant,
    rejected: AtomicU64,
    /// When accepting was last suspended, in microseconds since the start and above 0, or 0 while it is not.
    suspended: AtomicU64,
    suspensions: AtomicU64,
    suspended_for: AtomicU64,
}

impl Shared {
    pub(crate) fn new(
        credentials: Option<Credentials>,
        limits: Limits,
        settings: Vec<(&'static str, String)>,
        acceptor: Waker,
        desks: Vec<Desk>,
    ) -> Self {
        Self {
            credentials,
            limits,
            settings,
            roster: Roster::default(),
            desks,
            acceptor,
            stopping: AtomicBool::new(false),
            started: Instant::now(),
            rejected: AtomicU64::new(0),
            suspended: AtomicU64::new(0),
            suspensions: AtomicU64::new(0),
            suspended_for: AtomicU64::new(0),
        }
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Acquire)
    }

    /// Has all threads finish what they have begun, and end.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Release);
        for waker in self.desks.iter().map(|desk| &desk.waker).chain([&self.acceptor]) {
            // It can only fail where the thread's own polling would, too.
            let _ = waker.wake();
        }
    }

    pub(crate) fn open_connections(&self) -> usize {
        self.desks.iter().map(|desk| desk.open.load(Relaxed)).sum()
    }

    /// Gives a connection to the event loop that has the fewest.
    pub(crate) fn admit(&self, stream: Stream, address: String, listener: Arc<str>) {
        let Some(desk) = self.desks.iter().min_by_key(|desk| desk.open.load(Relaxed)) else { return };
        desk.open.fetch_add(1, Relaxed);
        desk.arrivals.lock().push((stream, self.roster.enter(address, listener)));
        let _ = desk.waker.wake();
    }

    pub(crate) fn reject(&self) {
        self.rejected.fetch_add(1, Relaxed);
    }

    /// Notes whether connections are accepted, or wait for the system to have descriptors again.
    pub(crate) fn set_accepting(&self, accepting: bool) {
        let now = self.started.elapsed().as_micros() as u64 + 1;
        match (self.suspended.load(Relaxed), accepting) {
            (0, false) => {
                self.suspensions.fetch_add(1, Relaxed);
                self.suspended.store(now, Relaxed);
            }
            (since, true) if since > 0 => {
                self.suspended_for.fetch_add(now - since, Relaxed);
                self.suspended.store(0, Relaxed);
            }
            _ => {}
        }
    }
}

/// What conversations ask the server around them. It does not own the service that owns it.
pub(crate) struct Around(pub(crate) Arc<Shared>);

impl Host for Around {
    fn asks_for_credentials(&self) -> bool {
        self.0.credentials.is_some()
    }

    fn knows(&self, user: &[u8], password: &[u8]) -> bool {
        self.0.credentials.as_ref().is_some_and(|credentials| credentials.check(user, password))
    }

    fn counters(&self, show: &mut dyn FnMut(&'static str, u64)) {
        self.0.each_counter(show);
    }

    fn settings(&self, show: &mut dyn FnMut(&str, &str)) {
        let Limits { max_connections, idle_timeout, allow_shutdown, .. } = &self.0.limits;
        show("maxconns", &max_connections.to_string());
        show("num_threads", &self.0.desks.len().to_string());
        show("idle_timeout", &idle_timeout.map_or(0, |timeout| timeout.as_secs()).to_string());
        show("shutdown_command", if *allow_shutdown { "yes" } else { "no" });
        for (name, value) in &self.0.settings {
            show(name, value);
        }
    }

    fn connections(&self, show: &mut dyn FnMut(u64, &str, &str)) {
        self.0.roster.each(show);
    }

    fn shut_down(&self, _gracefully: bool) -> bool {
        if self.0.limits.allow_shutdown {
            self.0.stop();
        }
        self.0.limits.allow_shutdown
    }
}

impl Shared {
    /// The counters, by memcached's names where it has one.
    fn each_counter(&self, show: &mut dyn FnMut(&'static str, u64)) {
        let sum = |counter: fn(&Counters) -> &Counter| {
            self.desks.iter().map(|desk| counter(&desk.counters).get()).sum::<u64>()
        };
        show("max_connections", self.limits.max_connections as u64);
        show("curr_connections", self.open_connections() as u64);
        show("total_connections", self.roster.total());
        show("rejected_connections", self.rejected.load(Relaxed));
        show("bytes_read", sum(|counters| &counters.bytes_read));
        show("bytes_written", sum(|counters| &counters.bytes_written));
        show("accepting_conns", u64::from(self.suspended.load(Relaxed) == 0));
        show("listen_disabled_num", self.suspensions.load(Relaxed));
        show("time_in_listen_disabled_us", self.suspended_for.load(Relaxed));
        show("threads", self.desks.len() as u64);
        show("conn_yields", sum(|counters| &counters.yields));
        show("idle_kicks", sum(|counters| &counters.idle_kicks));
        show("output_stalls", sum(|counters| &counters.output_stalls));
        show("request_panics", sum(|counters| &counters.panics));
    }
}
