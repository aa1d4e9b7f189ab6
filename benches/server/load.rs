//! Many connections to one server, in a closed loop or at a set rate, and how long answers take.
//!
//! In a closed loop each connection sends so many requests at once and waits for all their answers. At a set rate requests
//! are due at fixed times, whatever became of those before; the time of an answer counts from when its request was due, so
//! that a server which stalls is not spared the requests it has kept from being sent.
//!
//! Knows sockets and clocks; what requests and answers look like is [`Session`]'s.

use std::collections::VecDeque;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use crate::session::{Content, Session, random};

/// What to do, and for how long.
#[derive(Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) connections: usize,
    pub(crate) depth: usize,
    pub(crate) keys: usize,
    pub(crate) value: usize,
    pub(crate) gets: u64,
    pub(crate) time: Duration,
    pub(crate) rate: Option<f64>,
}

/// How it went.
pub(crate) struct Outcome {
    pub(crate) answers: u64,
    pub(crate) misses: u64,
    pub(crate) time: Duration,
    /// In nanoseconds.
    pub(crate) latencies: Histogram<u64>,
}

impl Outcome {
    pub(crate) fn per_second(&self) -> f64 {
        self.answers as f64 / self.time.as_secs_f64()
    }

    /// Microseconds within which this share of the requests was answered.
    pub(crate) fn percentile(&self, share: f64) -> f64 {
        self.latencies.value_at_percentile(share) as f64 / 1000.0
    }
}

/// A session, and when its requests were sent or due.
struct Client {
    session: Session,
    since: VecDeque<Instant>,
}

pub(crate) struct Load {
    poll: Poll,
    clients: Vec<Client>,
    content: Content,
    plan: Plan,
    state: u64,
    outcome: Outcome,
}

impl Load {
    pub(crate) fn connect(address: &str, plan: Plan) -> io::Result<Self> {
        let address: SocketAddr = address.to_socket_addrs()?.next().ok_or(io::ErrorKind::AddrNotAvailable)?;
        let poll = Poll::new()?;
        let mut clients = Vec::new();
        for at in 0..plan.connections {
            let stream = std::net::TcpStream::connect(address)?;
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
            let mut socket = TcpStream::from_std(stream);
            poll.registry().register(&mut socket, Token(at), Interest::READABLE | Interest::WRITABLE)?;
            clients.push(Client { session: Session::new(socket), since: VecDeque::new() });
        }
        // Up to a minute, which no run lasts.
        let latencies = Histogram::new_with_max(60_000_000_000, 3).map_err(io::Error::other)?;
        let outcome = Outcome { answers: 0, misses: 0, time: Duration::ZERO, latencies };
        Ok(Self { poll, clients, content: Content::new(plan.value), plan, state: 0x5EED, outcome })
    }

    /// Stores every key once.
    pub(crate) fn fill(&mut self) -> io::Result<()> {
        let mut next = 0;
        let mut answered = 0;
        let mut events = Events::with_capacity(64);
        while answered < self.plan.keys {
            for client in &mut self.clients {
                while client.session.outstanding() < 64 && next < self.plan.keys {
                    client.session.set(next, random(&mut self.state) as usize, &self.content);
                    next += 1;
                }
                client.session.send()?;
                answered += client.session.receive(&self.content)?.answers as usize;
            }
            self.poll.poll(&mut events, Some(Duration::from_millis(1)))?;
        }
        Ok(())
    }

    /// Drives the server for the time that the plan says.
    pub(crate) fn run(mut self) -> io::Result<Outcome> {
        let began = Instant::now();
        match self.plan.rate {
            None => self.run_closed(began + self.plan.time)?,
            Some(rate) => self.run_open(began, rate)?,
        }
        self.outcome.time = began.elapsed();
        Ok(self.outcome)
    }

    fn run_closed(&mut self, deadline: Instant) -> io::Result<()> {
        for at in 0..self.clients.len() {
            self.send_batch(at, Instant::now())?;
        }
        let mut events = Events::with_capacity(256);
        loop {
            self.poll.poll(&mut events, Some(Duration::from_secs(5)))?;
            if events.is_empty() {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "no answer for 5 seconds"));
            }
            let now = Instant::now();
            for event in &events {
                let at = event.token().0;
                self.clients[at].session.send()?;
                self.receive(at)?;
                if self.clients[at].session.outstanding() == 0 && now < deadline {
                    self.send_batch(at, now)?;
                }
            }
            if now >= deadline && self.clients.iter().all(|client| client.session.outstanding() == 0) {
                return Ok(());
            }
        }
    }

    /// Requests become due one after the other, in turn on each connection. The loop never sleeps: waking up takes longer
    /// than a request.
    fn run_open(&mut self, began: Instant, rate: f64) -> io::Result<()> {
        let total = (self.plan.time.as_secs_f64() * rate) as u64;
        let mut sent = 0;
        let mut events = Events::with_capacity(256);
        let deadline = began + self.plan.time + Duration::from_secs(5);
        while self.outcome.answers < total {
            let now = Instant::now();
            if now > deadline {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "the server can't keep up with this rate"));
            }
            let due = (((now - began).as_secs_f64() * rate) as u64).min(total);
            while sent < due {
                let at = sent as usize % self.clients.len();
                self.request(at, began + Duration::from_secs_f64(sent as f64 / rate));
                self.clients[at].session.send()?;
                sent += 1;
            }
            self.poll.poll(&mut events, Some(Duration::ZERO))?;
            for event in &events {
                let at = event.token().0;
                self.clients[at].session.send()?;
                self.receive(at)?;
            }
        }
        Ok(())
    }

    fn send_batch(&mut self, at: usize, now: Instant) -> io::Result<()> {
        for _ in 0..self.plan.depth {
            self.request(at, now);
        }
        self.clients[at].session.send()
    }

    fn request(&mut self, at: usize, since: Instant) {
        let client = &mut self.clients[at];
        let key = random(&mut self.state) as usize % self.plan.keys;
        if random(&mut self.state) % (self.plan.gets + 1) == 0 {
            client.session.set(key, random(&mut self.state) as usize, &self.content);
        } else {
            client.session.get(key);
        }
        client.since.push_back(since);
    }

    /// Takes in answers until there are none: an event is told only once.
    fn receive(&mut self, at: usize) -> io::Result<()> {
        let client = &mut self.clients[at];
        while client.session.outstanding() > 0 {
            let tally = client.session.receive(&self.content)?;
            if tally.answers == 0 {
                break;
            }
            let now = Instant::now();
            for since in client.since.drain(..tally.answers as usize) {
                // The histogram takes any number.
                self.outcome.latencies.saturating_record((now - since).as_nanos() as u64);
            }
            self.outcome.answers += tally.answers;
            self.outcome.misses += tally.misses;
        }
        Ok(())
    }
}
