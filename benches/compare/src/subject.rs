//! What the comparison asks of a cache, and the list entry by which it is built.
//!
//! `Subject` is what an adapter writes for its cache. The timed loops in `timing` are generic over it and so are
//! compiled for each cache by itself; only the choice of subject and of loop goes through `Bench`, a trait object.

use std::hint::black_box;

use crate::{timing::Bench, workload::Workload};

/// A cache under test.
pub(crate) trait Subject<W: Workload>: Send + Sync + 'static {
    /// A use of the key, in the way the crate's own users get a value.
    fn get(&self, key: &W::Query) -> Option<W::Value>;

    fn insert(&self, key: W::Key, value: W::Value);

    /// Whether the key is there, without a use where the cache can tell.
    fn holds(&self, key: &W::Query) -> bool {
        self.get(key).is_some()
    }

    /// Looks up several keys and says how many were there; by single gets unless the cache has a call for it.
    fn get_batch<'q>(&self, keys: impl Iterator<Item = &'q W::Query>) -> usize {
        keys.filter(|key| black_box(self.get(key)).is_some()).count()
    }

    /// Finishes what the cache puts off: called after filling and before memory is counted, never in a timed loop.
    fn settle(&self) {}
}

/// A subject on the list: its name in the tables, and how to build it for a number of entries.
pub(crate) struct Candidate<W: Workload> {
    pub(crate) name: &'static str,
    build: Box<dyn Fn(usize) -> Box<dyn Bench<W>>>,
}

impl<W: Workload> Candidate<W> {
    pub(crate) fn new<S: Subject<W>>(name: &'static str, build: impl Fn(usize) -> S + 'static) -> Self {
        Candidate { name, build: Box::new(move |capacity| Box::new(build(capacity))) }
    }

    pub(crate) fn build(&self, capacity: usize) -> Box<dyn Bench<W>> {
        (self.build)(capacity)
    }
}
