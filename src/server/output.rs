//! What waits to be sent to one client.
//!
//! Small things are copied one behind the other. A large value stays where it lies in the cache: it is lent, and given back
//! when it has been sent. Knows no socket and no protocol.

use std::collections::VecDeque;
use std::fmt;
use std::io::IoSlice;

use crate::server::store::{Lent, Loan};

/// Values above this are lent where they are kept as they are: to copy them costs more than a loan does.
const COPIED: usize = 64 << 10;

/// Bytes to be sent, in order.
///
/// Send what [`slices`](Self::slices) or [`first`](Self::first) show, and say with [`advance`](Self::advance) how much of it went out.
#[derive(Default)]
pub struct Output<'s> {
    bytes: Vec<u8>,
    /// How many of `bytes` went out.
    sent: usize,
    /// Values, each with the number of bytes that go out before it.
    lent: VecDeque<(usize, Lent<'s>)>,
    /// How much of the first of them went out.
    sent_of_lent: usize,
    /// What waits of all of them.
    lent_len: usize,
}

impl<'s> Output<'s> {
    /// Nothing, and no memory.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many bytes wait.
    #[inline]
    pub fn len(&self) -> usize {
        self.bytes.len() - self.sent + self.lent_len
    }

    /// Whether none waits.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes of memory that this has of its own, used or not; what is lent is the cache's.
    pub fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// Gives memory back beyond `capacity` bytes, if nothing waits.
    pub fn shrink_to(&mut self, capacity: usize) {
        if self.is_empty() {
            self.bytes.shrink_to(capacity);
        }
    }

    /// The first bytes that wait, as many as lie together.
    pub fn first(&self) -> &[u8] {
        match self.lent.front() {
            Some((at, lent)) if *at == self.sent => &lent.value()[self.sent_of_lent..],
            Some((at, _)) => &self.bytes[self.sent..*at],
            None => &self.bytes[self.sent..],
        }
    }

    /// Fills `slices` with what waits, and says how many it took: for a vectored write.
    pub fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let (mut from, mut of_lent, mut filled) = (self.sent, self.sent_of_lent, 0);
        let mut put = |slice: &'a [u8]| {
            if !slice.is_empty() && filled < slices.len() {
                slices[filled] = IoSlice::new(slice);
                filled += 1;
            }
        };
        for (at, lent) in &self.lent {
            put(&self.bytes[from..*at]);
            put(&lent.value()[of_lent..]);
            (from, of_lent) = (*at, 0);
        }
        put(&self.bytes[from..]);
        filled
    }

    /// Forgets the first `sent` bytes, which went out.
    ///
    /// # Panics
    ///
    /// If fewer wait.
    pub fn advance(&mut self, sent: usize) {
        let mut left = sent;
        while left > 0 {
            let len = left.min(self.first().len());
            assert!(len > 0, "{sent} bytes were sent, {left} more than there were");
            left -= len;
            match self.lent.front() {
                Some((at, lent)) if *at == self.sent => {
                    self.sent_of_lent += len;
                    self.lent_len -= len;
                    if self.sent_of_lent == lent.value().len() {
                        self.lent.pop_front();
                        self.sent_of_lent = 0;
                    }
                }
                _ => self.sent += len,
            }
        }
        if self.is_empty() {
            self.clear();
        }
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.lent.clear();
        (self.sent, self.sent_of_lent, self.lent_len) = (0, 0, 0);
    }

    /// Takes back what was to be sent, unless some of it has been.
    pub(crate) fn take_back(&mut self) {
        if self.sent == 0 && self.sent_of_lent == 0 {
            self.clear();
        }
    }

    /// Where small things are put.
    #[inline]
    pub(crate) fn bytes(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Puts a line.
    pub(crate) fn put_line(&mut self, line: &str) {
        self.bytes.extend_from_slice(line.as_bytes());
        self.bytes.extend_from_slice(b"\r\n");
    }

    /// Makes room for a value that is to be put, with its key and what else stands around it.
    #[inline]
    pub(crate) fn make_room(&mut self, key_len: usize, value: &[u8], loan: Option<Loan<'s, '_>>) {
        let copied = if is_lent(value, loan) { 0 } else { value.len() };
        self.bytes.reserve(key_len + copied + 80);
    }

    /// Puts the value of an item; a large one stays where it is, if it can be taken on loan.
    #[inline]
    pub(crate) fn put_value(&mut self, value: &[u8], loan: Option<Loan<'s, '_>>) {
        match loan {
            Some(loan) if is_lent(value, Some(loan)) => self.lend(loan.take()),
            _ => self.bytes.extend_from_slice(value),
        }
    }

    #[cold]
    fn lend(&mut self, lent: Lent<'s>) {
        self.lent_len += lent.value().len();
        self.lent.push_back((self.bytes.len(), lent));
    }
}

#[inline]
fn is_lent(value: &[u8], loan: Option<Loan<'_, '_>>) -> bool {
    loan.is_some() && value.len() > COPIED
}

impl fmt::Debug for Output<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Output").field("len", &self.len()).field("lent", &self.lent.len()).finish_non_exhaustive()
    }
}
