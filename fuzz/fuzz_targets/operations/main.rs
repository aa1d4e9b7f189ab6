//! Any sequence of calls, on a cache with any settings, beside a naive model of it.
//!
//! ```text
//! cargo +nightly fuzz run operations -- -max_total_time=60
//! ```
//!
//! Knows the public calls, what their documentation promises, and `validate()`, which is called after every step. What
//! an input means is said by `settings` and `step`, what is true after it by `model`; `run` does the same to both.
//! Victims are not predicted: the model follows the removal listener, or, without one, the cache's entries, and judges
//! whether each that went had cause to. Inputs are run in one thread, and no step depends on anything but the input.

#![no_main]

mod changes;
mod entry;
mod loads;
mod looks;
mod model;
mod run;
mod settings;
mod step;

use arbitrary::Arbitrary;
use larder::{BuildError, ManualClock};
use libfuzzer_sys::fuzz_target;

use crate::entry::Census;
use crate::run::{Log, Run};
use crate::settings::{Limit, Settings};
use crate::step::Step;

/// A cache, and what is done with it.
#[derive(Arbitrary, Debug)]
struct Input {
    settings: Settings,
    steps: Vec<Step>,
}

fuzz_target!(|input: Input| {
    let Input { mut settings, steps } = input;
    let (census, clock, log) = (Census::default(), ManualClock::new(), Log::default());
    let mut built = settings.build(&clock, &census, &log);
    if let Err(BuildError::TooFewBytes { given, min }) = built {
        assert!(given < min, "{given} bytes are enough where {min} are");
        settings.limit = Limit::Bytes(min);
        built = settings.build(&clock, &census, &log);
    }
    let cache = built.unwrap_or_else(|error| panic!("{settings:?}: {error}"));
    let mut run = Run::new(&cache, &settings, clock, &census, &log);
    for step in steps {
        run.step(step);
    }
    drop(run);
    drop(cache);
    assert_eq!(census.alive(), [], "alive after the cache was dropped");
});
