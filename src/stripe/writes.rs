//! The writes of a stripe, each with the lock taken once.
//!
//! Knows the order of the steps. The steps themselves are in `writer.rs`: there is what may run under the lock.

use super::aftermath::{Aftermath, RemovalCause};
use super::index::{Hash, Slot};
use super::slab::Node;
use super::supply::Need;
use super::writer::{Entry, Expect, Locked, UPKEEP, Written};
use super::{Context, Stripe, idle_deadline, is_expired, is_final};

/// The writes themselves, each with the lock taken once.
impl<K, V> Stripe<K, V> {
    /// Puts an entry in, if it is as expected. The entry stays with the caller where memory is needed
    /// first, or where it is not as expected. O(1).
    #[inline]
    pub(crate) fn write(
        &self,
        context: Context<'_>,
        entry: &mut Option<Entry<K, V>>,
        is_key: impl Fn(&K, &K) -> bool,
        expect: Expect,
        aftermath: &mut Aftermath<K, V>,
    ) -> Result<Written, Need> {
        let mut locked = self.lock(context, aftermath);
        let Some(new) = entry.as_mut() else { return Ok(Written::Outdated) };
        let hash = new.hash;
        locked.writer.queues.prefetch_ghost(hash);
        let found = locked.find(hash, |key| is_key(key, &new.key), expect);
        let old = found.map(|slot| (slot, is_expired(locked.node(slot.place).deadline(), context.now)));
        let as_expected = match expect {
            Expect::Anything => true,
            Expect::Absent => old.is_none_or(|(_, expired)| expired),
            Expect::Load(load) => locked.writer.loads.contains(hash, load),
            Expect::Place(_) => old.is_some(),
        };
        if !as_expected {
            return Ok(Written::Outdated);
        }
        let keep = old.map(|(slot, _)| slot.place);
        if new.keeps_time {
            locked.keep_time(new, keep);
        }
        locked.make_ready(new.deadline != 0, keep)?;
        locked.writer.loads.end_of(hash);
        let new = entry.take().expect("looked at above");
        // Nothing below runs the user's code, so nothing can stop between the steps. Making ready may
        // have expired the old entry.
        let slot = keep.and_then(|place| locked.buckets().find(hash, |candidate| candidate == place));
        let (place, written) = match (slot, old) {
            (Some(slot), Some((_, true))) => (locked.link_over(slot, new, RemovalCause::Expired), Written::Inserted),
            (Some(slot), _) => (locked.link_over(slot, new, RemovalCause::Replaced), Written::Updated),
            (None, _) => (locked.link_new(new), Written::Inserted),
        };
        locked.aftermath.written = Some(place);
        locked.settle(Some(place));
        locked.expire_due();
        Ok(written)
    }

    /// Takes an entry out, if it is as expected; gives its place, and whether it was alive. O(1).
    pub(crate) fn remove(
        &self,
        context: Context<'_>,
        hash: Hash,
        is_key: impl Fn(&K) -> bool,
        expect: Expect,
        cause: RemovalCause,
        aftermath: &mut Aftermath<K, V>,
    ) -> Option<(u32, bool)> {
        let mut locked = self.lock(context, aftermath);
        if matches!(expect, Expect::Load(load) if !locked.writer.loads.contains(hash, load)) {
            return None;
        }
        let found = locked.find(hash, is_key, expect);
        locked.writer.loads.end_of(hash);
        locked.drain(UPKEEP);
        let slot = found?;
        let node = locked.node(slot.place);
        let alive = !is_expired(node.deadline(), context.now);
        locked.buckets().remove(hash, slot);
        let weight = locked.queue_weight(slot.place);
        locked.writer.queues.remove(slot.place, weight);
        locked.retire(slot.place, node, if alive { cause } else { RemovalCause::Expired });
        if alive && cause == RemovalCause::Replaced {
            // By an entry that was not put in.
            locked.writer.other_counts.removals += 1;
        }
        locked.promptly = true;
        locked.expire_due();
        Some((slot.place, alive))
    }

    /// Sets the time at which a living entry expires, 0 for never. O(1).
    pub(crate) fn touch(
        &self,
        context: Context<'_>,
        hash: Hash,
        is_key: impl Fn(&K) -> bool,
        (deadline, limit): (u64, u64),
        aftermath: &mut Aftermath<K, V>,
    ) -> Result<bool, Need> {
        let mut locked = self.lock(context, aftermath);
        let found = locked.find(hash, is_key, Expect::Anything);
        let Some(Slot { place, .. }) = found else { return Ok(false) };
        if is_expired(locked.node(place).deadline(), context.now) {
            return Ok(false);
        }
        locked.need_links(place, deadline)?;
        locked.node(place).set_deadline(deadline);
        let writer = &mut *locked.writer;
        writer.wheel.schedule(place, deadline, context.now);
        if let Some(limits) = &mut writer.limits {
            limits.set(place, limit);
        }
        // For the memory that its first deadline takes others may have to go.
        locked.aftermath.written = Some(place);
        Ok(true)
    }

    /// What a hit does where it does more than raise the mark.
    #[cold]
    // Not inlined, so that a look-up has no part of its stack for what this may displace.
    #[inline(never)]
    pub(super) fn renew(&self, node: &Node<K, V>, context: Context<'_>) {
        let idle = self.settings.idle;
        let deadline = node.deadline();
        let puts_off = idle != 0 && !is_final(deadline) && deadline.saturating_sub(context.now) < idle - idle / 64;
        if !self.settings.exact && !puts_off {
            return;
        }
        let mut aftermath = Aftermath::new();
        self.renew_in(self.lock(context, &mut aftermath), node, puts_off);
        aftermath.wait_for_all();
    }

    fn renew_in(&self, mut locked: Locked<'_, K, V>, node: &Node<K, V>, puts_off: bool) {
        let (idle, now) = (self.settings.idle, locked.context.now);
        let is_it = |candidate| std::ptr::eq(locked.node(candidate), node);
        let Some(Slot { place, .. }) = locked.buckets().find(node.hash(), is_it) else { return };
        if self.settings.exact {
            locked.writer.queues.renew(place);
        }
        // Others may have put it off, or fixed it, while this hit waited for the lock.
        let deadline = node.deadline();
        if puts_off && !is_final(deadline) {
            let limit = locked.writer.limits.as_ref().map_or(0, |limits| limits.get(place));
            // The wheel finds out when it comes to the old deadline.
            node.set_deadline(idle_deadline(now, idle, limit).max(deadline));
        }
    }

    /// Remembers that a load begins of a key that is absent, or due to be loaded anew; that is due again at the same time
    /// after this as after a write, whatever becomes of the load. `None` where the key is there after all and not due.
    pub(crate) fn begin_load(
        &self,
        context: Context<'_>,
        hash: Hash,
        is_key: impl Fn(&K) -> bool,
        aftermath: &mut Aftermath<K, V>,
    ) -> Option<u64> {
        let mut locked = self.lock(context, aftermath);
        let found = locked.find(hash, is_key, Expect::Anything);
        if let Some(slot) = found.filter(|slot| !is_expired(locked.node(slot.place).deadline(), context.now)) {
            if self.settings.refresh == 0 || context.now < locked.table().due(slot) {
                return None;
            }
            locked.table().set_due(slot, locked.next_due());
        }
        Some(locked.writer.loads.begin(hash))
    }

    /// Whether nothing was written to the key since this load began.
    pub(crate) fn is_loading(&self, hash: Hash, load: u64) -> bool {
        self.writer.lock().loads.contains(hash, load)
    }

    /// Forgets a load that ended without a result.
    pub(crate) fn end_load(&self, context: Context<'_>, hash: Hash, load: u64, aftermath: &mut Aftermath<K, V>) {
        let mut locked = self.lock(context, aftermath);
        locked.writer.loads.end(hash, load);
    }

    /// Forgets the loads of a key: their results are not stored.
    pub(crate) fn end_loads(&self, hash: Hash) {
        self.writer.lock().loads.end_of(hash);
    }

    /// Forgets all loads: their results are not stored.
    pub(crate) fn end_all_loads(&self, context: Context<'_>, aftermath: &mut Aftermath<K, V>) {
        self.lock(context, aftermath).writer.loads.end_all();
    }
}
