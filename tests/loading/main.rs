//! One load for many callers: threads, tasks, and both.
//!
//! Knows the public calls, and that a caller who misses compares its key with those that are being loaded: a key that
//! reports comparisons tells when others have begun to wait. Nothing sleeps; what waits gives up after a minute.

mod callers;
mod everything;
mod lab;
mod own_key;
mod panics;
mod refresh;
mod tasks;
mod values;
mod writes;
