//! A cache that lives inside a Rust program: key and value, shared by all threads, limited by entries or by bytes.
//!
//! ```
//! use larder::Cache;
//! use std::time::Duration;
//!
//! # let bytes = vec![0; 100];
//! let cache: Cache<String, Vec<u8>> =
//!     Cache::builder().max_bytes(256 << 20).time_to_live(Duration::from_secs(60)).build()?;
//! cache.insert("user:42".to_owned(), bytes);
//! let hit = cache.get("user:42");
//! # assert_eq!(hit, Some(vec![0; 100]));
//! # Ok::<(), larder::BuildError>(())
//! ```
//!
//! # What it guarantees
//!
//! * **A hit takes no lock** and writes nothing that threads share, but the entry's mark when that changes (a cache that was
//!   built for at most 64 entries, which keeps the exact order of use, time to idle, and reloads that take longer than
//!   [`refresh_after`](Builder::refresh_after) are the exceptions). A reader never waits for a writer, and never sees a
//!   value that is half written or dropped.
//! * **`max_bytes` means bytes:** keys and values with what they hold on the heap ([`Weigh`]), the nodes they lie in, tables
//!   and queues, and what has been displaced and waits for its last readers. When an insert has returned and no reader is
//!   inside a call, no more is in use, but for what a [`Ref`] keeps alive ([`Stats::retired_bytes`]).
//! * **What was inserted is there** when the call returns, unless it was too large for the whole cache, which
//!   [`Cache::try_insert`] says. What was replaced or removed is never returned to a call that starts later. Nothing
//!   expired is ever returned.
//! * **Values drop promptly:** by the thread that displaced them or by one of the next that write to the same stripe, as
//!   soon as no reader can hold them; all of them when [`Cache::maintain`] returns, or the cache is dropped. No thread is
//!   started.
//! * **Nothing of yours runs under a lock** but the equality of keys. Listeners, loaders, weighers, closures and destructors
//!   may use the cache.
//! * **A panic in your code** (hashing, equality, cloning, dropping, a closure) reaches the caller and leaves the cache valid.
//! * **A codec is never in the way:** nothing is packed or opened under a lock. Where the bytes that a codec wrote are damaged
//!   the value is a miss, never a wrong one; and what seals never stores a value in the open.
//! * **Recency:** [`Policy::Lru`] is exact up to 64 entries and second chance above; its hit ratio is within a point of exact
//!   LRU on the traces it was measured on, and usually above it. [`Policy::S3Fifo`] is better on most.
//!
//! # Where to go
//!
//! | to | see |
//! |---|---|
//! | choose limits, policy, times, listeners | [`Builder`] |
//! | look up | [`get`](Cache::get), [`read`](Cache::read) without a clone, [`get_ref`](Cache::get_ref) for a loan, [`get_many`](Cache::get_many) |
//! | write | [`insert`](Cache::insert), [`insert_with_ttl`](Cache::insert_with_ttl), [`try_insert`](Cache::try_insert), [`compute`](Cache::compute) |
//! | load what is missing, once | [`get_or_insert_with`](Cache::get_or_insert_with), [`try_get_or_insert_with`](Cache::try_get_or_insert_with) |
//! | load anew what is old, while it is served | [`Builder::refresh_after`] |
//! | remove | [`remove`](Cache::remove), [`invalidate`](Cache::invalidate), [`retain`](Cache::retain), [`clear`](Cache::clear) |
//! | keep values compressed or sealed | [`Builder::codec`], the module [`codec`], [`get_stored`](Cache::get_stored) |
//! | share it with every memcached client | the module `server` (feature `server`) |
//! | watch | [`stats`](Cache::stats), [`Builder::on_removal`] |
//! | test expiry without sleeping | [`ManualClock`] |
//!
//! # Features
//!
//! | feature | what it adds |
//! |---|---|
//! | `deflate`, `snappy` (both by default) | the codecs `Gzip`, `Zlib`, `Deflate`, and `Snappy` |
//! | `lz4` | the codec `Lz4` |
//! | `zstd` | the codec `Zstd`, and `ZstdDictionary`; needs a C compiler |
//! | `seal` | the codec `Seal` |
//! | `bytes`, `serde` | `Bytes` as packed values, and whatever serde writes |
//! | `server` | the memcached front end and the program `larder`, on Unix; needs a C compiler |
//!
//! Without `default-features` there is the cache alone.
//!
//! The inside is explained at the head of each source file; begin with `stripe/mod.rs`.

#[cfg(all(feature = "server", not(unix)))]
compile_error!("the feature `server` is for Unix: build larder without it, or the server on another system");

mod budget;
mod builder;
mod cache;
mod clock;
pub mod codec;
#[cfg(all(target_os = "linux", not(larder_portable_pin)))]
mod epoch;
mod error;
mod first_panic;
mod form;
mod iter;
mod loading;
mod operation;
mod packed;
#[cfg(feature = "server")]
pub mod server;
mod stats;
mod stripe;
mod sync;
mod weigh;

pub use builder::{Builder, ByClosure, ByCount, ByWeigh, Weighing};
pub use cache::{Cache, Change, Outcome};
pub use clock::{Clock, ManualClock};
pub use error::{BuildError, NotStored, TooLarge};
pub use form::{Form, Plain};
pub use hashbrown::Equivalent;
pub use iter::{Iter, Keys, Ref};
#[cfg(feature = "serde")]
pub use packed::BySerde;
pub use packed::{ByBytes, ByteValue, Encoding, Packed, PackedCache, StoredRef};
pub use stats::Stats;
pub use stripe::aftermath::RemovalCause;
pub use stripe::queues::Policy;
pub use weigh::Weigh;

/// The README's programs are compiled and run as tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
