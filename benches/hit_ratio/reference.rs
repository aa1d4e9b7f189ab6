//! Exact LRU and FIFO, which the cache's policies are held against.
//!
//! One thread, keys as dense numbers, a list threaded through two arrays: nothing here is
//! approximate and nothing is shared with the crate, so a mistake there cannot hide here.

use crate::measure::{Limit, Tally};
use crate::trace::Trace;

/// What is evicted: the entry used least recently, or the one inserted first.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Order {
    Lru,
    Fifo,
}

/// Replays the trace. A miss is inserted unless it is larger than the whole limit; a hit whose size
/// has changed counts as a hit and resizes its entry.
pub(crate) fn replay(trace: &Trace, limit: Limit, order: Order) -> Tally {
    let max = limit.max();
    let mut queue = Queue::new(trace.keys.len());
    let mut charges = vec![0_u32; trace.keys.len()];
    let mut tally = Tally::default();
    let mut used = 0;
    for (request, &key) in trace.requests.iter().enumerate() {
        let size = trace.sizes.as_ref().map_or(0, |sizes| sizes[request]);
        let charge = if limit.is_bytes() { size } else { 1 };
        if queue.contains(key) {
            tally.hit(size);
            used -= u64::from(charges[key as usize]);
            if order == Order::Lru {
                queue.unlink(key);
                queue.push_newest(key);
            }
        } else if u64::from(charge) <= max {
            queue.push_newest(key);
        } else {
            continue;
        }
        charges[key as usize] = charge;
        used += u64::from(charge);
        while used > max {
            let oldest = queue.oldest();
            queue.unlink(oldest);
            used -= u64::from(charges[oldest as usize]);
        }
    }
    tally.used = used;
    tally
}

const ABSENT: u32 = u32::MAX;

/// A doubly linked list of keys; one place past the last key is the ends' common neighbour.
struct Queue {
    newer: Vec<u32>,
    older: Vec<u32>,
    ends: u32,
}

impl Queue {
    fn new(keys: usize) -> Self {
        let ends = keys as u32;
        let mut links = vec![ABSENT; keys + 1];
        links[keys] = ends;
        Queue { newer: links.clone(), older: links, ends }
    }

    fn contains(&self, key: u32) -> bool {
        self.newer[key as usize] != ABSENT
    }

    fn oldest(&self) -> u32 {
        self.newer[self.ends as usize]
    }

    fn push_newest(&mut self, key: u32) {
        let newest = self.older[self.ends as usize];
        self.older[key as usize] = newest;
        self.newer[key as usize] = self.ends;
        self.newer[newest as usize] = key;
        self.older[self.ends as usize] = key;
    }

    fn unlink(&mut self, key: u32) {
        let (newer, older) = (self.newer[key as usize], self.older[key as usize]);
        self.newer[older as usize] = newer;
        self.older[newer as usize] = older;
        self.newer[key as usize] = ABSENT;
    }
}
