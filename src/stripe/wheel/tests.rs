//! The wheel against a naive list of deadlines.

use super::super::column::CHUNK_LEN;
use super::*;
use std::cell::Cell;

/// The last time there is; `u64::MAX` stands for never.
const END: u64 = u64::MAX - 1;

/// Xorshift: enough chance for a test, and the same on every run.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// A number of a random magnitude, so that all levels get their share.
    fn span(&mut self, bits: u64) -> u64 {
        let shift = 63 - self.below(bits);
        self.next() >> shift
    }
}

/// A wheel beside its naive version: a deadline for each place, 0 for those that have none.
struct Model {
    wheel: Wheel,
    deadlines: Vec<u64>,
    now: u64,
    looks: u64,
}

impl Model {
    fn new(places: u32) -> Self {
        let mut wheel = Wheel::new();
        for chunk in 0..places.div_ceil(CHUNK_LEN) {
            assert!(wheel.needs_links(chunk * CHUNK_LEN));
            wheel.add_links(chunk, vec![Link::default(); CHUNK_LEN as usize].into_boxed_slice());
            assert!(!wheel.needs_links(chunk * CHUNK_LEN));
        }
        Self { wheel, deadlines: vec![0; places as usize], now: 0, looks: 0 }
    }

    fn schedule(&mut self, place: u32, deadline: u64) {
        self.deadlines[place as usize] = deadline;
        self.wheel.schedule(place, deadline, self.now);
    }

    fn cancel(&mut self, place: u32) {
        self.deadlines[place as usize] = 0;
        self.wheel.cancel(place);
    }

    fn is_any_due(&self) -> bool {
        self.deadlines.iter().any(|&deadline| deadline != 0 && deadline <= self.now)
    }

    /// One call of `expire`, whose every answer is checked.
    fn expire(&mut self, budget: usize) -> Vec<u32> {
        let mut expired = Vec::new();
        let looks = Cell::new(0);
        let deadline_of = |place: u32| {
            looks.set(looks.get() + 1);
            self.deadlines[place as usize]
        };
        self.wheel.expire(self.now, budget, deadline_of, &mut |place| expired.push(place));
        assert!(looks.get() <= budget as u64);
        self.looks += looks.get();
        for &place in &expired {
            let deadline = &mut self.deadlines[place as usize];
            assert!(*deadline != 0, "place {place} was handed out twice, or after it was cancelled");
            assert!(*deadline <= self.now, "place {place} was handed out early");
            *deadline = 0;
        }
        self.validate();
        expired
    }

    /// Calls `expire` until it says that there is nothing left to do; then nothing is due.
    fn settle(&mut self, budget: usize) -> Vec<u32> {
        let mut expired = Vec::new();
        while self.wheel.next_due() <= self.now {
            expired.extend(self.expire(budget));
        }
        assert!(!self.is_any_due());
        expired
    }

    fn validate(&self) {
        self.wheel.validate(|place| self.deadlines[place as usize]);
        assert!(self.wheel.next_due() > self.now || !self.wheel.is_empty());
        assert!(self.wheel.next_due() <= self.now || !self.is_any_due());
    }

    /// Every place with a deadline is in the wheel. Only true if none was taken away silently.
    fn check_len(&self) {
        let scheduled = self.deadlines.iter().filter(|&&deadline| deadline != 0).count();
        assert_eq!(self.wheel.len(), scheduled);
    }
}

/// Random steps; time moves by up to `jump_bits` bits, deadlines lie up to `ttl_bits` ahead.
fn walk(seed: u64, places: u32, steps: u32, jump_bits: u64, ttl_bits: u64, goes_back: bool) {
    let mut chance = Chance(seed);
    let mut model = Model::new(places);
    model.now = chance.span(60);
    for _ in 0..steps {
        let place = chance.below(places.into()) as u32;
        match chance.below(16) {
            0..=6 => {
                let ttl = chance.span(ttl_bits);
                model.schedule(place, model.now.saturating_add(ttl).clamp(1, END));
            }
            7 => model.schedule(place, chance.below(model.now.max(1)) + 1),
            8 => model.cancel(place),
            9..=10 => {
                let deadline = &mut model.deadlines[place as usize];
                if *deadline != 0 {
                    *deadline = deadline.saturating_add(chance.span(ttl_bits)).min(END);
                }
            }
            11..=13 => model.now = model.now.saturating_add(chance.span(jump_bits)).min(END),
            14 if goes_back => model.now -= chance.span(jump_bits).min(model.now),
            _ => {
                let budget = [0, 1, 1, 2, 7, 1000][chance.below(6) as usize];
                if chance.below(4) == 0 {
                    model.settle(budget.max(1));
                } else {
                    model.expire(budget);
                }
            }
        }
        model.validate();
        model.check_len();
    }
    model.now = END;
    model.settle(1);
    assert!(model.wheel.is_empty());
    assert_eq!(model.wheel.next_due(), u64::MAX);
}

#[test]
fn agrees_with_a_naive_model() {
    for seed in 1..=4 {
        walk(seed ^ 0x9E37_79B9_7F4A_7C15, 40, 2_000, 12, 12, false);
        walk(seed ^ 0xD1B5_4A32_D192_ED03, 40, 2_000, 30, 36, false);
        walk(seed ^ 0x94D0_49BB_1331_11EB, 40, 2_000, 64, 64, false);
        walk(seed ^ 0xBF58_476D_1CE4_E5B9, 1_500, 500, 40, 40, false);
    }
}

#[test]
fn agrees_with_a_naive_model_when_the_clock_goes_back() {
    for seed in 1..=4 {
        walk(seed ^ 0xFF51_AFD7_ED55_8CCD, 40, 2_000, 12, 12, true);
        walk(seed ^ 0xC4CE_B9FE_1A85_EC53, 40, 2_000, 40, 40, true);
        walk(seed ^ 0x2545_F491_4F6C_DD1D, 40, 2_000, 64, 64, true);
    }
}

#[test]
fn a_new_wheel_has_nothing_and_needs_nothing() {
    let mut wheel = Wheel::new();
    assert_eq!((wheel.next_due(), wheel.len(), wheel.allocated_bytes()), (u64::MAX, 0, 0));
    assert!(wheel.needs_links(0));
    wheel.cancel(77);
    wheel.expire(END, 10, |_| 0, &mut |_| panic!("handed out of nothing"));
    wheel.validate(|_| 0);
    assert_eq!(wheel.allocated_bytes(), 0);
}

#[test]
fn is_precise_to_the_nanosecond() {
    let mut model = Model::new(3);
    model.now = 1_700_000_000_000_000_000;
    let deadline = model.now + 60_000_000_001;
    model.schedule(0, deadline - 1);
    model.schedule(1, deadline);
    model.schedule(2, deadline + 1);
    model.now = deadline - 2;
    assert_eq!(model.settle(1), []);
    for place in 0..3 {
        model.now += 1;
        assert_eq!(model.settle(1), [place]);
    }
}

#[test]
fn every_deadline_has_a_slot() {
    for bit in 0..64 {
        let mut model = Model::new(3);
        let deadline = 1_u64 << bit;
        model.schedule(0, deadline);
        model.schedule(1, END);
        model.schedule(2, 1);
        assert!(model.wheel.next_due() <= 1);
        model.now = deadline;
        let mut expired = model.settle(1);
        expired.sort_unstable();
        assert_eq!(expired, [0, 2]);
        model.now = END;
        assert_eq!(model.settle(1), [1]);
    }
}

#[test]
fn a_place_is_looked_at_once_a_level_however_long_it_waits() {
    let mut model = Model::new(1);
    model.now = 1;
    model.schedule(0, END);
    // The clock stops at every time the wheel asks for: the longest way there is.
    while !model.wheel.is_empty() {
        model.now = model.wheel.next_due();
        model.expire(1);
    }
    assert_eq!(model.looks, LEVELS as u64);

    let mut model = Model::new(1_000);
    for place in 0..1_000 {
        model.schedule(place, 1 << 40);
    }
    model.now = END;
    assert_eq!(model.settle(1).len(), 1_000);
    assert_eq!(model.looks, 1_000, "after a long silence each is handed out at the first look");
}

#[test]
fn a_small_budget_loses_nothing() {
    let mut model = Model::new(100);
    for place in 0..100 {
        model.schedule(place, 1 << 30 | u64::from(place));
    }
    model.now = 1 << 30 | 49;
    let mut calls = 0;
    let mut expired = Vec::new();
    while model.wheel.next_due() <= model.now {
        expired.extend(model.expire(3));
        model.cancel(99);
        calls += 1;
    }
    expired.sort_unstable();
    assert_eq!(expired, (0..50).collect::<Vec<_>>());
    assert!(calls >= 33 && model.looks <= 200, "{calls} calls, {} looks", model.looks);
    assert_eq!(model.wheel.len(), 49);
}

#[test]
fn a_deadline_that_was_put_off_is_filed_anew() {
    let mut model = Model::new(1);
    model.schedule(0, 1_000);
    model.deadlines[0] = 5_000_000;
    model.now = 4_999_999;
    assert_eq!(model.settle(1), []);
    assert_eq!(model.wheel.len(), 1);
    model.now += 1;
    assert_eq!(model.settle(1), [0]);
}

#[test]
fn a_deadline_that_was_taken_away_is_forgotten() {
    let mut model = Model::new(2);
    model.schedule(0, 1_000);
    model.schedule(1, 1_000);
    model.deadlines[0] = 0;
    model.schedule(1, 0);
    model.now = 2_000;
    assert_eq!(model.wheel.len(), 1);
    assert_eq!(model.settle(1), []);
    assert!(model.wheel.is_empty());
}

#[test]
fn a_clock_that_goes_back_delays_nothing_and_hurries_nothing() {
    let mut model = Model::new(3);
    model.now = 1 << 50;
    model.schedule(0, 1 << 51);
    model.expire(10);
    model.now = 1_000;
    model.schedule(1, 1_060);
    model.schedule(2, 2_000);
    assert_eq!(model.settle(10), []);
    let looks = model.looks;
    model.expire(10);
    assert_eq!(model.looks, looks, "what is not due is not looked at again");
    model.now = 1_060;
    assert_eq!(model.settle(10), [1]);
    model.now = 2_000;
    assert_eq!(model.settle(10), [2]);
    model.now = 1 << 51;
    assert_eq!(model.settle(10), [0]);
}

#[test]
fn the_position_keeps_up_so_that_deadlines_are_filed_near() {
    let mut model = Model::new(2);
    model.schedule(0, 1 << 50);
    model.now = 1 << 40;
    model.expire(1);
    assert_eq!(model.wheel.position, 1 << 40);
    model.now = 1 << 50;
    assert_eq!(model.settle(1), [0]);
    model.now = 1_000;
    model.schedule(1, 1_060);
    assert_eq!(model.wheel.position, 1_000, "an empty wheel starts anew");
}
