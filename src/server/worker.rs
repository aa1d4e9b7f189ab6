//! One event loop: a thread, its connections, and the memory that they share while they are served.
//!
//! An idle connection owns nothing but its state: input is read into the thread's buffer and answered into the thread's
//! output, and only what is incomplete, or not yet read by the other side, is copied to the connection.
//!
//! Events are taken by edges: a connection is told once that there is something to read, and remembers it. Watching for
//! room to write is asked for when a write has found none, which is rare; so a request costs a wake-up, a read and a
//! write, shared by all requests that come together.
//!
//! Knows sockets, time and fairness. Knows no protocol.

use std::io;
use std::mem;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use mio::{Events, Poll, Token, Waker};

use crate::server::connection::{Connection, Scratch, Turn};
use crate::server::conversation::Conversation;
use crate::server::roster::Peer;
use crate::server::service::Service;
use crate::server::shared::{Desk, Shared};

const WAKE: Token = Token(usize::MAX);

/// Idle connections are looked for so often.
const SWEEP: Duration = Duration::from_secs(1);

/// Who has answers to read may take so many times as long: that he reads is seen only when much of them has gone.
const READING_SHARE: u32 = 10;

/// A thread that serves connections.
pub(crate) struct Worker<'s> {
    poll: Poll,
    shared: &'s Shared,
    desk: &'s Desk,
    service: &'s Service,
    connections: Vec<Option<Box<Connection<'s>>>>,
    vacant: Vec<usize>,
    /// Connections whose turn is over, but not their requests.
    waiting: Vec<usize>,
    scratch: Scratch<'s>,
    swept: Instant,
}

/// What an event loop needs, and how others reach it.
pub(crate) fn prepare() -> io::Result<(Poll, Desk)> {
    let poll = Poll::new()?;
    let waker = Waker::new(poll.registry(), WAKE)?;
    Ok((poll, Desk::new(waker)))
}

impl<'s> Worker<'s> {
    /// The loop that others reach at this desk, one of the shared ones.
    pub(crate) fn new(poll: Poll, shared: &'s Shared, desk: &'s Desk, service: &'s Service) -> Self {
        Self {
            poll,
            shared,
            desk,
            service,
            connections: Vec::new(),
            vacant: Vec::new(),
            waiting: Vec::new(),
            scratch: Scratch::new(),
            swept: Instant::now(),
        }
    }

    /// Serves until the server stops and every connection has had its answers, or the time for that is over.
    pub(crate) fn run(mut self) {
        let mut events = Events::with_capacity(512);
        let mut deadline = None;
        loop {
            if self.shared.is_stopping() {
                // Who was accepted before is answered, too.
                self.welcome();
                let now = Instant::now();
                let deadline = *deadline.get_or_insert_with(|| {
                    self.connections.iter_mut().flatten().for_each(|connection| connection.look_once_more());
                    now + self.shared.limits.grace
                });
                self.wind_down();
                if now >= deadline || self.connections.iter().all(Option::is_none) {
                    return;
                }
            }
            if !self.wait(&mut events, deadline) {
                self.shared.stop();
                return;
            }
            self.serve(&events);
        }
    }

    /// Waits for events; not where connections wait for their turn. False if the system refuses.
    fn wait(&mut self, events: &mut Events, deadline: Option<Instant>) -> bool {
        let sweeps = self.shared.limits.idle_timeout.is_some().then_some(SWEEP);
        let patience = match (self.waiting.is_empty(), deadline) {
            (false, _) => Some(Duration::ZERO),
            (true, Some(deadline)) => Some(deadline.saturating_duration_since(Instant::now())),
            (true, None) => sweeps,
        };
        match self.poll.poll(events, patience) {
            Ok(()) => true,
            Err(error) => error.kind() == io::ErrorKind::Interrupted,
        }
    }

    fn serve(&mut self, events: &Events) {
        let now = Instant::now();
        let waiting = mem::take(&mut self.waiting);
        for event in events {
            match event.token() {
                WAKE => self.welcome(),
                Token(at) => {
                    if let Some(Some(connection)) = self.connections.get_mut(at) {
                        connection.note(event, now);
                        self.turn(at);
                    }
                }
            }
        }
        for at in waiting {
            if let Some(Some(connection)) = self.connections.get_mut(at) {
                connection.queued = false;
                self.turn(at);
            }
        }
        if let Some(timeout) = self.shared.limits.idle_timeout {
            if now - self.swept >= SWEEP {
                self.swept = now;
                self.sweep(now, timeout);
            }
        }
    }

    /// Takes in what has been accepted for this loop.
    fn welcome(&mut self) {
        for (stream, peer) in self.desk.take_arrivals() {
            let at = self.vacant.pop().unwrap_or_else(|| {
                self.connections.push(None);
                self.connections.len() - 1
            });
            let mut connection = Box::new(Connection::new(stream, peer, Conversation::new(self.service)));
            let registered = connection.register(self.poll.registry(), Token(at));
            self.connections[at] = Some(connection);
            if registered.is_err() {
                self.close(at);
            }
        }
    }

    fn turn(&mut self, at: usize) {
        let Some(connection) = &mut self.connections[at] else { return };
        let turn = connection.turn(&mut self.scratch, &self.desk.counters);
        let watched = connection.watch_room(self.poll.registry(), Token(at));
        match turn.and_then(|turn| watched.map(|()| turn)) {
            Ok(Turn::Wait) => {}
            Ok(Turn::Yield) => {
                if !mem::replace(&mut connection.queued, true) {
                    self.waiting.push(at);
                }
            }
            Ok(Turn::Close) => {
                connection.finish();
                self.close(at);
            }
            Err(_) => self.close(at),
        }
    }

    fn close(&mut self, at: usize) {
        if let Some(connection) = self.connections[at].take() {
            self.shared.roster.leave(connection.peer());
        }
        self.vacant.push(at);
        self.desk.closed();
    }

    /// Closes connections that have done nothing for longer than they may.
    fn sweep(&mut self, now: Instant, timeout: Duration) {
        let is_over = |peer: &Peer| {
            let patience = if peer.owes_reading.load(Relaxed) { READING_SHARE } else { 1 };
            peer.silent(now) > timeout * patience
        };
        for at in 0..self.connections.len() {
            if self.connections[at].as_ref().is_some_and(|connection| is_over(connection.peer())) {
                self.desk.counters.idle_kicks.add(1);
                self.close(at);
            }
        }
    }

    /// Answers what has been asked, and closes every connection that has nothing open.
    fn wind_down(&mut self) {
        for at in 0..self.connections.len() {
            self.turn(at);
            if let Some(connection) = &mut self.connections[at] {
                if connection.is_idle() && !connection.queued {
                    connection.finish();
                    self.close(at);
                }
            }
        }
    }
}
