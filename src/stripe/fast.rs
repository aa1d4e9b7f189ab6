//! The fast path of a write: one that puts an entry in where all that this takes is at hand.
//!
//! Knows the parts of a stripe. Does nothing that the general write in `writes.rs` does not do as well, and nothing that
//! allocates, frees, waits or is to be told.
//!
//! Most writes to a full cache are alike: a new entry comes in, the oldest goes. The general write asks at every step of
//! that whether this cache counts bytes, has deadlines, or has a listener, whether there is a free place, whether the table
//! or a ring has to grow, whether something waits to be freed. In a stripe where the first three never hold it leaves one
//! answer to all the others: how many writes there may be before they have to be asked again ([`Stripe::ease`]). Up to
//! then writes go this way, and about one in fifty goes the general way. That takes half as many instructions as if all went
//! there.

use super::Stripe;
use super::limbo::BATCH;
use super::writer::{Entry, Writer};
use crate::budget::Budget;

/// The most writes that go the fast way before one goes the general way.
const MOST: usize = BATCH;

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
        let Writer { credit, ease, pays, counts, other_counts, queues, places, limbo, weights, .. } = &mut *writer;
        if *ease == 0 {
            return Err(entry);
        }
        queues.prefetch_ghost(entry.hash);
        let view = self.view(weights);
        let found = view.buckets.find(entry.hash, |place| is_key(view.node(place).key(), &entry.key));
        // Nothing below runs the user's code.
        let weight = self.queue_weight(|| 0);
        if let Some(slot) = found {
            let old = slot.place;
            let place = self.fill(places, queues, entry.into());
            queues.replace(old, place, weight, weight);
            let mark = view.node(old).mark() + 1;
            view.node(place).set_mark(mark.min(self.most_marks));
            view.buckets.replace(slot, place);
            limbo.retire(old, 0);
            other_counts.updates += 1;
        } else {
            if *credit <= 0 {
                // Evicts one entry, if this stripe pays. What nobody has drawn is drawn by the general write.
                if !*pays || budget.free() > 0 {
                    return Err(entry);
                }
                let Some((place, hash)) = queues.pop_victim(view) else { return Err(entry) };
                view.buckets.take_out(hash, place);
                limbo.retire(place, 0);
                counts.evictions += 1;
                *credit += 1;
            }
            let hash = entry.hash;
            let place = self.fill(places, queues, entry.into());
            queues.add(place, hash, weight);
            view.buckets.insert(hash, place, |_| ());
            counts.inserts += 1;
            *credit -= 1;
        }
        *ease -= 1;
        Ok(())
    }

    /// How many entries should be put in without anything but the budget being asked.
    pub(super) fn ease(&self, writer: &Writer<K, V>) -> u16 {
        if writer.queues.want().is_some() {
            return 0;
        }
        MOST.min(writer.queues.ample_room()).min(self.most_ease(writer)) as u16
    }

    /// How many can be: each may take a free place, a slot of the table and one of the main ring, and retire one place.
    pub(super) fn most_ease(&self, writer: &Writer<K, V>) -> usize {
        if !self.is_plain || !writer.loads.is_empty() || !writer.wheel.is_empty() {
            return 0;
        }
        let slots = self.capacity(&writer.weights).saturating_sub(writer.queues.len());
        slots.min(writer.places.free.takeable()).min(writer.limbo.room()).min(writer.queues.room())
    }
}

#[cfg(all(test, not(loom), target_pointer_width = "64"))]
mod tests {
    use std::mem::offset_of;

    use super::super::Settings;
    use super::super::limbo::Limbo;
    use super::super::queues::{Policy, Queues};
    use super::super::slab::Places;
    use super::*;
    use crate::budget::Unit;

    const LINE: usize = 64;

    #[test]
    fn what_a_new_entry_changes_is_in_two_cache_lines() {
        let settings = Settings {
            policy: Policy::Lru,
            exact: false,
            unit: Unit::Entries,
            entries: 100,
            timed: false,
            idle: 0,
            refresh: 0,
            batch: 1,
            tell: false,
            counts_hits: false,
        };
        let stripe = Stripe::<u64, u64>::new(settings);
        let lock = (&raw const stripe.writer).addr();
        let writer = stripe.writer.data_ptr().addr();
        let line_of = |offset| (writer + offset) / LINE;

        let first = [lock / LINE, line_of(offset_of!(Writer<u64, u64>, queues) + Queues::CHANGED_TO - 1)];
        let second = [
            line_of(offset_of!(Writer<u64, u64>, limbo) + Limbo::CHANGED_FROM),
            line_of(offset_of!(Writer<u64, u64>, places) + Places::<u64, u64>::CHANGED_TO - 1),
        ];
        assert!(first[0] == first[1] && second[0] == second[1], "{first:?}, {second:?}");
    }
}
