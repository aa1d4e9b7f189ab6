//! The fast path of a write: one that puts an entry in where all that this takes is at hand.
//!
//! Knows the parts of a stripe. Does nothing that the general write in `writes.rs` does not do as well, and nothing that
//! allocates, frees, waits or is to be told.
//!
//! Most writes to a full cache are alike: a new entry comes in, the oldest goes. The general write asks at every step of
//! that whether this cache counts bytes, has deadlines, or has a listener, whether there is a free place, whether the table
//! or a ring has to grow, whether something waits to be freed. In a stripe where the first three never hold it leaves one
//! answer to all the others: how many writes there may be before they have to be asked again ([`Stripe::ease`]). Up to
//! then writes go this way, and about one in thirty goes the general way. That takes little more than half as many
//! instructions as if all went there.

use super::Stripe;
use super::slab::NewNode;
use super::writer::{Entry, Writer};
use crate::budget::Budget;

/// The most writes that go the fast way before one goes the general way.
const MOST: usize = 32;

impl<K, V> Stripe<K, V> {
    /// Puts an entry in, or gives it back where that takes more than is at hand: then nothing has been changed. O(1).
    #[inline(always)]
    pub(crate) fn write_fast(
        &self,
        budget: &Budget,
        entry: Entry<K, V>,
        is_key: impl Fn(&K, &K) -> bool,
    ) -> Result<(), Entry<K, V>> {
        if !self.is_plain || entry.deadline != 0 {
            return Err(entry);
        }
        let mut writer = self.writer.lock();
        let writer = &mut *writer;
        if writer.ease == 0 {
            return Err(entry);
        }
        writer.queues.prefetch_ghost(entry.hash);
        let view = self.view(&writer.weights);
        let found = view.table.find(entry.hash, |place| is_key(view.node(place).key(), &entry.key));
        // Nothing below runs the user's code.
        if found.is_none() && writer.credit <= 0 {
            // What nobody has drawn is drawn by the general write; and a stripe that has little has others give.
            let pays = budget.free() <= 0 && writer.queues.len() as u64 >= budget.half_share();
            if !pays || !self.evict_fast(writer) {
                return Err(entry);
            }
        }
        let view = self.view(&writer.weights);
        let Entry { hash, key, value, .. } = entry;
        let weight = self.queue_weight(0);
        let place = self.fill(&mut writer.places, &writer.queues, NewNode { hash, key, value, deadline: 0 });
        match found {
            Some(slot) => {
                let old = slot.place;
                writer.queues.replace(old, place, weight, weight);
                let mark = view.node(old).mark() + 1;
                view.node(place).set_mark(mark.min(self.most_marks));
                view.table.replace(slot, place, 0);
                writer.counts.updates += 1;
                writer.limbo.retire(old, 0);
            }
            None => {
                writer.queues.add(place, hash, weight);
                view.table.insert(hash, place, 0);
                writer.counts.inserts += 1;
                writer.credit -= 1;
            }
        }
        writer.limbo.count_write();
        writer.ease -= 1;
        Ok(())
    }

    /// Evicts one entry, if there is one.
    #[inline(always)]
    fn evict_fast(&self, writer: &mut Writer<K, V>) -> bool {
        let view = self.view(&writer.weights);
        let Some(place) = writer.queues.pop_victim(&view) else { return false };
        view.table.take_out(view.node(place).hash(), place);
        writer.limbo.retire(place, 0);
        writer.counts.evictions += 1;
        writer.credit += 1;
        true
    }

    /// How many entries should be put in without anything but the budget being asked.
    pub(super) fn ease(&self, writer: &Writer<K, V>) -> u32 {
        if writer.queues.want().is_some() {
            return 0;
        }
        MOST.min(writer.queues.ample_room()).min(self.most_ease(writer)) as u32
    }

    /// How many can be: each may take a free place, a slot of the table and one of the main ring, and retire one place.
    pub(super) fn most_ease(&self, writer: &Writer<K, V>) -> usize {
        if !self.is_plain || !writer.loads.is_empty() || !writer.wheel.is_empty() {
            return 0;
        }
        let slots = self.view(&writer.weights).table.capacity().saturating_sub(writer.queues.len());
        slots.min(writer.places.free()).min(writer.limbo.room()).min(writer.queues.room())
    }
}
