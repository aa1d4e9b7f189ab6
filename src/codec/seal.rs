//! Sealing: values that only a holder of the key can read or make.
//!
//! What is stored for a value:
//!
//! | bytes | what |
//! |---|---|
//! | 1 | the format and its algorithm: 1 for AES-256-GCM, 2 for XChaCha20-Poly1305 |
//! | 4 | the id of the key, lowest byte first |
//! | 12, or 24 for XChaCha20 | the nonce, random |
//! | the value's | the ciphertext |
//! | 16 | the tag |
//!
//! The associated data are the first two of these, the value's length in 8 bytes, and the cache key to the end: parts of
//! fixed length before the one that varies, so that no two of them read the same.

use std::fmt;
use std::sync::Arc;

use aes_gcm::Aes256Gcm;
use aes_gcm::aead::inout::InOutBuf;
use aes_gcm::aead::{AeadInOut, KeyInit, Nonce, Tag};
use arc_swap::ArcSwap;
use chacha20poly1305::XChaCha20Poly1305;
use parking_lot::Mutex;
use smallvec::SmallVec;
use zeroize::{Zeroize, Zeroizing};

use super::{Codec, CodecError};

const TAG_LEN: usize = 16;
/// The format's byte, and the key's id.
const HEAD_LEN: usize = 5;

/// A key, and the id by which sealed values name it. Wiped from memory when it is dropped; its `Debug` shows the id only.
pub struct SealKey {
    id: u32,
    /// In a box, so that a key which is moved leaves no copy behind.
    bytes: Box<Zeroizing<[u8; 32]>>,
}

impl SealKey {
    /// The key of these bytes, which should come from a random generator and be kept like any secret. Copies of them are
    /// the caller's to wipe.
    pub fn new(id: u32, bytes: &[u8; 32]) -> Self {
        let mut key = Self::zero(id);
        key.bytes.copy_from_slice(bytes);
        key
    }

    /// A key from the operating system's random generator: what it seals is lost when the program ends, which is as well
    /// for a cache.
    ///
    /// # Errors
    ///
    /// [`CodecError::Unsuitable`] if the operating system gives no random bytes.
    pub fn generate(id: u32) -> Result<Self, CodecError> {
        let mut key = Self::zero(id);
        getrandom::fill(&mut **key.bytes).map_err(|error| CodecError::unsuitable("seal", error))?;
        Ok(key)
    }

    /// The bytes are filled in where they stay.
    fn zero(id: u32) -> Self {
        Self { id, bytes: Box::new(Zeroizing::new([0; 32])) }
    }

    /// The id.
    pub fn id(&self) -> u32 {
        self.id
    }
}

impl fmt::Debug for SealKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealKey").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Encrypts values and binds them to their key in the cache: a value that was changed in one bit, cut, or put under another
/// key does not open.
///
/// In a cache the key is what its `Hash` writes to a hasher. Where a key's `Hash` leaves out something that its `Eq` compares,
/// a tenant's number for example, values can be exchanged among the keys that differ in nothing else: let it write everything.
///
/// The newest key of a ring seals, the others still open what they sealed. Values must always be sealed, small ones too;
/// to compress them before, use a [`Chain`](super::Chain).
///
/// Each value has a random nonce of its own. AES-256-GCM's has 96 bits, so that no more than 2^32 values should be sealed with
/// one key (NIST SP 800-38D, 8.3): [`rotate`](Seal::rotate) before that, or take XChaCha20-Poly1305, whose 192 bits never
/// run out.
///
/// The length of a value is not hidden, nor are the cache's keys. Keys are wiped when they leave the ring, and with them what
/// was on the stack when they got in; the values that are given to a cache, and those that it returns, are not. (What a
/// compiler may put on the stack while a value is sealed or opened is out of this crate's hands.)
///
/// # Examples
///
/// ```
/// use larder::codec::{Codec, Seal, SealKey};
///
/// let seal = Seal::xchacha20_poly1305(SealKey::generate(1)?);
/// let mut sealed = Vec::new();
/// seal.encode(b"user:42", b"secret", &mut sealed)?;
///
/// seal.rotate(SealKey::generate(2)?)?;
/// let mut opened = Vec::new();
/// seal.decode(b"user:42", &sealed, 6, &mut opened)?;
/// assert_eq!(opened, b"secret");
///
/// assert!(seal.decode(b"user:43", &sealed, 6, &mut opened).is_err());
/// # Ok::<(), larder::codec::CodecError>(())
/// ```
pub struct Seal {
    algorithm: Algorithm,
    /// The newest is last. Never empty.
    ring: ArcSwap<Vec<Arc<Entry>>>,
    /// Held by whoever changes the ring.
    changing: Mutex<()>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Algorithm {
    Aes256Gcm = 1,
    XChaCha20Poly1305 = 2,
}

/// A key of the ring, ready for use. Both wipe themselves when they are dropped.
struct Entry {
    id: u32,
    cipher: Cipher,
}

enum Cipher {
    Aes256Gcm(Box<Aes256Gcm>),
    XChaCha20Poly1305(Box<XChaCha20Poly1305>),
}

impl Seal {
    /// AES-256-GCM (NIST SP 800-38D), sealing with this key: the faster one where the processor has instructions for it.
    pub fn aes_256_gcm(key: SealKey) -> Self {
        Self::new(Algorithm::Aes256Gcm, &key)
    }

    /// XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha-03), sealing with this key: fast everywhere, and never short of nonces.
    pub fn xchacha20_poly1305(key: SealKey) -> Self {
        Self::new(Algorithm::XChaCha20Poly1305, &key)
    }

    fn new(algorithm: Algorithm, key: &SealKey) -> Self {
        let ring = vec![Arc::new(Entry::new(algorithm, key))];
        Self { algorithm, ring: ArcSwap::from_pointee(ring), changing: Mutex::new(()) }
    }

    /// Seals with this key from now on. Those before it stay in the ring and open what they sealed.
    ///
    /// # Errors
    ///
    /// [`CodecError::Unsuitable`] if the ring has a key with the same id.
    pub fn rotate(&self, key: SealKey) -> Result<(), CodecError> {
        let _changing = self.changing.lock();
        let ring = self.ring.load();
        if ring.iter().any(|entry| entry.id == key.id) {
            return Err(CodecError::unsuitable(self.name(), format_args!("key {} is in the ring already", key.id)));
        }
        let newest = Arc::new(Entry::new(self.algorithm, &key));
        self.ring.store(Arc::new(ring.iter().cloned().chain([newest]).collect()));
        Ok(())
    }

    /// Takes an older key out of the ring and wipes it, as soon as no call uses it: what it sealed does not open any more.
    /// Says whether there was one; the newest key can't be taken out.
    pub fn forget(&self, id: u32) -> bool {
        let _changing = self.changing.lock();
        let mut ring = Vec::clone(&self.ring.load());
        match ring.iter().position(|entry| entry.id == id) {
            Some(at) if at + 1 < ring.len() => {
                ring.remove(at);
                self.ring.store(Arc::new(ring));
                true
            }
            _ => false,
        }
    }

    fn damaged(&self, reason: impl fmt::Display) -> CodecError {
        CodecError::damaged(self.name(), reason)
    }
}

impl fmt::Debug for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ids: Vec<u32> = self.ring.load().iter().map(|entry| entry.id).collect();
        f.debug_struct("Seal").field("algorithm", &self.name()).field("key_ids", &ids).finish_non_exhaustive()
    }
}

impl Codec for Seal {
    fn name(&self) -> &str {
        match self.algorithm {
            Algorithm::Aes256Gcm => "aes-256-gcm",
            Algorithm::XChaCha20Poly1305 => "xchacha20-poly1305",
        }
    }

    fn encode(&self, key: &[u8], plain: &[u8], out: &mut Vec<u8>) -> Result<(), CodecError> {
        let ring = self.ring.load();
        let newest = ring.last().expect("a ring always has a key");
        let head = head(self.algorithm, newest.id);
        out.extend_from_slice(&head);
        let bound = associated_data(&head, plain.len(), key);
        let sealed = match &newest.cipher {
            Cipher::Aes256Gcm(cipher) => seal(&**cipher, &bound, plain, out),
            Cipher::XChaCha20Poly1305(cipher) => seal(&**cipher, &bound, plain, out),
        };
        sealed.map_err(|reason| CodecError::refused(self.name(), reason))
    }

    fn decode(&self, key: &[u8], stored: &[u8], len: usize, out: &mut Vec<u8>) -> Result<(), CodecError> {
        let (head, rest) = stored.split_first_chunk::<HEAD_LEN>().ok_or_else(|| self.damaged("the key's id is cut"))?;
        let [format, id @ ..] = *head;
        if format != self.algorithm as u8 {
            return Err(self.damaged(format_args!("its format is number {format}")));
        }
        let id = u32::from_le_bytes(id);
        let ring = self.ring.load();
        let entry = ring.iter().rev().find(|entry| entry.id == id);
        let entry = entry.ok_or_else(|| self.damaged(format_args!("key {id} is not in the ring")))?;
        let found = rest.len().checked_sub(self.algorithm.nonce_len() + TAG_LEN);
        match found.ok_or_else(|| self.damaged("it is cut"))? {
            found if found == len => {}
            found => return Err(CodecError::length(self.name(), len, found)),
        }
        let bound = associated_data(head, len, key);
        let opened = match &entry.cipher {
            Cipher::Aes256Gcm(cipher) => open(&**cipher, &bound, rest, out),
            Cipher::XChaCha20Poly1305(cipher) => open(&**cipher, &bound, rest, out),
        };
        opened.ok_or_else(|| self.damaged(format_args!("with key {id} and this entry's key it does not open")))
    }

    fn binds_key(&self) -> bool {
        true
    }

    fn must_encode(&self) -> bool {
        true
    }

    fn is_checked(&self) -> bool {
        true
    }

    fn encoded_len(&self, len: usize) -> Option<usize> {
        len.checked_add(HEAD_LEN + self.algorithm.nonce_len() + TAG_LEN)
    }
}

impl Algorithm {
    fn nonce_len(self) -> usize {
        match self {
            Self::Aes256Gcm => 12,
            Self::XChaCha20Poly1305 => 24,
        }
    }
}

impl Entry {
    fn new(algorithm: Algorithm, key: &SealKey) -> Self {
        let cipher = boxed_cipher(algorithm, &key.bytes);
        wipe_stack();
        Self { id: key.id, cipher }
    }
}

/// Makes a cipher on the stack, as the libraries do, and moves it to where it stays, which leaves the key behind. A function of
/// its own, so that all it leaves is below its caller's part of the stack, where [`wipe_stack`] gets to.
#[inline(never)]
fn boxed_cipher(algorithm: Algorithm, bytes: &[u8; 32]) -> Cipher {
    match algorithm {
        Algorithm::Aes256Gcm => Cipher::Aes256Gcm(Box::new(Aes256Gcm::new(bytes.into()))),
        Algorithm::XChaCha20Poly1305 => Cipher::XChaCha20Poly1305(Box::new(XChaCha20Poly1305::new(bytes.into()))),
    }
}

/// Overwrites what the function that its caller called before has left on the stack: far more than making a cipher takes.
#[inline(never)]
fn wipe_stack() {
    let mut left = [0_u8; 16 << 10];
    left.zeroize();
    // Or the array, which nobody reads, might not be there at all.
    std::hint::black_box(&left);
}

/// What a sealed value begins with.
fn head(algorithm: Algorithm, id: u32) -> [u8; HEAD_LEN] {
    let [a, b, c, d] = id.to_le_bytes();
    [algorithm as u8, a, b, c, d]
}

/// What is sealed in with a value, but not stored again.
fn associated_data(head: &[u8; HEAD_LEN], len: usize, key: &[u8]) -> SmallVec<[u8; 128]> {
    let mut data = SmallVec::from_slice(head);
    data.extend_from_slice(&(len as u64).to_le_bytes());
    data.extend_from_slice(key);
    data
}

/// Appends a nonce, the ciphertext and its tag.
fn seal<A: AeadInOut>(cipher: &A, bound: &[u8], plain: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
    let mut nonce = Nonce::<A>::default();
    getrandom::fill(&mut nonce).map_err(|error| format!("there are no random bytes for the nonce: {error}"))?;
    out.reserve(nonce.len() + plain.len() + TAG_LEN);
    out.extend_from_slice(&nonce);
    let start = out.len();
    out.extend_from_slice(plain);
    let tag = cipher.encrypt_inout_detached(&nonce, bound, InOutBuf::from(&mut out[start..]));
    out.extend_from_slice(&tag.map_err(|_| format!("{} bytes are too many", plain.len()))?);
    Ok(())
}

/// Appends the value that [`seal`] made `sealed` from, if nothing of it was changed.
fn open<A: AeadInOut>(cipher: &A, bound: &[u8], sealed: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let (sealed, tag) = sealed.split_last_chunk::<TAG_LEN>()?;
    let (nonce, ciphertext) = sealed.split_at_checked(Nonce::<A>::default().len())?;
    let (nonce, tag) = (<&Nonce<A>>::try_from(nonce).ok()?, <&Tag<A>>::try_from(&tag[..]).ok()?);
    let start = out.len();
    out.extend_from_slice(ciphertext);
    cipher.decrypt_inout_detached(nonce, bound, InOutBuf::from(&mut out[start..]), tag).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_wiped_when_they_are_dropped() {
        fn wiped<T: zeroize::ZeroizeOnDrop>() {}
        wiped::<Aes256Gcm>();
        wiped::<XChaCha20Poly1305>();
        wiped::<Zeroizing<[u8; 32]>>();
    }

    #[test]
    fn no_two_bindings_read_the_same() {
        let head = head(Algorithm::Aes256Gcm, 7);
        let bound = |len, key: &[u8]| associated_data(&head, len, key);
        assert_ne!(bound(1, b""), bound(0, b"\x01"));
        assert_ne!(bound(0x6161, b"b"), bound(0x61, b"ab"));
        assert_eq!(bound(1, b"key").len(), HEAD_LEN + 8 + 3);
    }
}
