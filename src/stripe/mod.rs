//! One lock stripe: a part of the cache that is complete in itself.
//!
//! Knows hashes, times and weights that it is given. Knows no hasher, no clock, no weigher, no
//! listener and no codec; of the user's code only the equality of keys runs here.
//!
//! ```text
//! Stripe   table     from a hash to places          (index.rs)    \ read without the lock
//!          slab      from a place to its node       (slab.rs)     /
//!          Writer    queues   recency order         (queues.rs)   \
//!                    wheel    deadlines             (wheel.rs)     | changed under the lock
//!                    limbo    retired, not yet free (limbo.rs)     |
//!                    places   free nodes            (slab.rs, free.rs) /
//! ```
//!
//! # Readers
//!
//! A reader pins the epoch, loads the table, probes it, and compares the key in the node. It takes no
//! lock and writes nothing shared but the node's mark, when that is not yet at its maximum.
//!
//! *A key that is there during the whole of a call is found.* An update swaps the place in its slot, so the
//! reader finds the old node or the new one. A table that grows is filled before it is published
//! whole; a reader that still uses the old one finds there what was in it when it loaded the pointer,
//! and the nodes are not taken while it is pinned. The rest is in `index.rs`.
//!
//! *A call that starts after a removal has returned does not find the key.* The tag was cleared before
//! the lock was released, in the table that was current then; the reader loads this table or a
//! later one, which was filled from it.
//!
//! # Deadlines
//!
//! A node is expired only by a time that was read *before* the table was loaded. A reader that finds an
//! expired node by a later reading can't tell whether an update or a touch came in between, so it
//! probes again with the reading it has ([`Stripe::find_living`]).
//!
//! # Writers
//!
//! Their state, and the steps that writes are made of, are in `writer.rs`, what these cost in `credit.rs`, the writes in
//! `writes.rs`, and what is done besides in `upkeep.rs`; `fast.rs` has a shorter way for most writes of most caches. All of
//! any other happens in a [`Locked`], which is a stripe with its lock held. What it displaces is named in an
//! [`Aftermath`], and handled by the caller after the lock is released: listeners are told, keys and values dropped, batches
//! handed to the epoch. Should key equality panic, nothing has been changed by half: it runs before the first change of a
//! write.

pub(crate) mod aftermath;
mod column;
mod credit;
mod fast;
mod free;
mod ghosts;
mod index;
mod limbo;
mod loads;
#[cfg(all(test, loom))]
mod loom;
mod processor;
pub(crate) mod queues;
mod slab;
mod supply;
mod upkeep;
mod wheel;
mod writer;
mod writes;

use crossbeam_utils::CachePadded;
use smallvec::SmallVec;

use self::aftermath::drop_each;
pub(crate) use self::aftermath::{Aftermath, RemovalCause};
pub(crate) use self::index::{Hash, MAX_TABLE_ENTRIES};
pub(crate) use self::queues::Slack;
pub(crate) use self::slab::{Held, Node};
pub(crate) use self::supply::{Need, Supply};
pub(crate) use self::upkeep::End;
pub(crate) use self::writer::{Entry, Expect, Written};

use self::index::{Buckets, Elsewhere, Table};
use self::limbo::BATCH;
use self::processor::prefetch;
use self::queues::{Marks, Policy, Queues};
use self::slab::{NewNode, Places, Published, Slab};
use self::writer::{Locked, UPKEEP, Weights, Writer};
use crate::budget::{Budget, Unit};
use crate::sync::{AtomicPtr, AtomicUsize, Mutex, Ordering::Relaxed, Pin};

/// What all stripes of a cache have in common.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    pub(crate) policy: Policy,
    /// Whether `Lru` means exactly the least recently used.
    pub(crate) exact: bool,
    pub(crate) unit: Unit,
    /// Entries for which memory is laid out at once; 0 where their number is not known.
    pub(crate) entries: usize,
    /// Whether entries have deadlines from the start.
    pub(crate) timed: bool,
    /// Nanoseconds without a hit after which an entry expires; 0 where there is no such limit.
    pub(crate) idle: u64,
    /// Nanoseconds after a write at which an entry is due to be loaded anew; 0 for never.
    pub(crate) refresh: u64,
    /// Retired places are handed to the epoch in batches of so many.
    pub(crate) batch: usize,
    /// Whether the [`Aftermath`] has to name what was displaced.
    pub(crate) tell: bool,
    /// Whether the caller counts hits.
    pub(crate) counts_hits: bool,
}

impl Settings {
    /// Whether writes may go the way of `fast.rs`: it weighs nothing, keeps no time and tells nobody.
    fn is_plain(&self) -> bool {
        let keeps_time = self.idle != 0 || self.refresh != 0;
        self.unit == Unit::Entries && !keeps_time && !self.tell && !self.exact
    }
}

/// What every write is given.
#[derive(Clone, Copy)]
pub(crate) struct Context<'a> {
    pub(crate) budget: &'a Budget,
    /// The time, read before the lock was taken; 0 where no entry has a deadline.
    pub(crate) now: u64,
    /// How often this write has lacked a place before.
    pub(crate) attempts: u32,
}

impl Context<'_> {
    /// Whether nothing else has helped: then nodes may be added that the budget does not pay for.
    fn may_overdraw(&self) -> bool {
        self.attempts > 1
    }
}

/// What a look-up finds out that looks at one bucket and one node: [`Stripe::glance`].
pub(crate) enum Glance<N> {
    /// The entry's node. Nothing is left to be done.
    Done(N),
    /// The entry, its place and its node: it has been marked as used. The caller may have to count the hit.
    Used(u32, N),
    /// The entry's place. Nothing has been done.
    Found(u32),
    Absent,
    /// It takes more to tell.
    Unclear,
}

/// See the [module's documentation](self).
pub(crate) struct Stripe<K, V> {
    // What readers use, on lines that writers seldom change ...
    table: Published<Table>,
    slab: Slab<K, V>,
    /// Of the current table, or of one before it: good enough to fetch ahead by.
    buckets: AtomicPtr<()>,
    bucket_count: AtomicUsize,
    most_marks: u32,
    /// Whether a hit may have to take the lock.
    hits_renew: bool,
    /// A hit of a node with a lower mark may have something to do.
    busy_below: u32,
    /// Whether it counts entries, keeps no time of its own accord, tells nobody, and is not exact: see `fast.rs`.
    is_plain: bool,
    settings: Settings,
    // ... and what writers change, on lines of its own.
    writer: CachePadded<Mutex<Writer<K, V>>>,
}

impl<K, V> Stripe<K, V> {
    pub(crate) fn new(settings: Settings) -> Self {
        let (slab, places) = Slab::new();
        let table = Table::for_entries(settings.entries, settings.refresh != 0);
        let queues = Queues::new(settings.policy, settings.exact, settings.entries);
        let most_marks = queues.most_marks();
        let hits_renew = settings.exact || settings.idle != 0;
        let writer = Writer::new(&settings, queues, places, &table);
        let (buckets, bucket_count) = table.hint();
        Self {
            buckets: AtomicPtr::new(buckets),
            bucket_count: AtomicUsize::new(bucket_count),
            table: Published::new(Box::new(table)),
            slab,
            most_marks,
            is_plain: settings.is_plain(),
            hits_renew,
            busy_below: if hits_renew || settings.counts_hits { u32::MAX } else { most_marks },
            settings,
            writer: CachePadded::new(Mutex::new(writer)),
        }
    }

    #[inline]
    fn lock<'a>(&'a self, context: Context<'a>, aftermath: &'a mut Aftermath<K, V>) -> Locked<'a, K, V> {
        Locked::new(self, self.writer.lock(), context, aftermath)
    }

    /// What an entry weighs in the queues: its node and the bytes behind it, where bytes count. The queues of `Lru` ask
    /// for no weight.
    #[inline]
    fn queue_weight(&self, weight: impl FnOnce() -> u64) -> u64 {
        match (self.settings.policy, self.settings.unit) {
            (Policy::Lru, _) => 0,
            (Policy::S3Fifo, Unit::Entries) => 1,
            (Policy::S3Fifo, Unit::Bytes) => size_of::<Node<K, V>>() as u64 + weight(),
        }
    }

    /// The node at a place that this stripe's table named at some time since `_pin` was taken.
    #[inline]
    pub(crate) fn node<'p>(&'p self, place: u32, _pin: &'p Pin) -> &'p Node<K, V> {
        // SAFETY: places get into the table only filled, and are taken only after they left it and
        // everyone who was pinned at that time has left; `_pin` is as old as the caller's look.
        unsafe { self.slab.node(place) }
    }

    /// The node of a key, expired or not. O(1); takes no lock.
    #[inline]
    pub(crate) fn find<'p>(
        &'p self,
        pin: &'p Pin,
        hash: Hash,
        is_key: impl Fn(&K) -> bool,
    ) -> Option<(u32, &'p Node<K, V>)> {
        let found = self.table.load(pin).buckets().find_map(hash, |place| {
            let node = self.node(place, pin);
            is_key(node.key()).then_some(node)
        });
        found.map(|(slot, node)| (slot.place, node))
    }

    /// Looks for a key where it most likely is, and counts a hit as a use where that is all to be done for it. O(1); takes
    /// no lock. Calls none of our functions, so that nothing of what it works with has to be saved from one.
    #[inline(always)]
    pub(crate) fn glance<'p>(
        &'p self,
        pin: &'p Pin,
        hash: Hash,
        is_key: impl Fn(&K) -> bool,
    ) -> Glance<&'p Node<K, V>> {
        let found = self.table.load(pin).buckets().find_at_home(hash, |place| {
            let node = self.node(place, pin);
            is_key(node.key()).then_some(node)
        });
        match found {
            Ok(Some((place, node))) if node.deadline() == 0 => {
                // One question in most hits, whatever the answer is for.
                if node.mark() >= self.busy_below {
                    Glance::Done(node)
                } else if self.hits_renew {
                    Glance::Found(place)
                } else {
                    node.raise_mark(self.most_marks);
                    Glance::Used(place, node)
                }
            }
            Ok(Some((place, _))) => Glance::Found(place),
            Ok(None) => Glance::Absent,
            Err(Elsewhere) => Glance::Unclear,
        }
    }

    /// The node of a key that has not expired. O(1); takes no lock; asks for the time only if the node
    /// has a deadline, and for the exact time only if a rough reading does not settle it.
    #[inline(always)]
    pub(crate) fn find_living<'p>(
        &'p self,
        pin: &'p Pin,
        hash: Hash,
        is_key: impl Fn(&K) -> bool + Copy,
        is_surely_before: impl Fn(u64) -> bool,
        clock: impl Fn() -> u64,
    ) -> Option<(u32, &'p Node<K, V>)> {
        let found = self.find(pin, hash, is_key)?;
        let deadline = found.1.deadline();
        if deadline == 0 || is_surely_before(deadline) {
            return Some(found);
        }
        self.living(found, move || self.find(pin, hash, is_key), is_surely_before, clock)
    }

    /// What was found, or what `find_again` finds, if that has not expired.
    #[cold]
    #[inline(never)]
    fn living<'p>(
        &'p self,
        found: (u32, &'p Node<K, V>),
        find_again: impl Fn() -> Option<(u32, &'p Node<K, V>)>,
        is_surely_before: impl Fn(u64) -> bool,
        clock: impl Fn() -> u64,
    ) -> Option<(u32, &'p Node<K, V>)> {
        let now = clock();
        if now < found.1.deadline() {
            return Some(found);
        }
        // See "Deadlines" above.
        let found = find_again()?;
        let deadline = found.1.deadline();
        (deadline == 0 || is_surely_before(deadline) || now < deadline).then_some(found)
    }

    /// When a node that was found under this pin is due to be loaded anew; `None` where it has left since. O(1); takes no
    /// lock. Only where that is kept.
    pub(crate) fn due(&self, node: &Node<K, V>, pin: &Pin) -> Option<u64> {
        let table = self.table.load(pin);
        let slot = table.buckets().find(node.hash(), |place| std::ptr::eq(self.node(place, pin), node))?;
        Some(table.due(slot))
    }

    /// The place of a node that is in the table. O(1); takes no lock.
    pub(crate) fn place_of(&self, node: &Node<K, V>, pin: &Pin) -> Option<u32> {
        let slot = self.table.load(pin).buckets().find(node.hash(), |place| std::ptr::eq(self.node(place, pin), node));
        slot.map(|slot| slot.place)
    }

    /// Counts a hit as a use of the node. Takes the lock only where the order is exact, or where a
    /// hit puts off the deadline and that has moved by more than a 64th of the idle time.
    #[inline]
    pub(crate) fn record_use(&self, node: &Node<K, V>, budget: &Budget, clock: impl Fn() -> u64) {
        if node.mark() >= self.busy_below {
            return;
        }
        node.raise_mark(self.most_marks);
        if self.hits_renew {
            self.renew_by(node, budget, clock);
        }
    }

    #[cold]
    fn renew_by(&self, node: &Node<K, V>, budget: &Budget, clock: impl Fn() -> u64) {
        let now = if self.settings.idle == 0 { 0 } else { clock() };
        self.renew(node, Context { budget, now, attempts: 0 });
    }

    /// Lends a node that was found under this pin beyond it.
    pub(crate) fn hold<'s>(&'s self, node: &Node<K, V>, pin: &Pin) -> Held<'s, K, V> {
        self.slab.hold(node, pin)
    }

    /// Starts to fetch what a look-up of `hash` reads first. Needs no pin.
    #[inline]
    pub(crate) fn prefetch_bucket(&self, hash: Hash) {
        // Relaxed: the two need not even be of the same table.
        index::prefetch_bucket((self.buckets.load(Relaxed), self.bucket_count.load(Relaxed)), hash);
    }

    /// Starts to fetch the node that a look-up of `hash` will most likely find.
    #[inline]
    pub(crate) fn prefetch_node(&self, pin: &Pin, hash: Hash) {
        if let Some(place) = self.table.load(pin).buckets().guess(hash) {
            // SAFETY: just read from the table under the pin.
            unsafe { self.slab.prefetch(place) };
        }
    }

    /// Visits the nodes whose home bucket is that of `from` and whose hash is not below it, and gives
    /// the hash to go on with. A walk from [`Hash::FIRST`] meets every entry that is there throughout just
    /// once, whether the table grows meanwhile or not: a bucket's number changes then, a
    /// hash does not. Takes no lock.
    pub(crate) fn visit<'p>(
        &'p self,
        pin: &'p Pin,
        from: Hash,
        mut visit: impl FnMut(u32, &'p Node<K, V>),
    ) -> Option<Hash> {
        let table = self.table.load(pin).buckets();
        table.visit_home(from, |place| {
            let node = self.node(place, pin);
            if node.hash() >= from && table.same_home(node.hash(), from) {
                visit(place, node);
            }
        })
    }
}

/// Whether a deadline, 0 for none, has come.
#[inline]
pub(crate) fn is_expired(deadline: u64, now: u64) -> bool {
    deadline != 0 && deadline <= now
}

/// The deadline of an entry that was used just now, in a cache with a time to idle: no later than
/// `limit`, 0 for none. It is odd where it is that limit (or the nanosecond before), so that hits need not look for the
/// limit to see that they can't put it off.
pub(crate) fn idle_deadline(now: u64, idle: u64, limit: u64) -> u64 {
    let deadline = now.saturating_add(idle);
    if limit != 0 && limit <= deadline { (limit - 1) | 1 } else { (deadline & !1).max(2) }
}

fn is_final(deadline: u64) -> bool {
    deadline & 1 == 1
}

/// What the lock's owner may do that the rest of `stripe` need not vouch for.
impl<K, V> Stripe<K, V> {
    /// The nodes and the table, while the lock is held: `weights`, which lie behind it, are the proof.
    #[inline]
    fn view<'l>(&'l self, weights: &'l Weights) -> View<'l, K, V> {
        // SAFETY: the table is replaced by the lock's owner only, in `install_table`, and not while this lends the weights.
        let table = unsafe { self.table.current() };
        View { stripe: self, buckets: table.buckets(), weights }
    }

    /// How many entries the table takes, while the lock is held: see [`Stripe::view`].
    fn capacity(&self, _: &Weights) -> usize {
        // SAFETY: as in `view`.
        unsafe { self.table.current() }.capacity()
    }

    /// Fills a free place, of which there is one, and files it nowhere yet.
    #[inline]
    fn fill(&self, places: &mut Places<K, V>, queues: &Queues, new: NewNode<K, V>) -> u32 {
        let place = places.free.take().expect("made ready before");
        // SAFETY: just taken from the free places.
        unsafe { self.slab.fill(place, new) };
        // The next write here will fill the next place. On its way by then, its lines don't hold up that write's unlock,
        // which waits for all stores before it. (In a short queue they are at hand anyway.)
        let next = if queues.is_long() { places.free.next() } else { None };
        if let Some(next) = next {
            // SAFETY: a free place is of a chunk that is there.
            unsafe { self.slab.prefetch(next) };
            queues.prefetch(next);
        }
        place
    }
}

/// What may be known of nodes while the lock is held.
struct View<'l, K, V> {
    stripe: &'l Stripe<K, V>,
    buckets: Buckets<'l>,
    weights: &'l Weights,
}

impl<K, V> Clone for View<'_, K, V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K, V> Copy for View<'_, K, V> {}

impl<'l, K, V> View<'l, K, V> {
    #[inline]
    fn node(self, place: u32) -> &'l Node<K, V> {
        // SAFETY: who holds the lock asks for places that the queues or the table have or had just now; those are not even
        // handed over yet, and only the lock's owner takes places, in `recycle`, and not while the weights are lent (`'l`).
        unsafe { self.stripe.slab.node(place) }
    }
}

impl<K, V> Marks for View<'_, K, V> {
    #[inline]
    fn look(self, place: u32) -> (u32, Hash) {
        self.node(place).mark_and_hash()
    }

    #[inline]
    fn set_mark(self, place: u32, mark: u32) {
        self.node(place).set_mark(mark);
    }

    #[inline(always)]
    fn weight(self, place: u32) -> u64 {
        self.stripe.queue_weight(|| self.weights.get(place))
    }

    #[inline]
    fn prefetch_node(self, place: u32) {
        prefetch(self.node(place));
    }

    #[inline]
    fn prefetch_bucket(self, hash: Hash) {
        self.buckets.prefetch(hash);
    }
}

/// The steps of a write that touch nodes. A write needs no pin for that: what it looks at is named by the stripe's table
/// or lists, and only the lock's owner takes places out of them and frees them.
impl<'a, K, V> Locked<'a, K, V> {
    #[inline]
    fn table(&self) -> &Table {
        // SAFETY: replaced by the lock's owner only, in `install_table`, where this borrow has ended.
        unsafe { self.stripe.table.current() }
    }

    #[inline]
    fn buckets(&self) -> Buckets<'_> {
        self.table().buckets()
    }

    /// The node at a place that is in the table, the queues, the wheel or the limbo. Not to be used when `drain` has been
    /// called since.
    #[inline]
    fn node(&self, place: u32) -> &'a Node<K, V> {
        // SAFETY: filled, since it is in one of these. It is taken by the lock's owner only, in `recycle`, which is reached
        // through `drain` only, after a place was retired and handed over: no caller uses the reference after that.
        unsafe { self.stripe.slab.node(place) }
    }

    #[inline]
    fn pop_victim(&mut self) -> Option<u32> {
        let writer = &mut *self.writer;
        let victim = writer.queues.pop_victim(self.stripe.view(&writer.weights));
        victim.map(|(place, _)| place)
    }

    /// Takes out of the wheel what is due, a few places of it.
    fn take_due(&mut self) -> SmallVec<[u32; UPKEEP]> {
        let mut due = SmallVec::new();
        let slab = &self.stripe.slab;
        // SAFETY: the wheel has living places only, and the lock is held.
        let deadline_of = |place| unsafe { slab.node(place) }.deadline();
        self.writer.wheel.expire(self.context.now, UPKEEP, deadline_of, &mut |place| due.push(place));
        due
    }

    /// Drops what the places that are ready held, at most `most` of them, and frees them. The drops
    /// themselves are left to the aftermath.
    #[inline]
    fn drain(&mut self, most: usize) {
        if self.writer.limbo.may_have_ready() {
            self.drain_ready(most);
        }
    }

    #[inline(never)]
    fn drain_ready(&mut self, most: usize) {
        let most = if self.frees_without_look() { most.max(BATCH) } else { most };
        let mut ready = SmallVec::new();
        self.writer.limbo.take_ready(most, &mut ready);
        for _ in 0..most.min(self.writer.limbo.held()) {
            ready.extend(self.writer.limbo.next_held());
        }
        let (bytes, entries) = self.recycle_all(&ready);
        self.context.budget.remove_retired(bytes, entries);
        while let Some(table) = self.writer.limbo.next_ready_table() {
            // SAFETY: of a batch whose flag is set: who was pinned at its replacement has left.
            let table = unsafe { table.reclaim() };
            let bytes = table.allocated_bytes();
            self.writer.retired_tables -= bytes;
            self.context.budget.remove_retired(bytes, 0);
            self.aftermath.rare().unused.push(Supply::Table(table));
        }
    }

    /// Whether what is ready holds nothing to drop or to count, and is not lent.
    fn frees_without_look(&self) -> bool {
        self.stripe.is_plain && !self.stripe.slab.has_lent() && !std::mem::needs_drop::<(K, V)>()
    }

    /// Frees places that are ready, and gives what was behind them and how many they are; sets those aside that are lent.
    #[inline]
    fn recycle_all(&mut self, ready: &[u32]) -> (u64, u64) {
        if self.frees_without_look() {
            let writer = &mut *self.writer;
            writer.places.free.add_all(ready, writer.queues.positions());
            return (0, ready.len() as u64);
        }
        let has_lent = self.stripe.slab.has_lent();
        let (mut bytes, mut entries) = (0, 0);
        for &place in ready {
            if has_lent && self.node(place).is_held() {
                self.writer.limbo.hold(place);
            } else {
                bytes += self.recycle(place);
                entries += 1;
            }
        }
        (bytes, entries)
    }

    /// Frees a place that is ready and not held, and gives what was behind it.
    #[inline(always)]
    fn recycle(&mut self, place: u32) -> u64 {
        // SAFETY: of a batch whose flag is set, or set aside since: who was pinned when it was
        // unlinked has left, and none of them holds it.
        let entry = unsafe { self.stripe.slab.take(place) };
        if std::mem::needs_drop::<(K, V)>() {
            self.aftermath.garbage.add(entry);
        } else {
            std::mem::forget(entry);
        }
        let writer = &mut *self.writer;
        writer.places.free.add(place, writer.queues.positions());
        if self.context.budget.unit == Unit::Entries {
            return 0;
        }
        let weight = self.writer.weights.take(place);
        self.writer.retired_weight -= weight;
        weight
    }
}

impl<K, V> Drop for Stripe<K, V> {
    /// Drops every key and value, living or retired. One that panics does not keep the others from
    /// being dropped; the first panic goes on afterwards.
    fn drop(&mut self) {
        let writer = self.writer.get_mut();
        let (retired, tables) = writer.limbo.take_all();
        for table in tables {
            // SAFETY: nobody else has access: `&mut self`, and guards borrow the cache.
            drop(unsafe { table.reclaim() });
        }
        // SAFETY: filled, and as above.
        drop_each(writer.queues.places().chain(retired).map(|place| unsafe { self.slab.take(place) }));
    }
}
