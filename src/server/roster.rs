//! Who is connected, and since when each has been silent: for `stats conns`, and to find who has been silent too long.
//!
//! Knows names and times. Its lock is taken when somebody comes, goes, or asks for the list.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// One connection, as others see it.
#[derive(Debug)]
pub(crate) struct Peer {
    number: u64,
    /// As memcached writes it: `tcp:HOST:PORT`, `unix:PATH`.
    address: String,
    listener: Arc<str>,
    came: Instant,
    /// Milliseconds from then to the last sign of life.
    active: AtomicU64,
    /// Whether answers wait for it to read them.
    pub(crate) owes_reading: AtomicBool,
}

impl Peer {
    /// Notes a sign of life.
    pub(crate) fn note(&self, now: Instant) {
        self.active.store((now - self.came).as_millis() as u64, Relaxed);
    }

    /// How long it has been silent.
    pub(crate) fn silent(&self, now: Instant) -> Duration {
        (now - self.came).saturating_sub(Duration::from_millis(self.active.load(Relaxed)))
    }
}

/// All connections of a server.
#[derive(Debug, Default)]
pub(crate) struct Roster {
    peers: Mutex<BTreeMap<u64, Arc<Peer>>>,
    came: AtomicU64,
}

impl Roster {
    /// Somebody came.
    pub(crate) fn enter(&self, address: String, listener: Arc<str>) -> Arc<Peer> {
        let number = self.came.fetch_add(1, Relaxed);
        let (active, owes_reading) = (AtomicU64::new(0), AtomicBool::new(false));
        let peer = Arc::new(Peer { number, address, listener, came: Instant::now(), active, owes_reading });
        self.peers.lock().insert(number, peer.clone());
        peer
    }

    /// Somebody went.
    pub(crate) fn leave(&self, peer: &Peer) {
        self.peers.lock().remove(&peer.number);
    }

    /// How many there have been.
    pub(crate) fn total(&self) -> u64 {
        self.came.load(Relaxed)
    }

    /// Number, name and value, as in `stats conns`.
    pub(crate) fn each(&self, show: &mut dyn FnMut(u64, &str, &str)) {
        let now = Instant::now();
        // Not under the lock: a list may be long, and connections come and go.
        let peers: Vec<_> = self.peers.lock().values().cloned().collect();
        for peer in peers {
            show(peer.number, "addr", &peer.address);
            show(peer.number, "listen_addr", &peer.listener);
            show(peer.number, "state", if peer.owes_reading.load(Relaxed) { "conn_mwrite" } else { "conn_read" });
            show(peer.number, "secs_since_last_cmd", &peer.silent(now).as_secs().to_string());
        }
    }
}
