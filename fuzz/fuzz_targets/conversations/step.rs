//! What a client does, and how it asks for it.

use arbitrary::Arbitrary;

use crate::model::Model;

pub(crate) const KEYS: [&[u8]; 3] = [b"a", b"bb", b"ccc"];

/// In which form of the protocol.
#[derive(Arbitrary, Clone, Copy, Debug, PartialEq)]
pub(crate) enum Form {
    Text,
    Meta,
    Binary,
}

#[derive(Arbitrary, Clone, Copy, Debug, PartialEq)]
pub(crate) enum Mode {
    Set,
    Add,
    Replace,
    Append,
    Prepend,
}

/// An expiry time.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub(crate) enum Exptime {
    Never,
    In(u8),
    Over,
}

/// A cas unique to compare with.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub(crate) enum Compare {
    Not,
    Right,
    Lower,
    Higher,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
pub(crate) enum Value {
    Number(u64),
    Small(u8),
    Text(u8, u8),
}

#[derive(Arbitrary, Debug)]
pub(crate) enum Step {
    Get {
        key: u8,
        form: Form,
    },
    /// `mg`, with `N` and `R`.
    Fetch {
        key: u8,
        vivify: Option<u8>,
        recache: Option<u8>,
    },
    GetAndTouch {
        key: u8,
        exptime: Exptime,
        form: Form,
    },
    Touch {
        key: u8,
        exptime: Exptime,
        is_binary: bool,
    },
    Store {
        key: u8,
        mode: Mode,
        value: Value,
        flags: u32,
        exptime: Exptime,
        compare: Compare,
        form: Form,
        quiet: bool,
        stale: bool,
    },
    Count {
        key: u8,
        down: bool,
        delta: u64,
        vivify: Option<(u64, u8)>,
        form: Form,
        quiet: bool,
    },
    Delete {
        key: u8,
        compare: Compare,
        form: Form,
        quiet: bool,
        stale: bool,
        empty: bool,
    },
    Flush {
        is_binary: bool,
    },
    Wait {
        seconds: u8,
    },
}

pub(crate) fn key(number: u8) -> &'static [u8] {
    KEYS[usize::from(number) % KEYS.len()]
}

impl Exptime {
    pub(crate) fn number(self) -> i32 {
        match self {
            Self::Never => 0,
            Self::In(seconds) => i32::from(seconds) + 1,
            Self::Over => -1,
        }
    }

    /// As the binary protocol has it, where a time has no sign: one that is over is a date in 2001.
    fn bytes(self) -> [u8; 4] {
        match self {
            Self::Over => 1_000_000_000_u32.to_be_bytes(),
            _ => self.number().to_be_bytes(),
        }
    }
}

impl Value {
    pub(crate) fn bytes(self) -> Vec<u8> {
        match self {
            Self::Number(number) => number.to_string().into_bytes(),
            Self::Small(number) => number.to_string().into_bytes(),
            Self::Text(byte, len) => vec![byte; usize::from(len)],
        }
    }
}

impl Compare {
    /// The number that is sent, where `cas` is the present one.
    pub(crate) fn number(self, cas: u64) -> Option<u64> {
        match self {
            Self::Not => None,
            Self::Right => Some(cas.max(1)),
            Self::Lower => Some(cas.saturating_sub(1).max(1)),
            Self::Higher => Some(cas + 1),
        }
    }
}

impl Step {
    pub(crate) fn is_binary(&self) -> bool {
        match self {
            Self::Get { form, .. } | Self::GetAndTouch { form, .. } | Self::Store { form, .. } => *form == Form::Binary,
            Self::Count { form, .. } | Self::Delete { form, .. } => *form == Form::Binary,
            Self::Touch { is_binary, .. } | Self::Flush { is_binary } => *is_binary,
            Self::Fetch { .. } | Self::Wait { .. } => false,
        }
    }

    /// The bytes that ask for it.
    pub(crate) fn request(&self, model: &Model) -> Vec<u8> {
        match *self {
            Self::Get { key, form } => match form {
                Form::Text => line(&[b"gets", self::key(key)]),
                Form::Meta => line(&[b"mg", self::key(key), b"s t f v k c O7"]),
                Form::Binary => binary(0x0c, 0, [b"", self::key(key), b""]),
            },
            Self::Fetch { key, vivify, recache } => {
                let vivify = vivify.map_or(String::new(), |seconds| format!(" N{}", u16::from(seconds) + 1));
                let recache = recache.map_or(String::new(), |seconds| format!(" R{seconds}"));
                line(&[b"mg", self::key(key), format!("v t{vivify}{recache}").as_bytes()])
            }
            Self::GetAndTouch { key, exptime, form } => {
                let (key, number) = (self::key(key), exptime.number());
                match form {
                    Form::Text => line(&[b"gat", number.to_string().as_bytes(), key]),
                    Form::Meta => line(&[b"mg", key, format!("v T{number}").as_bytes()]),
                    Form::Binary => binary(0x1d, 0, [&exptime.bytes(), key, b""]),
                }
            }
            Self::Touch { key, exptime, is_binary } => {
                let (key, number) = (self::key(key), exptime.number());
                if is_binary {
                    binary(0x1c, 0, [&exptime.bytes(), key, b""])
                } else {
                    line(&[b"touch", key, number.to_string().as_bytes()])
                }
            }
            Self::Store { .. } => self.store(model),
            Self::Count { key, down, delta, vivify, form, quiet } => {
                count(self::key(key), down, delta, vivify, form, quiet)
            }
            Self::Delete { key, compare, form, quiet, stale, empty } => {
                let key = self::key(key);
                let compare = compare.number(model.cas(key));
                match form {
                    Form::Text => line(&[b"delete", key, if quiet { b"noreply" } else { b"" }]),
                    Form::Meta => {
                        let flag = |is_there: bool, flag: &str| if is_there { flag.to_owned() } else { String::new() };
                        let compare = compare.map_or(String::new(), |cas| format!(" C{cas}"));
                        let flags = flag(quiet, " q") + &flag(stale, " I") + &flag(empty, " x") + &compare + " k";
                        line(&[b"md", key, flags.as_bytes()])
                    }
                    Form::Binary => binary(if quiet { 0x14 } else { 0x04 }, compare.unwrap_or(0), [b"", key, b""]),
                }
            }
            Self::Flush { is_binary: true } => binary(0x08, 0, [b"", b"", b""]),
            Self::Flush { is_binary: false } => line(&[b"flush_all"]),
            Self::Wait { .. } => Vec::new(),
        }
    }

    fn store(&self, model: &Model) -> Vec<u8> {
        let Self::Store { key, mode, value, flags, exptime, compare, form, quiet, stale } = *self else {
            return Vec::new();
        };
        let (key, value) = (self::key(key), value.bytes());
        let compare = compare.number(model.cas(key));
        let (len, number) = (value.len(), exptime.number());
        let head = match form {
            Form::Text => {
                let word: &[u8] = match (mode, compare) {
                    (Mode::Set, Some(_)) => b"cas",
                    (Mode::Set, None) => b"set",
                    (Mode::Add, _) => b"add",
                    (Mode::Replace, _) => b"replace",
                    (Mode::Append, _) => b"append",
                    (Mode::Prepend, _) => b"prepend",
                };
                let cas = compare.filter(|_| mode == Mode::Set).map_or(String::new(), |cas| cas.to_string());
                let noreply = if quiet { "noreply" } else { "" };
                line(&[word, key, format!("{flags} {number} {len} {cas} {noreply}").as_bytes()])
            }
            Form::Meta => {
                let mode = ["S", "E", "R", "A", "P"][mode as usize];
                let compare = compare.map_or(String::new(), |cas| format!(" C{cas}"));
                let rest = if stale { " I" } else { "" }.to_owned() + if quiet { " q" } else { "" };
                line(&[b"ms", key, format!("{len} k M{mode} F{flags} T{number}{compare}{rest}").as_bytes()])
            }
            Form::Binary => {
                let opcode = [0x01, 0x02, 0x03, 0x0e, 0x0f][mode as usize];
                let quiet = if quiet { [0x11, 0x12, 0x13, 0x19, 0x1a][mode as usize] } else { opcode };
                let extras = [flags.to_be_bytes(), exptime.bytes()].concat();
                let extras = if opcode < 0x0e { extras.as_slice() } else { b"" };
                return binary(quiet, compare.unwrap_or(0), [extras, key, &value]);
            }
        };
        [head, value, b"\r\n".to_vec()].concat()
    }
}

fn count(key: &[u8], down: bool, delta: u64, vivify: Option<(u64, u8)>, form: Form, quiet: bool) -> Vec<u8> {
    match form {
        Form::Text => {
            let word: &[u8] = if down { b"decr" } else { b"incr" };
            line(&[word, key, delta.to_string().as_bytes(), if quiet { b"noreply" } else { b"" }])
        }
        Form::Meta => {
            let vivify = vivify.map_or(String::new(), |(number, seconds)| format!(" J{number} N{seconds}"));
            let rest = if quiet { " q" } else { "" };
            line(&[b"ma", key, format!("v M{} D{delta}{vivify}{rest}", if down { "D" } else { "I" }).as_bytes()])
        }
        Form::Binary => {
            let (initial, exptime) = vivify.map_or((0, u32::MAX), |(number, seconds)| (number, seconds.into()));
            let extras = [&delta.to_be_bytes()[..], &initial.to_be_bytes(), &exptime.to_be_bytes()].concat();
            let opcode = if down { 0x06 } else { 0x05 };
            binary(if quiet { opcode + 0x10 } else { opcode }, 0, [&extras, key, b""])
        }
    }
}

fn line(words: &[&[u8]]) -> Vec<u8> {
    [words.join(&b' '), b"\r\n".to_vec()].concat()
}

pub(crate) fn binary(opcode: u8, cas: u64, [extras, key, value]: [&[u8]; 3]) -> Vec<u8> {
    let mut bytes = vec![0x80, opcode, 0, key.len() as u8, extras.len() as u8, 0, 0, 0];
    bytes.extend(((extras.len() + key.len() + value.len()) as u32).to_be_bytes());
    bytes.extend([9, 8, 7, 6]);
    bytes.extend(cas.to_be_bytes());
    bytes.extend([extras, key, value].concat());
    bytes
}

/// In an expected answer, in the place of a number that the server chooses.
pub(crate) const ANY: &[u8] = b"{any}";

/// Whether an answer is what is expected, with some number, or eight bytes of a binary answer, in the place of `ANY`.
pub(crate) fn matches(mut expected: &[u8], mut answer: &[u8]) -> bool {
    let is_binary = expected.first() == Some(&0x81);
    while let Some(&first) = expected.first() {
        if let Some(after) = expected.strip_prefix(ANY) {
            let digits = if is_binary { 8 } else { answer.iter().take_while(|byte| byte.is_ascii_digit()).count() };
            if digits == 0 || answer.len() < digits {
                return false;
            }
            (expected, answer) = (after, &answer[digits..]);
        } else {
            if answer.first() != Some(&first) {
                return false;
            }
            (expected, answer) = (&expected[1..], &answer[1..]);
        }
    }
    answer.is_empty()
}
