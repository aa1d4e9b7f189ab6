//! Traces: what was asked for in which order, and the files that they are read from.
//!
//! This file knows the formats. Of caches it knows nothing: it hands out dense numbers for keys, so
//! that the references may use arrays, and the keys themselves, so that the cache is given what its
//! users would give it.

use std::collections::HashMap;
use std::fs::File;
use std::hash::Hash;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::bufread::MultiGzDecoder;

use crate::error::Error;

/// The requests of a trace.
pub(crate) struct Trace {
    pub(crate) name: String,
    /// For each request, its key's place in `keys`.
    pub(crate) requests: Vec<u32>,
    /// Each request's size in bytes, if the trace has sizes.
    pub(crate) sizes: Option<Vec<u32>>,
    pub(crate) keys: Keys,
}

/// The unique keys of a trace, in order of first appearance.
pub(crate) enum Keys {
    Numbers(Vec<u64>),
    Text(Vec<Box<str>>),
}

impl Keys {
    pub(crate) fn len(&self) -> usize {
        match self {
            Keys::Numbers(keys) => keys.len(),
            Keys::Text(keys) => keys.len(),
        }
    }
}

impl Trace {
    /// A trace of numbers for keys; `sizes` is as long as `ids`, if there.
    pub(crate) fn of_numbers(name: String, ids: impl IntoIterator<Item = u64>, sizes: Option<Vec<u32>>) -> Self {
        let mut numbering = Numbering::default();
        let requests = ids.into_iter().map(|id| numbering.of(id)).collect();
        Trace { name, requests, sizes, keys: Keys::Numbers(numbering.keys) }
    }

    /// The bytes of all unique keys, each with its last size; 0 if the trace has no sizes.
    pub(crate) fn unique_bytes(&self) -> u64 {
        let mut last = vec![0; self.keys.len()];
        for (&request, &size) in self.requests.iter().zip(self.sizes.iter().flatten()) {
            last[request as usize] = size;
        }
        last.into_iter().map(u64::from).sum()
    }

    /// The bytes of all requests; 0 if the trace has no sizes.
    pub(crate) fn requested_bytes(&self) -> u64 {
        self.sizes.iter().flatten().copied().map(u64::from).sum()
    }
}

/// Gives keys dense numbers in order of first appearance.
struct Numbering<K> {
    numbers: HashMap<K, u32>,
    keys: Vec<K>,
}

impl<K> Default for Numbering<K> {
    fn default() -> Self {
        Numbering { numbers: HashMap::new(), keys: Vec::new() }
    }
}

impl<K: Hash + Eq + Clone> Numbering<K> {
    fn of(&mut self, key: K) -> u32 {
        // 4 billion different keys would not have fitted into memory.
        let next = self.keys.len() as u32;
        let keys = &mut self.keys;
        *self.numbers.entry(key).or_insert_with_key(|key| {
            keys.push(key.clone());
            next
        })
    }
}

const IDS: &str = ".ids.gz";
const SIZES: &str = ".sizes.gz";

/// Reads the trace at `path`; the suffix `.ids.gz` may be missing, and `-` is standard input.
pub(crate) fn read(path: &Path) -> Result<Trace, Error> {
    if path == Path::new("-") {
        return read_text(path, "standard input".into(), std::io::stdin().lock());
    }
    let text = path.to_string_lossy();
    if let Some(base) = text.strip_suffix(IDS) {
        return read_ids(path, base);
    }
    let with_suffix = PathBuf::from(format!("{text}{IDS}"));
    if !path.is_file() && with_suffix.is_file() {
        return read_ids(&with_suffix, &text);
    }
    let file = File::open(path).map_err(|source| Error::Read { path: path.into(), source })?;
    read_text(path, name_of(path, &[".gz", ".csv", ".txt", ".trace"]), BufReader::new(file))
}

/// The file's name without its directory and without those suffixes.
fn name_of(path: &Path, suffixes: &[&str]) -> String {
    let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
    let name = suffixes.iter().fold(&*name, |name, suffix| name.strip_suffix(suffix).unwrap_or(name));
    name.to_owned()
}

fn read_ids(path: &Path, base: &str) -> Result<Trace, Error> {
    let ids = read_words(path)?;
    if ids.is_empty() {
        return Err(empty(path));
    }
    let sizes_path = PathBuf::from(format!("{base}{SIZES}"));
    let sizes = if sizes_path.is_file() { Some(read_words(&sizes_path)?) } else { None };
    if let Some(sizes) = &sizes {
        if sizes.len() != ids.len() {
            let what = format!("{} sizes for {} requests", sizes.len(), ids.len());
            return Err(Error::Format { path: sizes_path, what });
        }
    }
    Ok(Trace::of_numbers(name_of(path, &[IDS]), ids.into_iter().map(u64::from), sizes))
}

/// Unpacks a file of little-endian `u32`.
fn read_words(path: &Path) -> Result<Vec<u32>, Error> {
    let failed = |source| Error::Read { path: path.into(), source };
    let file = File::open(path).map_err(failed)?;
    let mut bytes = Vec::new();
    MultiGzDecoder::new(BufReader::new(file)).read_to_end(&mut bytes).map_err(failed)?;
    let words = bytes.chunks_exact(4);
    if !words.remainder().is_empty() {
        let what = format!("{} bytes, which is no whole number of 4-byte words", bytes.len());
        return Err(Error::Format { path: path.into(), what });
    }
    Ok(words.map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]])).collect())
}

fn empty(path: &Path) -> Error {
    Error::Format { path: path.into(), what: "no request in it".into() }
}

/// Reads lines of `key` or `key,size`, gzipped or not. `path` is for messages only.
pub(crate) fn read_text(path: &Path, name: String, mut input: impl BufRead) -> Result<Trace, Error> {
    let start = input.fill_buf().map_err(|source| Error::Read { path: path.into(), source })?;
    // No text starts with the two bytes that every gzip file starts with.
    if start.starts_with(&[0x1f, 0x8b]) {
        parse(path, name, BufReader::new(MultiGzDecoder::new(input)))
    } else {
        parse(path, name, input)
    }
}

fn parse(path: &Path, name: String, mut input: impl BufRead) -> Result<Trace, Error> {
    let mut numbering = Numbering::<Box<str>>::default();
    let (mut requests, mut sizes) = (Vec::new(), Vec::new());
    let mut bytes = Vec::new();
    loop {
        bytes.clear();
        let length = input.read_until(b'\n', &mut bytes).map_err(|source| Error::Read { path: path.into(), source })?;
        if length == 0 {
            break;
        }
        let wrong = |what: String| Error::Line { path: path.into(), line: requests.len() + 1, what };
        let (key, size) = parse_line(&bytes).map_err(wrong)?;
        // The first line decides for all: a trace half of whose requests have sizes has no byte hit
        // ratio.
        match size {
            Some(size) if sizes.len() == requests.len() => sizes.push(size),
            Some(_) => return Err(wrong("a size, though the first line has none".into())),
            None if !sizes.is_empty() => {
                return Err(wrong("no size, though the first line has one".into()));
            }
            None => {}
        }
        requests.push(numbering.of(key.into()));
    }
    if requests.is_empty() {
        return Err(empty(path));
    }
    let sizes = if sizes.is_empty() { None } else { Some(sizes) };
    Ok(Trace { name, requests, sizes, keys: Keys::Text(numbering.keys) })
}

/// The key and the size on a line; the error says what is wrong with it.
fn parse_line(bytes: &[u8]) -> Result<(&str, Option<u32>), String> {
    let line = std::str::from_utf8(bytes).map_err(|_| "not UTF-8".to_owned())?;
    let line = line.strip_suffix('\n').unwrap_or(line);
    let line = line.strip_suffix('\r').unwrap_or(line);
    let (key, size) = match line.rsplit_once(',') {
        Some((key, size)) => (key, Some(size.trim())),
        None => (line, None),
    };
    if key.is_empty() {
        return Err("no key".into());
    }
    let size = size
        .map(|size| size.parse().map_err(|_| format!("the size `{size}` is no whole number from 0 to {}", u32::MAX)));
    Ok((key, size.transpose()?))
}
