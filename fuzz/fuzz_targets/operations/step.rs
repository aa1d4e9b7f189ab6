//! One step: a call of the cache, or something that happens between calls.
//!
//! Data alone. Numbers are small, since an input spends a byte or two on each, and every one of them means something.

use arbitrary::Arbitrary;

#[derive(Arbitrary, Clone, Copy, Debug)]
pub(crate) enum Step {
    Insert { key: u8, weight: Weight, way: Insert },
    InsertMany { first: u8, keys: u8, stride: u8 },
    LookUp { key: u8, way: LookUp },
    GetMany { first: u8, keys: u8, stride: u8 },
    Look { key: u8 },
    Lend { key: u8, fate: Fate },
    LetGo { which: u8, all: bool },
    Walk { steps: u8 },
    EndWalk,
    Remove { key: u8, way: Remove },
    Retain { divisor: u8, rest: u8 },
    Clear,
    Touch { key: u8, ttl: Ttl },
    Compute { key: u8, weight: Weight, wish: Wish, meddling: Meddling },
    Load { key: u8, weight: Weight, way: Load, meddling: Meddling },
    SetMax { share: u8 },
    Maintain,
    Advance { ticks: u8 },
    Leap { exponent: u8 },
    TurnBack { ticks: u8 },
}

#[derive(Arbitrary, Clone, Copy, Debug)]
pub(crate) enum Insert {
    Plain,
    Try,
    WithTtl(Ttl),
}

#[derive(Arbitrary, Clone, Copy, Debug)]
pub(crate) enum LookUp {
    Get,
    Read,
    GetByKey,
}

/// What becomes of a loan.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub(crate) enum Fate {
    Kept,
    KeptTwice,
    Forgotten,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
pub(crate) enum Remove {
    Take,
    Invalidate,
    /// Whether the condition holds.
    If(bool),
}

#[derive(Arbitrary, Clone, Copy, Debug)]
pub(crate) enum Weight {
    Nothing,
    Small(u8),
    Large(u16),
    /// In 200ths of the limit.
    Share(u8),
}

#[derive(Arbitrary, Clone, Copy, Debug)]
pub(crate) enum Ttl {
    Zero,
    Ticks(u8),
    /// By powers of two.
    Long(u8),
    Forever,
}

/// What a closure given to `compute` answers.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub(crate) enum Wish {
    Keep,
    Put,
    PutFor(Ttl),
    Remove,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
pub(crate) enum Load {
    Plain,
    /// Whether it fails.
    Try(bool),
    /// A future that is pending once.
    Async,
    TryAsync(bool),
    /// A future that is dropped while it is pending.
    Cancel,
}

/// What a closure of the user's does to the same key before it answers for the first time.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub(crate) enum Meddling {
    Nothing,
    Insert,
    Invalidate,
    Lend,
}
