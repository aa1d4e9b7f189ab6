//! Deadlines by index: a hierarchical timing wheel.
//!
//! Knows place numbers and deadlines, which are nanoseconds since the clock's zero (0 stands for
//! "none"). Must not know nodes, keys or clocks: whoever calls says what time it is and what a
//! place's deadline is.
//!
//! # How it files
//!
//! A time is read as a number of eleven digits, six bits each, and the wheel has a *position*: the
//! time up to which it has looked. A deadline ahead of it differs from it in some digits. The
//! highest of these is the deadline's *level* (0 is the lowest), and the deadline's own digit there
//! its *slot*. So the deadlines of a slot agree in every digit from their level up; slots of a low
//! level are narrow and near, those of a high level wide and far; and every `u64` has its slot.
//! Three things follow:
//!
//! - Whatever is filed at a low level is due before everything at a higher one. The earliest slot
//!   is the lowest bit of the lowest bitmap that has one, however much empty time lies before it.
//! - When the position reaches a slot, its places are looked at one by one. Those that are due are
//!   handed out. The others now differ from the position only in lower digits, and move down. A
//!   place moves at most ten times (two or three times is usual), and again when its deadline was
//!   put off.
//! - A slot of the lowest level is a nanosecond wide. Precision needs no sorting within a slot, and
//!   no place is scanned again and again until it is due. The price is three levels below the
//!   millisecond, and a writer that can be a millisecond late need not pay it: see
//!   [`Wheel::next_due`].
//!
//! Two lists hold what is in no slot. *Pending* has the places of the slot that the position has
//! reached, until they are looked at: a call that runs out of budget leaves the rest there.
//! *Behind* has the places whose deadline is not ahead of the position. Mostly they were due when
//! they were scheduled, but if the clock has gone back they have to wait. The position does not
//! follow such a clock (it starts anew when the wheel is empty), and yet nothing is handed out
//! early. Behind is unsorted: when its earliest deadline has come all of it becomes pending, and
//! what is not due returns. As long as the clock does not go back, all of it is due.
//!
//! # The links
//!
//! The lists are doubly linked through a [`Column`], eight bytes a place, whose chunks exist only
//! once a deadline is used. The first place of a list has the list's number as its `prev`, counted
//! from the top of the numbers, where no place is. So a place is unlinked without knowing its
//! deadline or slot.

use super::column::{CHUNK_BITS, Column};

/// The bits of a digit.
const DIGIT_BITS: u32 = 6;
/// The slots of a level, as many as a digit has values.
const SLOTS: usize = 1 << DIGIT_BITS;
/// The digits of a `u64`.
const LEVELS: usize = u64::BITS.div_ceil(DIGIT_BITS) as usize;

/// The list of places to look at next; the lists before it are the slots, level by level.
const PENDING: usize = LEVELS * SLOTS;
/// The list of places whose deadline is not ahead of the position.
const BEHIND: usize = PENDING + 1;
/// How many lists there are.
const LISTS: usize = BEHIND + 1;

/// As a `next`: the list ends here. As a `prev`: the place is in no list.
const NONE: u32 = u32::MAX;
/// As a `prev`, `HEADS + list`: the place is the first one of that list. Place numbers stay below.
const HEADS: u32 = NONE - LISTS as u32;

/// A place's neighbours in the list it is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    next: u32,
    prev: u32,
}

impl Default for Link {
    /// The link of a place that is in no list.
    fn default() -> Self {
        Self { next: NONE, prev: NONE }
    }
}

/// The places that have a deadline, in the order in which their time comes.
pub(crate) struct Wheel {
    links: Column<Link>,
    /// Allocated with the first deadline.
    lists: Option<Box<Lists>>,
    /// All that was due up to here was handed out, or is pending or behind.
    position: u64,
    /// What [`Wheel::next_due`] answers. May be too early, as unlinking leaves it as it is.
    due: u64,
    /// No place in the list behind has an earlier deadline. May be too early for the same reason.
    behind_due: u64,
    len: usize,
}

impl Wheel {
    /// What the lists take once there is a deadline.
    pub(crate) const LIST_BYTES: u64 = size_of::<Lists>() as u64;

    /// An empty wheel, which has allocated nothing.
    pub(crate) const fn new() -> Self {
        Self { links: Column::new(), lists: None, position: 0, due: u64::MAX, behind_due: u64::MAX, len: 0 }
    }

    /// Whether a chunk of links has to be added before this place can be scheduled.
    pub(crate) fn needs_links(&self, place: u32) -> bool {
        !self.links.has_chunk(place >> CHUNK_BITS)
    }

    /// Adds the links of a chunk of places, as many [`Link::default`] as the chunk has places.
    pub(crate) fn add_links(&mut self, chunk: u32, links: Box<[Link]>) {
        debug_assert!(links.iter().all(|&link| link == Link::default()));
        self.links.add_chunk(chunk, links);
    }

    /// Takes the links of a chunk out, for the caller to free. None of its places may be scheduled.
    pub(crate) fn remove_links(&mut self, chunk: u32) -> Option<Box<[Link]>> {
        let links = self.links.remove_chunk(chunk);
        debug_assert!(links.iter().flatten().all(|&link| link == Link::default()));
        links
    }

    /// Whether no place is scheduled.
    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many places are scheduled.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The heap memory of the wheel: links and lists. O(1).
    pub(crate) fn allocated_bytes(&self) -> u64 {
        let lists = self.lists.as_deref().map_or(0, size_of_val);
        self.links.allocated_bytes() + lists as u64
    }

    /// The time before which [`expire`](Wheel::expire) has nothing to do; no deadline is earlier.
    /// `u64::MAX` if the wheel is empty: a time that no caller's `now` may reach. O(1), reads one
    /// word.
    ///
    /// To call `expire` only once this lies a millisecond (2^20 ns) in the past halves the work
    /// where deadlines are dense: most places are then met when they are due, and need not move
    /// down first. It is 0 while places are pending, so such a caller still carries on at once.
    #[inline]
    pub(crate) fn next_due(&self) -> u64 {
        self.due
    }

    /// Files a place under its deadline, whether it was scheduled before or not. O(1).
    ///
    /// A deadline that is only put off needs no call: `expire` finds out. One that is brought
    /// forward does. A deadline of 0 is none, so the place is taken out.
    pub(crate) fn schedule(&mut self, place: u32, deadline: u64, now: u64) {
        debug_assert!(place < HEADS);
        self.cancel(place);
        if deadline == 0 {
            return;
        }
        if self.is_empty() {
            self.position = now;
        }
        self.file(place, deadline);
    }

    /// Takes a place out of the wheel, if it is in there. O(1).
    pub(crate) fn cancel(&mut self, place: u32) {
        if let Some(lists) = &mut self.lists {
            if lists.unlink(&mut self.links, place) {
                self.left();
            }
        }
    }

    /// Hands out places whose deadline has come, taken out of the wheel, and brings the others that
    /// it meets on the way nearer to the front.
    ///
    /// Looks at no more than `budget` places; where that is too few, [`next_due`](Wheel::next_due)
    /// stays in the past and the next call carries on. Empty time costs nothing.
    ///
    /// `deadline_of` says what a place's deadline is by now, which may be later than the one it was
    /// scheduled with: then the place is filed anew. If it has none any more, it is just taken out.
    pub(crate) fn expire(
        &mut self,
        now: u64,
        budget: usize,
        deadline_of: impl Fn(u32) -> u64,
        expired: &mut impl FnMut(u32),
    ) {
        for _ in 0..budget {
            let Some(place) = self.take_arrived(now) else {
                break;
            };
            match deadline_of(place) {
                0 => {}
                deadline if deadline > now => self.file(place, deadline),
                _ => expired(place),
            }
        }
        self.due = self.earliest();
    }

    /// Files a place that is in no list.
    fn file(&mut self, place: u32, deadline: u64) {
        let (list, due) = if deadline > self.position {
            slot_of(self.position, deadline)
        } else {
            self.behind_due = self.behind_due.min(deadline);
            (BEHIND, deadline)
        };
        self.lists.get_or_insert_default().push(&mut self.links, list, place);
        self.due = self.due.min(due);
        self.len += 1;
    }

    /// Counts a place that was unlinked.
    fn left(&mut self) {
        self.len -= 1;
        if self.is_empty() {
            self.due = u64::MAX;
            self.behind_due = u64::MAX;
        }
    }

    /// Unlinks the next place to look at; if none is pending, from the next list whose time has
    /// come.
    fn take_arrived(&mut self, now: u64) -> Option<u32> {
        let lists = self.lists.as_mut()?;
        if lists.is_vacant(PENDING) && self.behind_due <= now {
            self.behind_due = u64::MAX;
            lists.make_pending(&mut self.links, BEHIND);
        }
        if lists.is_vacant(PENDING) {
            match lists.first_slot(self.position) {
                Some((slot, start)) if start <= now => {
                    self.position = start;
                    lists.make_pending(&mut self.links, slot);
                }
                _ => self.position = self.position.max(now),
            }
        }
        let place = lists.pop_pending(&mut self.links)?;
        self.left();
        Some(place)
    }

    /// The time at which the first list has to be looked at.
    fn earliest(&self) -> u64 {
        let Some(lists) = &self.lists else {
            return u64::MAX;
        };
        if !lists.is_vacant(PENDING) {
            return 0;
        }
        match lists.first_slot(self.position) {
            Some((_, start)) => start.min(self.behind_due),
            None => self.behind_due,
        }
    }

    /// Recomputes links, bitmaps, bounds and the length, and checks that no place is filed under a
    /// time after its deadline.
    ///
    /// # Panics
    ///
    /// If anything is not as it should be.
    pub(crate) fn validate(&self, deadline_of: impl Fn(u32) -> u64) {
        let mut met = 0;
        if let Some(lists) = &self.lists {
            for (list, &head) in lists.heads.iter().enumerate() {
                let start = self.validate_list(lists, list);
                let (mut place, mut prev) = (head, HEADS + list as u32);
                while place != NONE {
                    let link = self.links.get(place);
                    assert_eq!(link.prev, prev, "place {place} in list {list}");
                    let deadline = deadline_of(place);
                    assert!(deadline == 0 || start <= deadline, "place {place}, due {deadline}, waits until {start}");
                    met += 1;
                    assert!(met <= self.len, "more places are linked than counted");
                    (prev, place) = (place, link.next);
                }
            }
        }
        assert_eq!(met, self.len, "places linked, places counted");
        let filed = self.links.values().filter(|&link| link != Link::default()).count();
        assert_eq!(filed, self.len, "links in use, places counted");
        assert!(self.due <= self.earliest(), "due at {}, said {}", self.earliest(), self.due);
        assert!(!self.is_empty() || self.due == u64::MAX, "empty, but said due at {}", self.due);
    }

    /// Checks what is known of a list as a whole; returns the time at which it is looked at.
    fn validate_list(&self, lists: &Lists, list: usize) -> u64 {
        let vacant = lists.is_vacant(list);
        match list {
            PENDING => 0,
            BEHIND => self.behind_due,
            slot => {
                let (level, digit) = (slot / SLOTS, slot % SLOTS);
                let occupied = lists.occupied[level] >> digit & 1 == 1;
                assert_eq!(occupied, !vacant, "the bit of level {level}, slot {digit}");
                let start = slot_start(self.position, level, digit as u64);
                assert!(vacant || start > self.position, "level {level}, slot {digit} was passed by");
                start
            }
        }
    }
}

/// The first place of each list, and which slots have one.
struct Lists {
    /// A bit per slot, a word per level.
    occupied: [u64; LEVELS],
    heads: [u32; LISTS],
}

impl Default for Lists {
    fn default() -> Self {
        Self { occupied: [0; LEVELS], heads: [NONE; LISTS] }
    }
}

impl Lists {
    fn is_vacant(&self, list: usize) -> bool {
        self.heads[list] == NONE
    }

    /// The earliest slot that has places, and the time at which it begins.
    fn first_slot(&self, position: u64) -> Option<(usize, u64)> {
        let level = self.occupied.iter().position(|&slots| slots != 0)?;
        let digit = self.occupied[level].trailing_zeros();
        Some((level * SLOTS + digit as usize, slot_start(position, level, u64::from(digit))))
    }

    /// Links a place that is in no list, as the first of this one.
    fn push(&mut self, links: &mut Column<Link>, list: usize, place: u32) {
        let next = self.heads[list];
        links.set(place, Link { next, prev: HEADS + list as u32 });
        set_prev(links, next, place);
        self.set_head(list, place);
    }

    /// Unlinks a place from the list it is in; `false` if it is in none.
    fn unlink(&mut self, links: &mut Column<Link>, place: u32) -> bool {
        let Link { next, prev } = links.get(place);
        if prev == NONE {
            return false;
        }
        links.set(place, Link::default());
        set_prev(links, next, prev);
        match prev.checked_sub(HEADS) {
            Some(list) => self.set_head(list as usize, next),
            None => links.set(prev, Link { next, ..links.get(prev) }),
        }
        true
    }

    /// Unlinks the first pending place.
    fn pop_pending(&mut self, links: &mut Column<Link>) -> Option<u32> {
        let place = self.heads[PENDING];
        (place != NONE && self.unlink(links, place)).then_some(place)
    }

    /// Makes all of a list pending, where nothing is pending yet. O(1).
    fn make_pending(&mut self, links: &mut Column<Link>, list: usize) {
        let first = self.heads[list];
        set_prev(links, first, HEADS + PENDING as u32);
        self.set_head(list, NONE);
        self.set_head(PENDING, first);
    }

    fn set_head(&mut self, list: usize, place: u32) {
        self.heads[list] = place;
        if let Some(slots) = self.occupied.get_mut(list / SLOTS) {
            let bit = 1 << (list % SLOTS);
            *slots = if place == NONE { *slots & !bit } else { *slots | bit };
        }
    }
}

/// Changes what comes before a place; `NONE`, the end of a list, has no link to change.
fn set_prev(links: &mut Column<Link>, place: u32, prev: u32) {
    if place != NONE {
        links.set(place, Link { prev, ..links.get(place) });
    }
}

/// The slot of a deadline that is ahead of the position, and the time at which the slot begins.
fn slot_of(position: u64, deadline: u64) -> (usize, u64) {
    let level = (position ^ deadline).ilog2() / DIGIT_BITS;
    let shift = level * DIGIT_BITS;
    let digit = (deadline >> shift) as usize % SLOTS;
    (level as usize * SLOTS + digit, deadline >> shift << shift)
}

/// The time at which a slot begins: the position's digits above the level, then the slot's, then
/// zeros.
fn slot_start(position: u64, level: usize, digit: u64) -> u64 {
    let shift = level as u32 * DIGIT_BITS;
    ((position >> shift) & !(SLOTS as u64 - 1) | digit) << shift
}

#[cfg(test)]
mod tests;
