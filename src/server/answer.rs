//! What requests do, and what is answered: from a request to the cache, and from there to bytes.
//!
//! Knows no state of a client. What a request is, the parsers have said; what it means for an item, the store knows.

use std::time::{Duration, SystemTime};

use crate::server::output::Output;
use crate::server::protocol::binary::{self, Status};
use crate::server::protocol::meta::{self, Facts, MetaLine};
use crate::server::protocol::{BAD_FORMAT, Count, Delete, Form, Keys, Lookup, Mode, Outcome, Request, Store, text};
use crate::server::service::{Event, Service};
use crate::server::stats;
use crate::server::store::{self, Counted, Cursor, Exptime, Fetch, Hit, Loan, Meta, Removal, Removed, Write};

/// Buckets that a dump looks at before it looks at what waits for the client. Not entries: to find the next one in a table
/// that is nearly empty could take long, and others wait.
const BUCKETS_AT_ONCE: usize = 8;

/// What the server says it is: memcached's version, since clients go by it, and its own.
pub(crate) const VERSION: &str = concat!("1.6.45-larder-", env!("CARGO_PKG_VERSION"));

/// One request's answer to be.
pub(super) struct Answer<'o, 's> {
    service: &'s Service,
    output: &'o mut Output<'s>,
}

impl<'o, 's> Answer<'o, 's> {
    #[inline]
    pub(super) fn new(service: &'s Service, output: &'o mut Output<'s>) -> Self {
        Self { service, output }
    }

    #[inline]
    pub(super) fn line(&mut self, line: &str) {
        self.output.put_line(line);
    }

    /// Whether enough waits for the client.
    #[inline]
    pub(super) fn is_much(&self) -> bool {
        self.output.len() >= self.service.max_output
    }

    /// A key of a `get` that is none. memcached forgets what it was going to send, and so does this.
    #[cold]
    pub(super) fn key_too_long(&mut self) {
        self.output.take_back();
        self.line(BAD_FORMAT);
        self.line("");
    }

    /// One of the entries that a `get` asks for.
    #[inline]
    pub(super) fn key(&mut self, key: &[u8], keys: &Keys) {
        let output = &mut *self.output;
        let put = |hit: Hit<'_>, loan: Option<Loan<'s, '_>>| {
            output.make_room(key.len(), hit.value, loan);
            text::value_line(output.bytes(), key, hit.flags, hit.value.len(), keys.with_cas.then_some(hit.cas));
            output.put_value(hit.value, loan);
            output.bytes().extend_from_slice(b"\r\n");
        };
        let cache = &self.service.cache;
        let _ = match keys.touch {
            None => cache.read_lending(key, put),
            Some(exptime) => {
                let touch = Some(Exptime::from_wire(exptime));
                cache.fetch_lending(key, &Fetch { touch, leaves_token: true, ..Fetch::default() }, put)
            }
        };
    }

    /// Any request but those that change the conversation's state.
    #[inline]
    pub(super) fn request(&mut self, request: Request<'_>, block: &[u8]) {
        match request {
            Request::Store(store, form) => self.store(&store, &form, block),
            Request::Lookup(lookup, form) => self.look_up(&lookup, &form),
            Request::Count(count, form) => self.count(&count, &form),
            Request::Delete(delete, form) => self.delete(&delete, &form),
            Request::Touch { key, exptime, form } => self.touch(key, exptime, &form),
            Request::Inspect(key) => self.inspect(key),
            other => self.administer(other),
        }
    }

    /// Requests that are not about an entry.
    #[cold]
    fn administer(&mut self, request: Request<'_>) {
        match request {
            Request::Flush { form: Form::Binary(header), .. } if !self.service.allow_flush => {
                binary::put_status(self.output.bytes(), header, Status::AuthError);
            }
            Request::Flush { form: Form::Text { noreply: true }, .. } if !self.service.allow_flush => {}
            Request::Flush { .. } if !self.service.allow_flush => self.line("CLIENT_ERROR flush_all not allowed"),
            Request::Flush { delay, form } => {
                self.service.cache.flush_all(from_now(Exptime::from_wire(delay)));
                self.done(Outcome::Done, &form, "OK");
            }
            Request::Verbosity(form) => self.done(Outcome::Done, &form, "OK"),
            Request::Noop(Form::Meta(_)) => self.line("MN"),
            Request::Noop(form) => self.done(Outcome::Done, &form, ""),
            Request::Version(Form::Binary(header)) => {
                binary::put_value(self.output.bytes(), header, 0, VERSION.as_bytes())
            }
            Request::Version(_) => {
                self.output.bytes().extend_from_slice(b"VERSION ");
                self.line(VERSION);
            }
            Request::Stats(group, form) => stats::answer(self.service, group, &form, self.output.bytes()),
            Request::MemLimit { mebibytes, noreply } => {
                let bytes = mebibytes.saturating_mul(1 << 20);
                let line = match self.service.cache.set_max_bytes(bytes) {
                    Ok(()) => "OK",
                    Err(_) if bytes < 1 << 30 => "MEMLIMIT_TOO_SMALL cannot set maxbytes so low",
                    Err(_) => "MEMLIMIT_ADJUST_FAILED input value is out of range",
                };
                if !noreply {
                    self.line(line);
                }
            }
            Request::Mechanisms(header) if self.service.host.asks_for_credentials() => {
                binary::put_value(self.output.bytes(), header, 0, b"PLAIN");
            }
            Request::Mechanisms(header) => binary::put_status(self.output.bytes(), header, Status::UnknownCommand),
            // The conversation's own.
            _ => {}
        }
    }

    /// The answer that has nothing but an outcome. `done` is what the classic commands call success.
    pub(super) fn done(&mut self, outcome: Outcome, form: &Form<'_>, done: &'static str) {
        match form {
            Form::Text { noreply: true } => {}
            Form::Text { noreply: false } => self.line(text::outcome_line(outcome, done)),
            Form::Meta(line) => self.code(outcome, line),
            Form::Binary(header) if outcome == Outcome::Done && header.is_quiet() => {}
            Form::Binary(header) => binary::put_status(self.output.bytes(), *header, outcome.into()),
        }
    }

    fn code(&mut self, outcome: Outcome, line: &MetaLine<'_>) {
        match meta::code(outcome) {
            Ok(code) => meta::put_code(self.output.bytes(), code, line),
            Err(error) => self.line(error),
        }
    }

    /// Stores a data block.
    #[inline]
    fn store(&mut self, store: &Store<'_>, form: &Form<'_>, block: &[u8]) {
        let value = match form {
            Form::Binary(_) => block,
            Form::Text { .. } | Form::Meta(_) => match text::check_block(block) {
                Ok(value) => value,
                Err(_) if *form == (Form::Text { noreply: true }) => return,
                Err(error) => return self.line(error),
            },
        };
        let write = Write {
            key: store.key,
            value,
            flags: store.flags,
            exptime: Exptime::from_wire(store.exptime),
            mode: store.mode.into(),
            compare: store.cas,
            cas: store.new_cas,
            as_stale: store.invalidate,
            vivify: store.vivify.map(Exptime::from_wire),
            binary_key: form.has_binary_key(),
        };
        let (outcome, cas) = match self.service.cache.write(&write) {
            store::Stored::Stored { cas } => (Outcome::Done, cas),
            store::Stored::NotStored => (Outcome::NotStored, 0),
            store::Stored::Exists => (Outcome::Exists, 0),
            store::Stored::NotFound => (Outcome::NotFound, 0),
            store::Stored::TooLarge => (Outcome::TooLarge, 0),
            store::Stored::Refused | store::Stored::NoMemory => (Outcome::NoMemory, 0),
        };
        self.stored(outcome, cas, value.len(), store, form);
    }

    fn stored(&mut self, outcome: Outcome, cas: u64, size: usize, store: &Store<'_>, form: &Form<'_>) {
        match form {
            Form::Text { .. } => self.done(outcome, form, "STORED"),
            Form::Meta(line) => {
                self.service.count(Event::MetaCommand);
                match meta::code(outcome) {
                    Err(error) => self.line(error),
                    Ok("HD") if line.is_quiet() => {}
                    Ok(code) => {
                        let (key, key_is_binary) = (store.key, form.has_binary_key());
                        let facts = Facts { told: b"cs", key, key_is_binary, cas, size, ..Facts::default() };
                        meta::put_facts_line(self.output.bytes(), code, line, &facts);
                    }
                }
            }
            Form::Binary(header) if outcome == Outcome::Done => {
                if !header.is_quiet() {
                    binary::put_value(self.output.bytes(), *header, cas, b"");
                }
            }
            // What is refused for what is there has another name here.
            Form::Binary(header) => {
                let status = match (store.mode, outcome) {
                    (Mode::Add, Outcome::NotStored) => Status::Exists,
                    (Mode::Replace, Outcome::NotStored) => Status::NotFound,
                    _ => outcome.into(),
                };
                binary::put_status(self.output.bytes(), *header, status);
            }
        }
    }

    /// Refuses to store what is larger than any item may be, or what has been given up for lack of memory.
    #[cold]
    pub(super) fn refuse(&mut self, why: Outcome, store: &Store<'_>, form: &Form<'_>) {
        // What is to replace the old value in any case takes it away, for it is out of date. The binary protocol calls a
        // `cas` a set, and memcached treats it so.
        let replaces = match form {
            Form::Meta(_) if why == Outcome::TooLarge => true,
            Form::Meta(_) | Form::Text { .. } => store.is_plain_set(),
            Form::Binary(header) => header.is_set(),
        };
        self.service.cache.refuse(store.key, why == Outcome::TooLarge, replaces);
        match (form, meta::code(why)) {
            (Form::Meta(_), Err(line)) => self.line(line),
            _ => self.done(why, form, ""),
        }
    }

    /// Reads an entry, with all that `mg` and the binary protocol's look-ups can do besides.
    fn look_up(&mut self, lookup: &Lookup<'_>, form: &Form<'_>) {
        let fetch = Fetch {
            touch: lookup.touch.map(Exptime::from_wire),
            vivify: lookup.vivify.map(Exptime::from_wire),
            cas: lookup.new_cas,
            recache: lookup.recache.map(|seconds| u32::try_from(seconds).unwrap_or(0)),
            unseen: lookup.no_bump,
            leaves_token: !matches!(form, Form::Meta(_)),
            binary_key: form.has_binary_key(),
        };
        let output = &mut *self.output;
        let found = self.service.cache.fetch_lending(lookup.key, &fetch, |hit, loan| {
            output.make_room(lookup.key.len(), hit.value, loan);
            if put_entry(output.bytes(), lookup, form, &facts(&hit, lookup.key, form)) {
                output.put_value(hit.value, loan);
                end_value(output.bytes(), form);
            }
        });
        if let Form::Meta(_) = form {
            self.service.count(Event::MetaCommand);
        }
        if found.is_none() {
            self.missed(lookup, form);
        }
    }

    fn missed(&mut self, lookup: &Lookup<'_>, form: &Form<'_>) {
        let bytes = self.output.bytes();
        match form {
            Form::Meta(line) if !line.is_quiet() => meta::put_code(bytes, "EN", line),
            Form::Binary(header) if header.is_quiet() => {}
            Form::Binary(header) if header.with_key() => {
                binary::put_head(bytes, *header, Status::NotFound, 0, [b"", lookup.key], 0);
            }
            Form::Binary(header) => binary::put_status(bytes, *header, Status::NotFound),
            Form::Meta(_) | Form::Text { .. } => {}
        }
    }

    fn count(&mut self, count: &Count<'_>, form: &Form<'_>) {
        let how = store::Count {
            delta: count.delta,
            down: count.decrement,
            compare: count.cas,
            cas: count.new_cas,
            touch: count.touch.map(Exptime::from_wire),
            vivify: count.vivify.map(|(number, exptime)| (number, Exptime::from_wire(exptime))),
            binary_key: form.has_binary_key(),
        };
        let outcome = match self.service.cache.count(count.key, &how) {
            Counted::Number { number, cas } => return self.number(number, cas, count.key, form),
            Counted::NotFound => Outcome::NotFound,
            Counted::NotANumber => Outcome::NonNumeric,
            Counted::Exists => Outcome::Exists,
            Counted::NotStored => Outcome::NotStored,
            // memcached has other words for it here than where a value is stored.
            Counted::NoMemory => match form {
                Form::Text { noreply: false } | Form::Meta(_) => return self.line("SERVER_ERROR out of memory"),
                Form::Text { noreply: true } | Form::Binary(_) => Outcome::NoMemory,
            },
        };
        self.done(outcome, form, "");
    }

    fn number(&mut self, number: u64, cas: u64, key: &[u8], form: &Form<'_>) {
        let mut digits = itoa::Buffer::new();
        let digits = digits.format(number);
        match form {
            Form::Text { noreply: true } => {}
            Form::Text { noreply: false } => self.line(digits),
            Form::Meta(line) if line.is_quiet() => {}
            Form::Meta(line) => {
                let time_left = if line.has(b't') { self.service.cache.peek(key) } else { None };
                let facts = Facts {
                    told: b"ct",
                    key,
                    key_is_binary: form.has_binary_key(),
                    cas,
                    size: digits.len(),
                    time_left: time_left.and_then(|item| item.seconds_left),
                    ..Facts::default()
                };
                if line.has(b'v') {
                    meta::put_value_line(self.output.bytes(), line, &facts);
                    self.line(digits);
                } else {
                    meta::put_facts_line(self.output.bytes(), "HD", line, &facts);
                }
            }
            Form::Binary(header) if header.is_quiet() => {}
            Form::Binary(header) => binary::put_value(self.output.bytes(), *header, cas, &number.to_be_bytes()),
        }
    }

    fn delete(&mut self, delete: &Delete<'_>, form: &Form<'_>) {
        let Delete { key, cas, new_cas, stale, empty, touch } = *delete;
        let touch = touch.map(Exptime::from_wire);
        let removal = Removal { compare: cas, mark_stale: stale, empty, touch, cas: new_cas };
        let outcome = match self.service.cache.remove(key, &removal) {
            Removed::Removed => Outcome::Done,
            Removed::NotFound => Outcome::NotFound,
            Removed::Exists => Outcome::Exists,
        };
        match form {
            // Quiet is about what was to be expected, and both are.
            Form::Meta(line) if line.is_quiet() && outcome != Outcome::Exists => {}
            _ => self.done(outcome, form, "DELETED"),
        }
    }

    fn touch(&mut self, key: &[u8], exptime: i64, form: &Form<'_>) {
        match (self.service.cache.touch_and_tell(key, Exptime::from_wire(exptime)), form) {
            (Some((flags, cas)), Form::Binary(header)) => binary::put_touched(self.output.bytes(), *header, flags, cas),
            (Some(_), _) => self.done(Outcome::Done, form, "TOUCHED"),
            (None, _) => self.done(Outcome::NotFound, form, ""),
        }
    }

    /// Everything about an entry, which is not a use of it.
    fn inspect(&mut self, key: &[u8]) {
        self.service.count(Event::MetaCommand);
        let Some(item) = self.service.cache.peek(key) else { return self.line("EN") };
        let facts = Facts {
            key,
            key_is_binary: item.binary_key,
            flags: item.flags,
            cas: item.cas,
            size: item.size,
            time_left: item.seconds_left,
            idle: item.idle_seconds,
            was_fetched: item.fetched,
            ..Facts::default()
        };
        meta::put_inspection(self.output.bytes(), &facts);
    }

    /// Some lines about what there is, and where it goes on.
    pub(super) fn dump(&mut self, from: Cursor) -> Option<Cursor> {
        let mut next = Some(from);
        for _ in 0..BUCKETS_AT_ONCE {
            let Some(cursor) = next else { break };
            let bytes = self.output.bytes();
            next = self.service.cache.walk_bucket(cursor, |item| put_dumped(bytes, &item));
        }
        if next.is_none() {
            self.line("END");
        }
        next
    }
}

/// A dump's line about an entry.
fn put_dumped(out: &mut Vec<u8>, item: &Meta) {
    let Meta { expires, accessed, cas, fetched, size, .. } = item;
    let fetched = if *fetched { "yes" } else { "no" };
    out.extend_from_slice(b"key=");
    text::put_escaped(out, &item.key);
    let expires = expires.unwrap_or(-1);
    let rest = format!(" exp={expires} la={accessed} cas={cas} fetch={fetched} cls=1 size={size}\n");
    out.extend_from_slice(rest.as_bytes());
}

/// What an answer may tell of an entry that was found.
fn facts<'k>(hit: &Hit<'_>, key: &'k [u8], form: &Form<'_>) -> Facts<'k> {
    Facts {
        told: b"cfhlst",
        key,
        key_is_binary: hit.has_binary_key(),
        flags: hit.flags,
        cas: hit.cas,
        size: hit.value.len(),
        // It takes a look at the clock.
        time_left: if matches!(form, Form::Meta(line) if line.has(b't')) { hit.seconds_left() } else { None },
        idle: hit.idle_seconds(),
        was_fetched: hit.was_fetched(),
        won: hit.won,
        token_sent: hit.token_sent,
        is_stale: hit.is_stale,
    }
}

/// Begins the answer with an entry, and says whether its value is to follow.
#[inline]
fn put_entry(out: &mut Vec<u8>, lookup: &Lookup<'_>, form: &Form<'_>, facts: &Facts<'_>) -> bool {
    match form {
        // Who has the value already is not sent it.
        Form::Meta(line) if !line.has(b'v') || lookup.known_cas == Some(facts.cas) => {
            meta::put_facts_line(out, "HD", line, facts);
            false
        }
        Form::Meta(line) => {
            meta::put_value_line(out, line, facts);
            true
        }
        Form::Binary(header) => {
            let key = if header.with_key() { facts.key } else { b"" };
            let flags = facts.flags.to_be_bytes();
            binary::put_head(out, *header, Status::Ok, facts.cas, [&flags, key], facts.size);
            true
        }
        // A line of text asks for keys, not for one.
        Form::Text { .. } => false,
    }
}

fn end_value(out: &mut Vec<u8>, form: &Form<'_>) {
    if !matches!(form, Form::Binary(_)) {
        out.extend_from_slice(b"\r\n");
    }
}

impl From<Mode> for store::Mode {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Set => Self::Set,
            Mode::Add => Self::Add,
            Mode::Replace => Self::Replace,
            Mode::Append => Self::Append,
            Mode::Prepend => Self::Prepend,
        }
    }
}

/// How long it is until then.
fn from_now(exptime: Exptime) -> Duration {
    match exptime {
        Exptime::Never => Duration::ZERO,
        Exptime::In(seconds) => Duration::from_secs(seconds.into()),
        Exptime::At(unix) => {
            let then = SystemTime::UNIX_EPOCH + Duration::from_secs(unix.into());
            then.duration_since(SystemTime::now()).unwrap_or_default()
        }
    }
}
