//! Recency order: which place goes next.
//!
//! Knows place numbers, and through [`Marks`] a node's mark, hash and weight. Knows no key, no
//! table, no budget and no lock: all of it runs under the stripe's.
//!
//! # Rings
//!
//! A queue is a ring of places, the oldest at the head; a place's position in it is kept in a
//! column beside the nodes. Leaving early leaves a hole, and holes are squeezed out when the ring is full. Against a
//! linked list this touches no neighbours, and the next victims can be read ahead.
//!
//! # Policies
//!
//! Readers never move anything: a hit raises the node's mark, and the victim search reads it.
//!
//! * **Lru**, up to 64 entries: exactly the least recently used, for which a hit does take the lock
//!   and moves the place to the tail ([`Queues::renew`]).
//! * **Lru**, above: second chance. The victim search starts at the head; a node that was used
//!   since it was queued loses its mark and goes to the tail instead. (Counting uses up to three,
//!   a pass of the search each, gained another 0.3 points of hit ratio over eleven traces, for two more
//!   writes by readers to every line; one bit stays within a point of exact LRU.)
//! * **S3Fifo** (Yang et al., "FIFO queues are all you need for cache eviction", SOSP 2023): a small
//!   queue, a main queue, and ghosts (`ghosts.rs`), the fingerprints of what the small queue let go. New entries
//!   start in the small queue and move on to the main queue if they are used twice before they
//!   reach its head; those that come back while their ghost is there start in the main queue.
//!   Two changes to the paper, both measured on eleven traces: until the cache is first full new entries
//!   go straight to the main queue, and ghosts are kept for one and a half times the entries (4.0 and
//!   4.7 points above exact LRU at 1 % and 10 % of the keys).
//!
//! A search looks at no more than [`SEARCH`] nodes and then takes the one at hand, so that an insert never
//! walks a whole queue.

use super::column::Column;
use super::ghosts::{GhostBucket, Ghosts};
use super::index::Hash;

/// How entries are chosen for eviction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Policy {
    /// The least recently used goes first: exactly so in a cache that was built for at most 64 entries, and by
    /// second chance above (an entry at the end of the queue is spared once if it was used since).
    #[default]
    Lru,
    /// S3-FIFO: new entries have to prove themselves in a small queue, so that scans and entries
    /// used once do not push out what is used often. Better than LRU on most workloads; worse
    /// where entries come back just once, after a long while.
    S3Fifo,
}

/// Nodes looked at in one search for a victim.
pub(crate) const SEARCH: usize = 32;

/// The small queue's share of the stripe's weight is one in so many.
const SMALL_SHARE: u64 = 10;

/// Uses that take an entry from the small to the main queue.
const PROMOTION: u32 = 2;

/// What belongs to a shorter queue is in the cache of the processor.
const LONG: u32 = 2048;

/// What the queues ask of nodes.
pub(crate) trait Marks: Copy {
    /// A node's mark and hash.
    fn look(self, place: u32) -> (u32, Hash);
    fn set_mark(self, place: u32, mark: u32);
    fn weight(self, place: u32) -> u64;
    /// Start to fetch the node.
    fn prefetch_node(self, place: u32);
    /// Start to fetch the bucket that an entry with this hash most likely is in.
    fn prefetch_bucket(self, hash: Hash);
}

/// Which queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Queue {
    Main,
    Small,
}

/// Memory that the queues want before the next entry, to be allocated outside of the lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Want {
    Ring(Queue, usize),
    Ghosts(usize),
}

impl Want {
    /// Whether the queues work without it, if less well.
    pub(crate) fn can_wait(self) -> bool {
        !matches!(self, Self::Ring(Queue::Main, _))
    }
}

/// How much larger than it needs to be a table or a ring may stay.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Slack {
    /// What will be used again, if the cache fills up again.
    Much,
    /// Hardly any, where entries would have to go for it.
    Little,
}

impl Slack {
    #[inline]
    pub(super) fn is_exceeded(self, size: usize, needed: usize) -> bool {
        match self {
            Self::Much => size > 4 * needed,
            Self::Little => size > needed + needed / 2,
        }
    }
}

/// A slot of a ring with no place.
const HOLE: u32 = u32::MAX;

/// Set in a position of the small queue.
const IN_SMALL: u32 = 1 << 31;

// What every write changes comes first.
#[repr(C)]
struct Ring {
    /// The oldest slot.
    head: u32,
    /// Slots from the head to the tail, holes among them.
    span: u32,
    holes: u32,
    tag: u32,
    /// What its places weigh together; kept for `S3Fifo` only, which alone asks.
    weight: u64,
    slots: Box<[u32]>,
}

impl Ring {
    fn new(slots: usize, queue: Queue) -> Self {
        let tag = if queue == Queue::Small { IN_SMALL } else { 0 };
        Self { slots: Queues::new_ring(slots), head: 0, span: 0, holes: 0, tag, weight: 0 }
    }

    #[inline]
    fn len(&self) -> usize {
        (self.span - self.holes) as usize
    }

    #[inline]
    fn is_empty(&self) -> bool {
        self.span == self.holes
    }

    /// The slot so many steps from the head, fewer than there are slots.
    #[inline]
    fn at(&self, step: u32) -> usize {
        let at = (self.head + step) as usize;
        if at < self.slots.len() { at } else { at - self.slots.len() }
    }

    #[inline]
    fn is_full(&self) -> bool {
        self.span as usize == self.slots.len()
    }

    /// The slots after the youngest.
    fn room(&self) -> usize {
        self.slots.len() - self.span as usize
    }

    /// Whether a place can be added without squeezing out just a few holes again and again.
    #[inline]
    fn has_room(&self) -> bool {
        !self.is_full() || self.holes as usize > self.slots.len() / 8
    }

    #[inline]
    fn push(&mut self, place: u32, positions: &mut Column<u32>) {
        if self.is_full() {
            self.squeeze(positions);
        }
        let at = self.at(self.span);
        self.slots[at] = place;
        positions.set(place, at as u32 | self.tag);
        self.span += 1;
    }

    /// The oldest place, where there is no hole before it.
    #[inline]
    fn oldest(&self) -> Option<u32> {
        self.slots.get(self.head as usize).copied().filter(|&place| place != HOLE)
    }

    /// Takes what is in the oldest slot, of which there is one.
    #[inline(always)]
    fn take_head(&mut self) -> u32 {
        let place = std::mem::replace(&mut self.slots[self.head as usize], HOLE);
        self.head = self.at(1) as u32;
        self.span -= 1;
        place
    }

    /// Takes the oldest place.
    #[inline(always)]
    fn pop(&mut self) -> Option<u32> {
        while self.span > 0 {
            let place = self.take_head();
            if place != HOLE {
                return Some(place);
            }
            self.holes -= 1;
        }
        None
    }

    fn remove(&mut self, at: usize) {
        self.slots[at] = HOLE;
        self.holes += 1;
        // Holes at either end are no holes.
        while self.span > 0 && self.slots[self.at(self.span - 1)] == HOLE {
            self.span -= 1;
            self.holes -= 1;
        }
        while self.span > 0 && self.slots[self.head as usize] == HOLE {
            self.head = self.at(1) as u32;
            self.span -= 1;
            self.holes -= 1;
        }
    }

    /// Moves the places together, in order, over the holes.
    #[cold]
    #[inline(never)]
    fn squeeze(&mut self, positions: &mut Column<u32>) {
        let mut kept = 0;
        for step in 0..self.span {
            let from = self.at(step);
            let place = std::mem::replace(&mut self.slots[from], HOLE);
            if place != HOLE {
                let to = self.at(kept);
                self.slots[to] = place;
                positions.set(place, to as u32 | self.tag);
                kept += 1;
            }
        }
        self.span = kept;
        self.holes = 0;
    }

    /// Moves to other slots, in order. Gives the old ones back, to be freed outside of the lock.
    fn move_to(&mut self, slots: Box<[u32]>, positions: &mut Column<u32>) -> Box<[u32]> {
        debug_assert!(self.len() <= slots.len());
        let mut new = Self { slots, head: 0, span: 0, holes: 0, tag: self.tag, weight: self.weight };
        for place in self.places() {
            new.push(place, positions);
        }
        std::mem::replace(self, new).slots
    }

    /// The places, the oldest first.
    fn places(&self) -> impl Iterator<Item = u32> {
        (0..self.span).map(|step| self.slots[self.at(step)]).filter(|&place| place != HOLE)
    }

    /// Starts to fetch the node of the victim after next, and what evicting the next one will look at: its node was
    /// fetched the last time.
    #[inline(always)]
    fn read_ahead(&self, marks: impl Marks, ghosts: Option<&Ghosts>) {
        if self.span < 2 {
            return;
        }
        let (next, after) = (self.slots[self.head as usize], self.slots[self.at(1)]);
        if after != HOLE {
            marks.prefetch_node(after);
        }
        if next != HOLE {
            let (_, hash) = marks.look(next);
            marks.prefetch_bucket(hash);
            if let Some(ghosts) = ghosts {
                ghosts.prefetch(hash);
            }
        }
    }
}

/// The order of all living entries of one stripe.
#[repr(C)]
pub(crate) struct Queues {
    main: Ring,
    positions: Column<u32>,
    policy: Policy,
    exact: bool,
    /// Something has been evicted: the small queue is in use from now on.
    was_full: bool,
    small: Ring,
    ghosts: Ghosts,
}

#[cfg(all(test, not(loom)))]
impl Queues {
    /// What puts a new entry in an `Lru` queue, or takes the oldest out, changes nothing after this.
    pub(super) const CHANGED_TO: usize = std::mem::offset_of!(Self, main.slots);
}

impl Queues {
    /// Queues with room for `entries`, which may be 0 where their number is not known. `exact` goes with `Lru` only.
    pub(crate) fn new(policy: Policy, exact: bool, entries: usize) -> Self {
        let ghosts = if policy == Policy::S3Fifo { entries + entries / 2 } else { 0 };
        Self {
            policy,
            exact,
            main: Ring::new(entries, Queue::Main),
            small: Ring::new(0, Queue::Small),
            ghosts: Ghosts::new(ghosts),
            was_full: false,
            positions: Column::new(),
        }
    }

    /// The mark at which readers stop to count.
    pub(crate) fn most_marks(&self) -> u32 {
        match self.policy {
            Policy::Lru if self.exact => 0,
            Policy::Lru => 1,
            Policy::S3Fifo => 3,
        }
    }

    /// Whether a hit has to call [`Queues::renew`].
    #[inline]
    pub(crate) fn is_exact(&self) -> bool {
        self.exact
    }

    pub(crate) fn len(&self) -> usize {
        self.main.len() + self.small.len()
    }

    /// How many places can be added before the main ring has to grow.
    pub(crate) fn room(&self) -> usize {
        self.main.slots.len().saturating_sub(self.len())
    }

    /// The same, before a place goes to another ring for lack of room or a hole has to be squeezed out, if no place moves
    /// from one ring to the other meanwhile.
    pub(crate) fn ample_room(&self) -> usize {
        let small = if self.policy == Policy::S3Fifo { self.small.room() } else { usize::MAX };
        self.room().min(self.main.room()).min(small)
    }

    pub(crate) fn positions(&mut self) -> &mut Column<u32> {
        &mut self.positions
    }

    /// Starts to fetch what queuing an entry of this hash will read.
    #[inline]
    pub(crate) fn prefetch_ghost(&self, hash: Hash) {
        if self.was_full && self.policy == Policy::S3Fifo {
            self.ghosts.prefetch(hash);
        }
    }

    /// Whether there is so much here that the processor does not have it at hand.
    #[inline]
    pub(crate) fn is_long(&self) -> bool {
        self.main.span > LONG
    }

    /// Starts to fetch what queuing this place will write.
    #[inline]
    pub(crate) fn prefetch(&self, place: u32) {
        self.positions.prefetch(place);
    }

    pub(crate) fn allocated_bytes(&self) -> u64 {
        let slots = self.main.slots.len() + self.small.slots.len();
        (slots * 4 + self.ghosts.capacity() * 2) as u64 + self.positions.allocated_bytes()
    }

    /// What has to be allocated before the next [`Queues::add`]; or may stay as it is if there is no budget
    /// for it, where [`Want::can_wait`].
    #[inline]
    pub(crate) fn want(&self) -> Option<Want> {
        if self.policy == Policy::Lru && !self.main.is_full() {
            return None;
        }
        // The main ring has room for all there is, since any entry may move there.
        let slots = self.main.slots.len();
        if slots <= self.len() || !self.main.has_room() {
            return Some(Want::Ring(Queue::Main, (slots + slots / 2).max(16)));
        }
        if self.policy == Policy::S3Fifo { self.want_for_s3() } else { None }
    }

    /// The small ring and the ghosts grow with the main ring, while there is budget for them.
    fn want_for_s3(&self) -> Option<Want> {
        let (main, small) = (self.main.slots.len(), self.small.slots.len());
        if small < main / 8 {
            return Some(Want::Ring(Queue::Small, main / 8 + main / 32));
        }
        if self.was_full && (small <= self.small.len() || !self.small.has_room()) {
            return Some(Want::Ring(Queue::Small, (small + small / 2).max(16)));
        }
        (self.ghosts.capacity() < main).then_some(Want::Ghosts(main + main / 2))
    }

    /// What is much larger than it needs to be, and how large it should be.
    pub(crate) fn oversized(&self, slack: Slack) -> Option<Want> {
        let (all, small) = (self.len(), self.small.len());
        let main_slots = (all + all / 4).max(16);
        if slack.is_exceeded(self.main.slots.len(), main_slots) {
            return Some(Want::Ring(Queue::Main, main_slots));
        }
        let small_slots = (small + small / 4).max(self.main.slots.len() / 8);
        if slack.is_exceeded(self.small.slots.len(), small_slots) {
            return Some(Want::Ring(Queue::Small, small_slots));
        }
        let ghosts = self.main.slots.len() * 3 / 2;
        slack.is_exceeded(self.ghosts.capacity(), ghosts).then_some(Want::Ghosts(ghosts))
    }

    /// Takes a ring that was allocated for [`Want::Ring`], where it is still larger than the
    /// present one, or smaller and large enough if that was wanted, and gives back the one not used.
    pub(crate) fn install_ring(&mut self, queue: Queue, slots: Box<[u32]>, smaller: bool) -> Box<[u32]> {
        let needed = if queue == Queue::Main { self.len() } else { self.small.len() };
        let ring = if queue == Queue::Main { &mut self.main } else { &mut self.small };
        if (slots.len() > ring.slots.len()) == smaller || slots.len() <= needed {
            return slots;
        }
        ring.move_to(slots, &mut self.positions)
    }

    /// What to install for [`Want::Ring`].
    pub(crate) fn new_ring(slots: usize) -> Box<[u32]> {
        vec![HOLE; slots].into()
    }

    /// What to install for [`Want::Ghosts`].
    pub(crate) fn new_ghosts(ghosts: usize) -> Box<[GhostBucket]> {
        Ghosts::new(ghosts).into_buckets()
    }

    /// Takes other, empty ghosts: the old ones' buckets can't be told from a fingerprint.
    pub(crate) fn install_ghosts(&mut self, buckets: Box<[GhostBucket]>, smaller: bool) -> Box<[GhostBucket]> {
        if (buckets.len() * 8 > self.ghosts.capacity()) == smaller {
            return buckets;
        }
        self.ghosts.replace(buckets)
    }

    /// Queues a new entry. [`Queues::want`] has to be `None`.
    #[inline(always)]
    pub(crate) fn add(&mut self, place: u32, hash: Hash, weight: u64) {
        let is_new = self.policy == Policy::S3Fifo && self.was_full && !self.ghosts.take(hash);
        // The small ring is full only where there is no budget for a longer one.
        let small = is_new && self.small.len() < self.small.slots.len();
        let ring = if small { &mut self.small } else { &mut self.main };
        ring.push(place, &mut self.positions);
        ring.weight += weight;
    }

    /// Puts `new` where `old` was; it is as old as its predecessor.
    #[inline]
    pub(crate) fn replace(&mut self, old: u32, new: u32, old_weight: u64, new_weight: u64) {
        let position = self.positions.get(old);
        let (ring, at) = self.ring_of(position);
        ring.slots[at] = new;
        ring.weight = ring.weight - old_weight + new_weight;
        self.positions.set(new, position);
    }

    /// Whether this place, of any chunk there is, is queued.
    pub(crate) fn contains(&mut self, place: u32) -> bool {
        let (ring, at) = self.ring_of(self.positions.get(place));
        ring.slots.get(at) == Some(&place)
    }

    /// Takes an entry out.
    pub(crate) fn remove(&mut self, place: u32, weight: u64) {
        let (ring, at) = self.ring_of(self.positions.get(place));
        ring.remove(at);
        ring.weight -= weight;
    }

    /// Makes an entry the youngest: what a hit does in an exact queue.
    pub(crate) fn renew(&mut self, place: u32) {
        self.main.remove(self.positions.get(place) as usize);
        self.main.push(place, &mut self.positions);
    }

    /// Puts back, as the youngest, what [`Queues::pop_victim`] gave and must stay.
    #[inline]
    pub(crate) fn put_back(&mut self, place: u32, weight: u64) {
        self.main.push(place, &mut self.positions);
        self.main.weight += weight;
    }

    /// The bytes of what is wanted.
    pub(crate) fn bytes_for(want: Want) -> u64 {
        match want {
            Want::Ring(_, slots) => slots as u64 * 4,
            Want::Ghosts(ghosts) => ghosts.div_ceil(8) as u64 * 16,
        }
    }

    #[inline]
    fn ring_of(&mut self, position: u32) -> (&mut Ring, usize) {
        let ring = if position & IN_SMALL == 0 { &mut self.main } else { &mut self.small };
        (ring, (position & !IN_SMALL) as usize)
    }

    /// Takes out the entry that is to be evicted, and gives its hash with it.
    #[inline(always)]
    pub(crate) fn pop_victim(&mut self, marks: impl Marks) -> Option<(u32, Hash)> {
        match self.policy {
            Policy::Lru => self.pop_second_chance(marks),
            Policy::S3Fifo => self.pop_s3(marks),
        }
    }

    #[inline(always)]
    fn pop_second_chance(&mut self, marks: impl Marks) -> Option<(u32, Hash)> {
        for step in 1..=SEARCH {
            let place = self.main.pop()?;
            self.main.read_ahead(marks, None);
            let (mark, hash) = marks.look(place);
            if mark == 0 || step == SEARCH {
                return Some((place, hash));
            }
            marks.set_mark(place, 0);
            self.main.push(place, &mut self.positions);
        }
        None
    }

    // Two functions out of line: `Lru` needs none of this, and the usual victim, the oldest of the small queue, none of the
    // search.
    #[inline(never)]
    fn pop_s3(&mut self, marks: impl Marks) -> Option<(u32, Hash)> {
        self.was_full = true;
        if self.is_small_next() {
            if let Some(place) = self.small.oldest() {
                let (mark, hash) = marks.look(place);
                if mark < PROMOTION {
                    self.small.take_head();
                    self.small.weight -= marks.weight(place);
                    self.small.read_ahead(marks, Some(&self.ghosts));
                    self.ghosts.add(hash);
                    return Some((place, hash));
                }
            }
        }
        self.search_s3(marks)
    }

    #[inline(never)]
    fn search_s3(&mut self, marks: impl Marks) -> Option<(u32, Hash)> {
        for step in 1..=SEARCH {
            let at_hand = step == SEARCH;
            let victim =
                if self.is_small_next() { self.try_small(marks, at_hand) } else { self.try_main(marks, at_hand) };
            if victim.is_some() {
                return victim;
            }
        }
        None
    }

    /// Whether the small queue has more than its share, or all there is.
    #[inline]
    fn is_small_next(&self) -> bool {
        let whole = self.main.weight + self.small.weight;
        !self.small.is_empty() && (self.small.weight * SMALL_SHARE > whole || self.main.is_empty())
    }

    /// Evicts the oldest of the small queue, unless it has proved itself: then it starts anew in the main queue.
    #[inline(always)]
    fn try_small(&mut self, marks: impl Marks, at_hand: bool) -> Option<(u32, Hash)> {
        let place = self.small.pop()?;
        let weight = marks.weight(place);
        self.small.weight -= weight;
        self.small.read_ahead(marks, Some(&self.ghosts));
        let (mark, hash) = marks.look(place);
        if mark < PROMOTION || at_hand {
            self.ghosts.add(hash);
            return Some((place, hash));
        }
        marks.set_mark(place, 0);
        self.put_back(place, weight);
        None
    }

    /// Evicts the oldest of the main queue, unless it was used: then one use is used up.
    #[inline(always)]
    fn try_main(&mut self, marks: impl Marks, at_hand: bool) -> Option<(u32, Hash)> {
        let place = self.main.pop()?;
        let weight = marks.weight(place);
        self.main.weight -= weight;
        self.main.read_ahead(marks, None);
        let (mark, hash) = marks.look(place);
        if mark == 0 || at_hand {
            return Some((place, hash));
        }
        marks.set_mark(place, mark - 1);
        self.put_back(place, weight);
        None
    }

    /// Every place, the oldest of the small queue first, then those of the main queue.
    pub(crate) fn places(&self) -> impl Iterator<Item = u32> {
        self.small.places().chain(self.main.places())
    }

    /// Recomputes every position, hole and weight.
    ///
    /// # Panics
    ///
    /// Where anything is not as it should be.
    pub(crate) fn validate(&self, weight_of: impl Fn(u32) -> u64) {
        for ring in [&self.main, &self.small] {
            let mut weight = 0;
            let mut len = 0;
            for step in 0..ring.span {
                let at = ring.at(step);
                let place = ring.slots[at];
                if place != HOLE {
                    assert_eq!(self.positions.get(place), at as u32 | ring.tag, "position of place {place}");
                    weight += weight_of(place);
                    len += 1;
                }
            }
            assert_eq!(ring.len(), len, "places in a ring");
            assert_eq!(ring.weight, if self.policy == Policy::S3Fifo { weight } else { 0 }, "weight of a ring");
            let filled = ring.slots.iter().filter(|&&place| place != HOLE).count();
            assert_eq!(filled, len, "slots outside of the span are empty");
        }
        assert!(self.main.slots.len() >= self.len(), "the main ring has room for all");
    }
}
