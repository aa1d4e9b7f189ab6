//! What is done to a stripe besides reading and writing: memory is put in and given back, what is due is seen to, entries
//! make room for others, everything is counted.
//!
//! Knows the parts of a stripe. Knows no budget but the one it is given, and no other stripe: who goes first is up to
//! the caller.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};

use super::aftermath::Aftermath;
use super::column::CHUNK_BITS;
use super::index::Table;
use super::limbo::Limbo;
use super::queues::{Queue, Queues, Slack, Want};
use super::slab::{Node, Places};
use super::supply::{Columns, Need, Supply};
use super::wheel::Wheel;
use super::writer::{Counts, LEAST_CHUNK, Locked, OtherCounts, UPKEEP, Writer};
use super::{Context, Stripe};
use crate::budget::Unit;
use crate::sync::{Ordering::Relaxed, Pin};

/// Nodes that no entry uses are no more than an allowance while they are fewer, ...
const LEAST_SPARE: usize = 4 * LEAST_CHUNK as usize;

/// ... or take less than one in so many bytes of what a stripe has.
const SPARE_SHARE: u64 = 8;

/// Of so many of the sparsest chunks that is given up which is the least of a loss.
const SPARSE: usize = 4;

/// What an entry that has been used of late is worth, in entries that have not: as many as short chunks have, so that of a
/// small cache the entries that are always in use stay, whatever goes.
const LOSS_IF_USED: u64 = 4 * LEAST_CHUNK as u64;

/// What a chunk of nodes is vacated for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// Nodes may be lacking some day: that is not worth an entry that is in use.
    Later,
    /// They are lacking: that is not worth more than what they take.
    Now,
    /// There are to be fewer entries.
    Fewer,
}

impl<K, V> Stripe<K, V> {
    /// Takes what was allocated, where it is still wanted.
    /// Where it is `smaller` it takes the place of what is much too large.
    pub(crate) fn install(
        &self,
        context: Context<'_>,
        supply: Supply<K, V>,
        smaller: bool,
        aftermath: &mut Aftermath<K, V>,
    ) {
        let mut locked = self.lock(context, aftermath);
        let unused = locked.install(supply, smaller);
        locked.aftermath.rare().unused.extend(unused);
    }

    /// Does up to `most` steps of what writes do on the way: frees retired places, takes out what has expired.
    /// Hands over what was retired. Whether there may be more to do.
    pub(crate) fn maintain(&self, context: Context<'_>, most: usize, aftermath: &mut Aftermath<K, V>) -> bool {
        let mut locked = self.lock(context, aftermath);
        locked.drain(most);
        for _ in 0..most / UPKEEP {
            locked.expire_due();
        }
        // While a reader stays, batches of one would be all this makes.
        locked.promptly = !locked.writer.limbo.is_long();
        let settled = locked.writer.wheel.next_due() > context.now && !locked.writer.limbo.has_ready();
        !settled
    }

    /// Gives back chunks without a used place, and all credit. Where bytes count it says what else is much larger than
    /// it needs to be: a smaller one is to be installed then.
    pub(crate) fn trim(&self, context: Context<'_>, slack: Slack, aftermath: &mut Aftermath<K, V>) -> Option<Need> {
        let mut locked = self.lock(context, aftermath);
        locked.trim();
        if context.budget.unit == Unit::Bytes {
            locked.recharge();
        }
        locked.return_credit(0);
        locked.promptly = true;
        if context.budget.unit == Unit::Entries {
            return None;
        }
        let entries = locked.writer.queues.len();
        let least = entries + entries / 4 + 1;
        let dues = self.settings.refresh != 0;
        if slack.is_exceeded(locked.table().allocated_bytes() as usize, Table::bytes_for(least, dues) as usize) {
            return Some(Need::Table { entries: least, dues });
        }
        locked.writer.queues.oversized(slack).map(Need::Queues)
    }

    /// About what an entry that is retired keeps from use: its node, with what stands beside it.
    pub(crate) const PLACE_BYTES: u64 = size_of::<Node<K, V>>() as u64 + 32;

    /// Whether nodes that no entry uses are many, beside the entries and by what they take: so it is when entries have
    /// become larger, and fewer. Not while readers hold up what is retired: then nothing can be done about it.
    pub(super) fn is_sparse(&self, writer: &Writer<K, V>) -> bool {
        let (free, living) = (writer.places.free.len(), writer.queues.len());
        let bytes = free as u64 * Self::PLACE_BYTES;
        self.settings.unit == Unit::Bytes
            && !writer.limbo.is_long()
            && free >= LEAST_SPARE.max(living / 2)
            && bytes > (writer.weight + writer.charged) / SPARE_SHARE
    }

    /// Whether a chunk of nodes should be given back, though a few entries go for it.
    pub(crate) fn should_condense(&self) -> bool {
        self.is_sparse(&self.writer.lock())
    }

    /// Lets as many entries go as there are before nodes are to be given back once more: it was in vain.
    pub(crate) fn put_off_condensing(&self) {
        let mut writer = self.writer.lock();
        let pause = writer.queues.len().max(LEAST_SPARE);
        writer.dense_until = writer.counts.evictions + pause as u64;
    }

    /// How many nodes there are, used and not.
    pub(crate) fn nodes(&self) -> usize {
        let writer = self.writer.lock();
        writer.places.total()
    }

    /// Evicts all entries of the chunk of nodes that is the least of a loss, so that it can be given back: one with few that
    /// have been used of late, for its length, and not more than `most`; but not that of the entry at `keep`, nor one of
    /// which something is lent, nor one of which the `end` is not worth it. How many it evicted. O(places).
    pub(crate) fn vacate_chunk(
        &self,
        context: Context<'_>,
        most: usize,
        end: End,
        keep: Option<u32>,
        aftermath: &mut Aftermath<K, V>,
    ) -> usize {
        let mut locked = self.lock(context, aftermath);
        locked.promptly = true;
        let mut chunks = locked.chunks_by_use(most);
        chunks.retain(|chunk| keep.is_none_or(|place| place >> CHUNK_BITS != chunk.0));
        let retired: HashSet<u32> = locked.writer.limbo.lent().map(|place| place >> CHUNK_BITS).collect();
        let losses = chunks.into_iter().filter(|chunk| !retired.contains(&chunk.0)).filter_map(|(number, len)| {
            let loss = locked.loss(number, len, end)?;
            Some(((u128::from(loss) << 32) / u128::from(len), number, len))
        });
        // Of several the first, which is the longest.
        let Some((_, number, len)) = losses.take(SPARSE).min_by_key(|loss| loss.0) else { return 0 };
        let mut evicted = 0;
        for place in places_of(number, len) {
            if locked.writer.queues.contains(place) {
                let weight = locked.queue_weight(place);
                locked.writer.queues.remove(place, weight);
                locked.let_go(place);
                evicted += 1;
            }
        }
        evicted
    }

    /// Evicts while the budget is overdrawn, up to `most` entries, but not the one at `keep`; if `paying`, only as
    /// long as that frees more than nodes. How many it evicted.
    pub(crate) fn shed(
        &self,
        context: Context<'_>,
        most: usize,
        paying: bool,
        keep: Option<u32>,
        aftermath: &mut Aftermath<K, V>,
    ) -> usize {
        let mut locked = self.lock(context, aftermath);
        locked.drain(UPKEEP);
        let mut evicted = 0;
        let before = locked.writer.credit;
        while evicted < most && context.budget.shortage(Self::PLACE_BYTES, locked.writer.credit) != 0 {
            if (paying && !locked.is_worth_it(evicted, before)) || !locked.evict(keep) {
                break;
            }
            evicted += 1;
        }
        locked.return_credit(0);
        locked.promptly = true;
        evicted
    }

    pub(crate) fn len(&self) -> usize {
        self.writer.lock().queues.len()
    }

    /// How many places and tables wait for their last readers.
    pub(crate) fn waiting(&self) -> usize {
        let (places, tables) = self.writer.lock().limbo.len();
        places + tables
    }

    /// Whether much was retired here that readers who are inside hold up.
    pub(crate) fn is_held_up(&self) -> bool {
        self.writer.lock().limbo.is_long()
    }

    /// Whether nodes, rather than what is behind them, are a large part of what entries cost here, or would be when this share
    /// of the entries is left and all nodes.
    pub(crate) fn is_mostly_nodes(&self, share: f64) -> bool {
        let writer = self.writer.lock();
        let nodes = writer.places.total() as u64 * Self::PLACE_BYTES;
        nodes as f64 * 4.0 > writer.weight as f64 * share
    }

    /// What has happened here, and how many entries there are.
    pub(crate) fn counts(&self) -> (Counts, OtherCounts, usize) {
        let writer = self.writer.lock();
        (writer.counts, writer.other_counts, writer.queues.len())
    }

    /// What of the structures there is when there is but one entry, in a cache that never had many.
    pub(crate) fn least_bytes(&self) -> u64 {
        self.bytes_beside_one(&self.writer.lock(), 0)
    }

    /// What of them stays when there is but one entry left, wherever it is: the lists that lead to nodes are as long as the
    /// last one in use asks.
    pub(crate) fn lasting_bytes(&self) -> u64 {
        let writer = self.writer.lock();
        // The entry may ask for another chunk first.
        let chunks = writer.places.chunk_count() as u64 + 1;
        let lists = chunks * (Places::<K, V>::LIST_BYTES_PER_CHUNK + writer.columns.list_bytes_per_chunk());
        self.bytes_beside_one(&writer, lists)
    }

    /// The structures beside one entry, with lists that lead to nodes of so many bytes, or some few.
    fn bytes_beside_one(&self, writer: &Writer<K, V>, lists: u64) -> u64 {
        let first = LEAST_CHUNK;
        // An entry may get a deadline at any time.
        let columns = Columns { links: true, ..writer.columns };
        let nodes = Places::<K, V>::bytes_for_chunk(first) + columns.bytes_per_place() * u64::from(first);
        // Where there is no room, tables and rings shrink to half as much again as one entry needs, or less.
        let table = Table::bytes_for(2, self.settings.refresh != 0) * 3 / 2;
        let wants = [Want::Ring(Queue::Main, 24), Want::Ring(Queue::Small, 8), Want::Ghosts(56)];
        let queues: u64 = wants.into_iter().map(Queues::bytes_for).sum();
        let lists = (writer.places.lasting_bytes() + lists).max(512);
        let lasting = lists + Wheel::LIST_BYTES + Limbo::LASTING_BYTES;
        size_of::<Self>() as u64 + nodes + table + queues + lasting
    }

    /// Bytes of everything in here, and those of them that wait for readers. O(batches), and where evicted entries are
    /// lent, O(what waits, and the places of their chunks).
    pub(crate) fn bytes(&self) -> (u64, u64) {
        let mut writer = self.writer.lock();
        let place = size_of::<Node<K, V>>() as u64 + writer.columns.bytes_per_place();
        let waits = writer.limbo.len();
        let (beside, chunks) = writer.kept_by_lent();
        let of_chunks = chunks * (Places::<K, V>::LIST_BYTES_PER_CHUNK + writer.columns.list_bytes_per_chunk());
        let places = (waits.0 as u64 + beside) * place + of_chunks;
        let lists = match waits {
            (0, 0) => 0,
            _ if writer.limbo.is_long() => Limbo::LASTING_BYTES + writer.limbo.grown_bytes(),
            // What a few batches take is there always.
            _ => writer.limbo.grown_bytes(),
        };
        let retired = writer.retired_weight + writer.retired_tables + places + lists;
        (writer.structure_bytes() + writer.weight + writer.retired_weight + writer.retired_tables, retired)
    }
}

impl<K, V> Writer<K, V> {
    /// The free places that can't be given back, because of those beside them which are lent, and the chunks of which there is
    /// nothing else: a chunk of nodes goes as a whole.
    fn kept_by_lent(&mut self) -> (u64, u64) {
        if self.limbo.held() == 0 {
            return (0, 0);
        }
        let mut retired: HashMap<u32, u64> = self.limbo.lent().map(|place| (place >> CHUNK_BITS, 0)).collect();
        for place in self.limbo.places() {
            if let Some(retired) = retired.get_mut(&(place >> CHUNK_BITS)) {
                *retired += 1;
            }
        }
        let (mut beside, mut chunks) = (0, 0);
        for (number, retired) in retired {
            let len = self.places.chunk_len(number << CHUNK_BITS);
            if !places_of(number, len).any(|place| self.queues.contains(place)) {
                beside += u64::from(len) - retired;
                chunks += 1;
            }
        }
        (beside, chunks)
    }
}

/// The places of a chunk.
fn places_of(number: u32, len: u32) -> std::ops::Range<u32> {
    let first = number << CHUNK_BITS;
    first..first + len
}

/// Installing and giving back memory.
impl<K, V> Locked<'_, K, V> {
    /// The numbers and lengths of the chunks that have living entries, up to `most`, those with the fewest for their length
    /// first, and the longest of those.
    fn chunks_by_use(&self, most: usize) -> Vec<(u32, u32)> {
        let mut living = HashMap::<u32, usize>::new();
        for place in self.writer.queues.places() {
            *living.entry(place >> CHUNK_BITS).or_default() += 1;
        }
        living.retain(|_, living| *living <= most);
        let mut chunks: Vec<_> = self.writer.places.chunks().filter(|chunk| living.contains_key(&chunk.0)).collect();
        chunks.sort_unstable_by_key(|(number, len)| (living[number] * 8 / *len as usize, Reverse(*len)));
        chunks
    }

    /// What it costs to evict all entries of a chunk: those that have been used of late count more, and those with much
    /// behind them. `None` where that would be in vain, since one of them is lent, and where the `end` is not worth it: to
    /// evict the oldest, whatever they are, costs less than entries with more behind them than the chunk takes.
    fn loss(&mut self, number: u32, len: u32, end: End) -> Option<u64> {
        let (mut loss, mut weight) = (0, 0);
        for place in places_of(number, len) {
            if self.writer.queues.contains(place) {
                let node = self.node(place);
                let is_used = node.mark() != 0;
                if node.is_held() || is_used && end == End::Later {
                    return None;
                }
                let behind = self.writer.weights.get(place);
                weight += behind;
                loss += (1 + behind / Stripe::<K, V>::PLACE_BYTES) * if is_used { LOSS_IF_USED } else { 1 };
            }
        }
        (end != End::Now || weight <= u64::from(len) * Stripe::<K, V>::PLACE_BYTES).then_some(loss)
    }

    fn install(&mut self, supply: Supply<K, V>, smaller: bool) -> Option<Supply<K, V>> {
        match supply {
            Supply::Chunk { chunk, positions, weights, links, limits } => {
                let Some(number) = self.writer.places.next_chunk_number() else {
                    return Some(Supply::Chunk { chunk, positions, weights, links, limits });
                };
                let writer = &mut *self.writer;
                writer.queues.positions().add_chunk(number, positions);
                if let (Some(column), Some(weights)) = (&mut writer.weights.column, weights) {
                    column.add_chunk(number, weights);
                }
                if let (Some(column), Some(limits)) = (&mut writer.limits, limits) {
                    column.add_chunk(number, limits);
                }
                if let Some(links) = links {
                    writer.columns.links = true;
                    writer.wheel.add_links(number, links);
                }
                writer.places.add_chunk(&self.stripe.slab, number, chunk, writer.queues.positions());
                None
            }
            Supply::Table(table) => self.install_table(table, smaller),
            Supply::Ring(queue, slots) => {
                Some(Supply::Ring(queue, self.writer.queues.install_ring(queue, slots, smaller)))
            }
            Supply::Ghosts(ghosts) => Some(Supply::Ghosts(self.writer.queues.install_ghosts(ghosts, smaller))),
            Supply::Links(chunk, links) => {
                if !self.writer.wheel.needs_links(chunk << CHUNK_BITS) {
                    return Some(Supply::Links(chunk, links));
                }
                self.writer.columns.links = true;
                self.writer.wheel.add_links(chunk, links);
                None
            }
        }
    }

    fn install_table(&mut self, table: Box<Table>, smaller: bool) -> Option<Supply<K, V>> {
        let entries = self.writer.queues.len();
        if (table.capacity() > self.table().capacity()) == smaller || table.capacity() < entries {
            return Some(Supply::Table(table));
        }
        table.fill_from(self.table(), |place| self.node(place).hash());
        self.writer.table = table.allocated_bytes();
        let outgrown = self.table().allocated_bytes();
        self.writer.retired_tables += outgrown;
        let (buckets, bucket_count) = table.hint();
        self.stripe.buckets.store(buckets, Relaxed);
        self.stripe.bucket_count.store(bucket_count, Relaxed);
        let old = self.stripe.table.replace(table);
        self.writer.limbo.retire_table(old, outgrown);
        None
    }

    fn trim(&mut self) {
        let writer = &mut *self.writer;
        let mut numbers = Vec::new();
        let chunks = writer.places.take_empty_chunks(writer.queues.positions(), |number| numbers.push(number));
        for (number, chunk) in numbers.into_iter().zip(chunks) {
            self.aftermath.rare().unused.push(Supply::Chunk {
                chunk,
                positions: writer.queues.positions().remove_chunk(number).unwrap_or_default(),
                weights: writer.weights.column.as_mut().and_then(|column| column.remove_chunk(number)),
                links: writer.wheel.remove_links(number),
                limits: writer.limits.as_mut().and_then(|column| column.remove_chunk(number)),
            });
        }
    }
}

impl<K, V> Stripe<K, V> {
    /// Recomputes every count, position, weight and byte from scratch.
    ///
    /// # Panics
    ///
    /// Where anything is not as it should be.
    pub(crate) fn validate(&self, unit: Unit, pin: &Pin) {
        let mut writer = self.writer.lock();
        let writer = &mut *writer;
        let node = |place| self.node(place, pin);
        let entries = writer.queues.len();
        self.table.load(pin).validate(entries, |place| node(place).hash());
        writer.queues.validate(|place| self.queue_weight(|| writer.weights.get(place)));
        writer.wheel.validate(|place| node(place).deadline());
        let mut seen: Vec<u32> = writer.queues.places().collect();
        assert_eq!(seen.len(), entries, "entries in the queues");
        assert_eq!(seen.iter().map(|&place| writer.weights.get(place)).sum::<u64>(), writer.weight, "living weight");
        let timed = seen.iter().filter(|&&place| node(place).deadline() != 0).count();
        assert_eq!(timed, writer.wheel.len(), "entries with a deadline");
        let retired: Vec<u32> = writer.limbo.places().collect();
        assert_eq!(
            retired.iter().map(|&place| writer.weights.get(place)).sum::<u64>(),
            writer.retired_weight,
            "retired weight"
        );
        seen.extend(retired);
        assert_eq!(writer.places.in_use(), seen.len(), "places in use");
        seen.extend(writer.places.free.iter(writer.queues.positions()));
        let all = seen.len();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), all, "no place is in two states");
        assert!(writer.credit >= 0, "credit");
        assert!(writer.ease as usize <= self.most_ease(writer), "writes that can go the fast way");
        if unit == Unit::Bytes {
            assert_eq!(writer.charged, writer.structure_bytes(), "charged for structures");
        }
    }

    /// What this stripe has of the budget: credit it may spend, and what its entries and memory cost.
    pub(crate) fn spent(&self, unit: Unit) -> u64 {
        let writer = self.writer.lock();
        let used = match unit {
            Unit::Entries => writer.queues.len() as u64,
            Unit::Bytes => writer.weight + writer.charged,
        };
        used + writer.credit as u64
    }

    /// The bytes, and the entries, that were reported as retired and are not dropped yet: all but the open batch.
    pub(crate) fn reported(&self) -> (u64, u64) {
        let writer = self.writer.lock();
        let (open_weight, open_places) = writer.limbo.in_open_batch();
        let entries = writer.limbo.len().0 - open_places;
        (writer.retired_weight + writer.retired_tables - open_weight, entries as u64)
    }
}
