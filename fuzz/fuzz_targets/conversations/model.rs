//! A naive memcached: a map and a clock in seconds.

use std::collections::{HashMap, HashSet};

use crate::step::{ANY, Exptime, Form, Mode, Step, key};

#[derive(Clone, Debug, Default)]
struct Item {
    value: Vec<u8>,
    flags: u32,
    /// 0 as long as the server has not told.
    cas: u64,
    until: Option<u64>,
    is_stale: bool,
    is_sent: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Model {
    items: HashMap<&'static [u8], Item>,
    now: u64,
    /// All cas uniques there have been.
    seen: HashSet<u64>,
}

/// What comes of a request that changes something.
#[derive(Clone, Copy, PartialEq)]
enum Outcome {
    Done,
    NotStored,
    Exists,
    NotFound,
    NonNumeric,
}

impl Model {
    pub(crate) fn wait(&mut self, seconds: u64) {
        self.now += seconds;
        self.tidy();
    }

    fn tidy(&mut self) {
        let now = self.now;
        self.items.retain(|_, item| item.until.is_none_or(|until| now < until));
    }

    fn until(&self, exptime: Exptime) -> Option<u64> {
        match exptime.number() {
            0 => None,
            number => Some((self.now as i64 + i64::from(number)).max(0) as u64),
        }
    }

    /// The cas unique of a key, or 1.
    pub(crate) fn cas(&self, key: &[u8]) -> u64 {
        self.items.get(key).map_or(1, |item| item.cas)
    }

    /// Compares with what `me` says, and learns the cas unique.
    pub(crate) fn compare(&mut self, key: &'static [u8], answer: &[u8]) {
        let answer = std::str::from_utf8(answer).unwrap();
        let Some(item) = self.items.get_mut(key) else { return assert_eq!(answer, "EN\r\n", "{key:?}") };
        let words: HashMap<_, _> = answer.trim_end().split(' ').filter_map(|word| word.split_once('=')).collect();
        let time_left = item.until.map_or("-1".to_owned(), |until| (until - self.now).to_string());
        assert_eq!(words.get("exp"), Some(&time_left.as_str()), "{answer:?}, {item:?}");
        let cas = words["cas"].parse().unwrap();
        if item.cas == 0 {
            assert!(self.seen.insert(cas), "{cas} is not new");
            item.cas = cas;
        }
        assert_eq!(item.cas, cas, "{answer:?}");
    }

    /// Does what a step says, and says what must be answered.
    pub(crate) fn answer(&mut self, step: &Step) -> Vec<u8> {
        let answer = match *step {
            Step::Get { key: number, form } => {
                let key = key(number);
                let item = self.items.get(key).cloned();
                let marks = if form == Form::Meta { self.marks(key, false) } else { String::new() };
                show(
                    key,
                    item.as_ref(),
                    form,
                    |item| match form {
                        Form::Text => format!(" {}", item.cas),
                        _ => {
                            let (len, time_left) = (item.value.len(), self.time_left(item));
                            format!(" s{len} t{time_left} f{} k{} c{} O7{marks}", item.flags, text(key), item.cas)
                        }
                    },
                    0x0c,
                )
            }
            Step::Fetch { key: number, vivify, recache } => self.fetch(key(number), vivify, recache),
            Step::GetAndTouch { key: number, exptime, form } => {
                let key = key(number);
                let until = self.until(exptime);
                let item = self.items.get_mut(key).map(|item| {
                    item.until = until;
                    item.clone()
                });
                let marks = if form == Form::Meta { self.marks(key, false) } else { String::new() };
                show(key, item.as_ref(), form, |_| marks.clone(), 0x1d)
            }
            Step::Touch { key: number, exptime, is_binary } => {
                let until = self.until(exptime);
                let item = self.items.get_mut(key(number)).map(|item| {
                    item.until = until;
                    Item { value: Vec::new(), ..item.clone() }
                });
                if is_binary {
                    show(b"", item.as_ref(), Form::Binary, |_| String::new(), 0x1c)
                } else {
                    let outcome = if item.is_some() { Outcome::Done } else { Outcome::NotFound };
                    outcome_in(Form::Text, outcome, "TOUCHED", "", 0x1c, false)
                }
            }
            Step::Store { key: number, mode, form, quiet, .. } => {
                let (key, opcode) = (key(number), [0x01, 0x02, 0x03, 0x0e, 0x0f][mode as usize]);
                match (form, mode, self.store(step)) {
                    (_, _, Outcome::Done) if quiet => Vec::new(),
                    (Form::Text, ..) if quiet => Vec::new(),
                    (Form::Binary, _, Outcome::Done) => status(opcode, 0, Some(ANY), b"", b""),
                    (Form::Binary, mode, outcome) => {
                        let quiet = [0x11, 0x12, 0x13, 0x19, 0x1a][mode as usize];
                        let opcode = if step.is_quiet() { quiet } else { opcode };
                        let outcome = match (mode, outcome) {
                            (Mode::Add, Outcome::NotStored) => Outcome::Exists,
                            (Mode::Replace, Outcome::NotStored) => Outcome::NotFound,
                            _ => outcome,
                        };
                        outcome_in(form, outcome, "", "", opcode, false)
                    }
                    (form, _, outcome) => outcome_in(form, outcome, "STORED", text(key), opcode, false),
                }
            }
            Step::Count { key: number, down, delta, vivify, form, quiet } => {
                let outcome = self.count(key(number), down, delta, vivify.filter(|_| form != Form::Text));
                let opcode = if down { 0x06 } else { 0x05 } + if quiet { 0x10 } else { 0 };
                match (form, outcome) {
                    (Form::Text, _) | (_, Ok(_)) if quiet => Vec::new(),
                    (Form::Text, Ok(number)) => format!("{number}\r\n").into_bytes(),
                    (Form::Meta, Ok(number)) => format!("VA {}\r\n{number}\r\n", number.to_string().len()).into_bytes(),
                    (Form::Binary, Ok(number)) => status(opcode, 0, Some(ANY), b"", &number.to_be_bytes()),
                    (_, Err(outcome)) => outcome_in(form, outcome, "", "", opcode, false),
                }
            }
            Step::Delete { key: number, form, quiet, .. } => {
                let outcome = self.delete(step);
                let opcode = if quiet { 0x14 } else { 0x04 };
                let hidden = match form {
                    Form::Text => true,
                    Form::Meta => outcome != Outcome::Exists,
                    Form::Binary => outcome == Outcome::Done,
                };
                outcome_in(form, outcome, "DELETED", text(key(number)), opcode, quiet && hidden)
            }
            Step::Flush { is_binary } => {
                self.items.clear();
                outcome_in(if is_binary { Form::Binary } else { Form::Text }, Outcome::Done, "OK", "", 0x08, false)
            }
            Step::Wait { .. } => Vec::new(),
        };
        self.tidy();
        answer
    }

    fn time_left(&self, item: &Item) -> i64 {
        item.until.map_or(-1, |until| (until - self.now) as i64)
    }

    /// What `mg` says of an item's age; whoever is told to make a new one, is told so once.
    fn marks(&mut self, key: &[u8], is_wanted: bool) -> String {
        let Some(item) = self.items.get_mut(key) else { return String::new() };
        let is_wanted = is_wanted || item.is_stale;
        let mut marks = String::new();
        if item.is_sent {
            marks += " Z";
        }
        if item.is_stale {
            marks += " X";
        }
        if is_wanted && !item.is_sent {
            item.is_sent = true;
            marks += " W";
        }
        marks
    }

    fn fetch(&mut self, key: &'static [u8], vivify: Option<u8>, recache: Option<u8>) -> Vec<u8> {
        let now = self.now;
        if let Some(item) = self.items.get(key).cloned() {
            let is_short = recache.is_some_and(|least| item.until.is_some_and(|until| until - now < u64::from(least)));
            let marks = self.marks(key, is_short);
            let time_left = self.time_left(&item);
            return show(key, Some(&item), Form::Meta, |_| format!(" t{time_left}{marks}"), 0);
        }
        let Some(seconds) = vivify else { return b"EN\r\n".to_vec() };
        let time_left = u64::from(seconds) + 1;
        let item = Item { until: Some(now + time_left), is_sent: true, ..Item::default() };
        self.items.insert(key, item);
        format!("VA 0 t{time_left} W\r\n\r\n").into_bytes()
    }

    fn store(&mut self, step: &Step) -> Outcome {
        let Step::Store { key: number, mode, value, flags, exptime, compare, form, stale, .. } = *step else {
            return Outcome::NotStored;
        };
        let key = key(number);
        // Only `cas` compares in text.
        let compare = compare.number(self.cas(key)).filter(|_| form != Form::Text || mode == Mode::Set);
        // With one, the binary ADD is not to add but to compare.
        let is_cas = form == Form::Binary && mode == Mode::Add && compare.is_some();
        let mode = if is_cas { Mode::Set } else { mode };
        let until = self.until(exptime);
        let mut new = Item { value: value.bytes(), flags, until, ..Item::default() };
        let old = self.items.get(key);
        let differs = old.is_some_and(|old| compare.is_some_and(|compare| compare != old.cas));
        match (mode, old) {
            (Mode::Set | Mode::Replace, None) if compare.is_some() => return Outcome::NotFound,
            (Mode::Set | Mode::Replace, Some(old)) if differs => {
                if !(stale && form == Form::Meta && compare < Some(old.cas)) {
                    return Outcome::Exists;
                }
                new = Item { until: old.until, is_stale: true, is_sent: old.is_sent, ..new };
            }
            (Mode::Add, Some(_)) | (Mode::Replace | Mode::Append | Mode::Prepend, None) => return Outcome::NotStored,
            (Mode::Append | Mode::Prepend, Some(_)) if differs => return Outcome::Exists,
            (Mode::Append, Some(old)) => new = Item { value: [&old.value[..], &new.value].concat(), ..kept(old) },
            (Mode::Prepend, Some(old)) => new = Item { value: [&new.value[..], &old.value].concat(), ..kept(old) },
            _ => {}
        }
        self.items.insert(key, new);
        Outcome::Done
    }

    fn count(&mut self, key: &'static [u8], down: bool, delta: u64, vivify: Option<(u64, u8)>) -> Result<u64, Outcome> {
        let now = self.now;
        let Some(item) = self.items.get_mut(key) else {
            let (number, seconds) = vivify.ok_or(Outcome::NotFound)?;
            let until = (seconds > 0).then(|| now + u64::from(seconds));
            self.items.insert(key, Item { value: number.to_string().into_bytes(), until, ..Item::default() });
            return Ok(number);
        };
        let mut words = item.value.trim_ascii_start().split(|byte| byte.is_ascii_whitespace() || *byte == 0);
        let word = words.next().and_then(|word| std::str::from_utf8(word).ok());
        let number = word.and_then(|word| word.parse::<u64>().ok()).ok_or(Outcome::NonNumeric)?;
        let number = if down { number.saturating_sub(delta) } else { number.wrapping_add(delta) };
        item.value = format!("{number:<width$}", width = item.value.len()).into_bytes();
        item.cas = 0;
        Ok(number)
    }

    fn delete(&mut self, step: &Step) -> Outcome {
        let Step::Delete { key: number, compare, form, stale, empty, .. } = *step else { return Outcome::NotFound };
        let key = key(number);
        let compare = compare.number(self.cas(key)).filter(|_| form != Form::Text);
        let Some(item) = self.items.get_mut(key) else { return Outcome::NotFound };
        if compare.is_some_and(|compare| compare != item.cas) {
            return Outcome::Exists;
        }
        if form != Form::Meta || !(stale || empty) {
            self.items.remove(key);
            return Outcome::Done;
        }
        if empty {
            (item.value, item.flags) = (Vec::new(), 0);
        }
        if stale {
            (item.is_stale, item.is_sent, item.cas) = (true, false, 0);
        }
        Outcome::Done
    }
}

impl Step {
    fn is_quiet(&self) -> bool {
        matches!(self, Self::Store { quiet: true, .. })
    }
}

/// What a longer value keeps.
fn kept(old: &Item) -> Item {
    Item { flags: old.flags, until: old.until, ..Item::default() }
}

fn text(key: &[u8]) -> &str {
    std::str::from_utf8(key).unwrap()
}

/// An entry, or that there is none; `rest` is what stands behind the length.
fn show(key: &[u8], item: Option<&Item>, form: Form, rest: impl Fn(&Item) -> String, opcode: u8) -> Vec<u8> {
    match (form, item) {
        (Form::Text, None) => b"END\r\n".to_vec(),
        (Form::Meta, None) if rest(&Item::default()).contains("O7") => format!("EN k{} O7\r\n", text(key)).into_bytes(),
        (Form::Meta, None) => b"EN\r\n".to_vec(),
        (Form::Binary, None) if opcode == 0x0c => status(opcode, 1, None, key, b""),
        (Form::Binary, None) => status(opcode, 1, None, b"", b"Not found"),
        (Form::Text, Some(item)) => {
            let head = format!("VALUE {} {} {}{}\r\n", text(key), item.flags, item.value.len(), rest(item));
            [head.as_bytes(), &item.value, b"\r\nEND\r\n"].concat()
        }
        (Form::Meta, Some(item)) => {
            let head = format!("VA {}{}\r\n", item.value.len(), rest(item));
            [head.as_bytes(), &item.value, b"\r\n"].concat()
        }
        (Form::Binary, Some(item)) => {
            let key = if opcode == 0x0c { key } else { b"" };
            let mut bytes = status(opcode, 0, Some(&item.cas.to_be_bytes()), key, &item.value);
            let body_len = (4 + key.len() + item.value.len()) as u32;
            bytes[4] = 4;
            bytes[8..12].copy_from_slice(&body_len.to_be_bytes());
            bytes.splice(24..24, item.flags.to_be_bytes());
            bytes
        }
    }
}

/// A binary answer.
fn status(opcode: u8, status: u8, cas: Option<&[u8]>, key: &[u8], value: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x81, opcode, 0, key.len() as u8, 0, 0, 0, status];
    bytes.extend(((key.len() + value.len()) as u32).to_be_bytes());
    bytes.extend([9, 8, 7, 6]);
    bytes.extend(cas.unwrap_or(&[0; 8]));
    bytes.extend([key, value].concat());
    bytes
}

/// An outcome as each form says it.
fn outcome_in(form: Form, outcome: Outcome, done: &str, key: &str, opcode: u8, hidden: bool) -> Vec<u8> {
    if hidden {
        return Vec::new();
    }
    let non_numeric = "CLIENT_ERROR cannot increment or decrement non-numeric value";
    let line = match (form, outcome) {
        (Form::Text, Outcome::Done) => done.to_owned(),
        (Form::Text, Outcome::NotStored) => "NOT_STORED".to_owned(),
        (Form::Text, Outcome::Exists) => "EXISTS".to_owned(),
        (Form::Text, Outcome::NotFound) => "NOT_FOUND".to_owned(),
        (Form::Text | Form::Meta, Outcome::NonNumeric) => non_numeric.to_owned(),
        (Form::Meta, outcome) => {
            let code = ["HD", "NS", "EX", "NF", ""][outcome as usize];
            if key.is_empty() { code.to_owned() } else { format!("{code} k{key}") }
        }
        (Form::Binary, Outcome::Done) => return status(opcode, 0, None, b"", b""),
        (Form::Binary, Outcome::NotStored) => return status(opcode, 5, None, b"", b"Not stored."),
        (Form::Binary, Outcome::Exists) => return status(opcode, 2, None, b"", b"Data exists for key."),
        (Form::Binary, Outcome::NotFound) => return status(opcode, 1, None, b"", b"Not found"),
        (Form::Binary, Outcome::NonNumeric) => {
            return status(opcode, 6, None, b"", b"Non-numeric server-side value for incr or decr");
        }
    };
    format!("{line}\r\n").into_bytes()
}
