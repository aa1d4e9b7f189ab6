//! Steps that load what is missing.
//!
//! In one thread nobody waits for another's load: what is tried is what becomes of a load when it fails or is
//! dropped, and when the key is written to meanwhile.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use crate::entry::{Key, Value};
use crate::run::Run;
use crate::step::{Load, Meddling};

/// What a loader says that was told to fail.
#[derive(Debug, PartialEq)]
struct Failure;

type Loaded = Result<Value, Failure>;

impl Run<'_> {
    pub(crate) fn load(&mut self, id: u8, weight: u64, way: Load, meddling: Meddling) {
        let entry = self.entry(id, weight);
        let write = entry.0.write();
        let fails = matches!(way, Load::Try(true) | Load::TryAsync(true));
        let (loads, loaded) = match way {
            Load::Plain | Load::Try(_) => self.load_blocking(entry, way, fails, meddling),
            Load::Async | Load::TryAsync(_) | Load::Cancel => self.load_async(entry, way, fails, meddling),
        };
        let Some(loaded) = loaded else { return self.settle(false) };
        if loads == 0 {
            self.used(id, Some(loaded.expect("what is there needs no loader").write()));
            return self.settle(false);
        }
        assert_eq!(loads, 1, "loaded once");
        assert_eq!(loaded.is_err(), fails);
        self.counted.loads += u64::from(!fails);
        self.counted.load_failures += u64::from(fails);
        if let Ok(value) = loaded {
            assert_eq!(value.write(), write, "given what was loaded");
            if matches!(meddling, Meddling::Nothing | Meddling::Lend) {
                self.put(write, id, weight, self.settings.time_to_live());
            } else {
                // What is not stored may have been too large besides.
                self.is_rejected();
            }
        }
        self.settle(false);
    }

    /// How often it was loaded, and what was given.
    fn load_blocking(
        &mut self,
        (key, value): (Key, Value),
        way: Load,
        fails: bool,
        meddling: Meddling,
    ) -> (u32, Option<Loaded>) {
        let (cache, id) = (self.cache, key.id);
        let mut loads = 0;
        let load = || {
            loads += 1;
            self.used(id, None);
            self.settle(false);
            self.meddle(id, meddling);
            if fails { Err(Failure) } else { Ok(value) }
        };
        let loaded = match way {
            Load::Plain => Ok(cache.get_or_insert_with(key, || load().expect("told to load"))),
            _ => cache.try_get_or_insert_with(key, load),
        };
        (loads, Some(loaded))
    }

    /// As `load_blocking`; nothing is given if it was cancelled.
    fn load_async(
        &mut self,
        (key, value): (Key, Value),
        way: Load,
        fails: bool,
        meddling: Meddling,
    ) -> (u32, Option<Loaded>) {
        let (cache, id, loads) = (self.cache, key.id, Cell::new(0));
        let load = async {
            loads.set(loads.get() + 1);
            pending_once().await;
            if fails { Err(Failure) } else { Ok(value) }
        };
        let future = async {
            match way {
                Load::Async => Ok(cache.get_or_insert_async(key, async { load.await.expect("told to load") }).await),
                _ => cache.try_get_or_insert_async(key, load).await,
            }
        };
        let mut future = pin!(future);
        let mut context = Context::from_waker(Waker::noop());
        if let Poll::Ready(loaded) = future.as_mut().poll(&mut context) {
            return (loads.get(), Some(loaded));
        }
        self.used(id, None);
        self.settle(false);
        self.meddle(id, meddling);
        if matches!(way, Load::Cancel) {
            return (loads.get(), None);
        }
        let Poll::Ready(loaded) = future.as_mut().poll(&mut context) else { panic!("waits for nobody") };
        (loads.get(), Some(loaded))
    }
}

fn pending_once() -> impl Future<Output = ()> {
    let mut polls = 0;
    poll_fn(move |_| {
        polls += 1;
        if polls == 1 { Poll::Pending } else { Poll::Ready(()) }
    })
}
