//! Threads against each other on one cache.
//!
//! Knows the public calls only. Every value says whose it is and which version, so that a foreign, torn or
//! dropped one is noticed wherever it is read. Writers do a fixed number of operations, readers go on until the
//! writers have finished. What happens at just the wrong moment is also made to happen, where a cache calls
//! something that a test can give it: the clock, and the comparison of keys.

mod entries;
mod found;
mod lab;
mod sums;
mod threads;
mod time;
