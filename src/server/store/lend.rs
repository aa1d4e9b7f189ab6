//! Items lent for longer than a call, so that large values can be sent from where they lie.

use std::fmt;

use super::block::Block;
use crate::Ref;
use crate::stripe::{Node, Stripe};
use crate::sync::Pin;

/// An item that a look-up found, which may be [taken](Loan::take) on loan for as long as the look-up goes on: whatever
/// became of it since it was found, a touch that ended its time and a deletion by somebody else among it.
#[derive(Clone, Copy)]
pub(crate) struct Loan<'c, 'p> {
    pub(super) stripe: &'c Stripe<Block, ()>,
    /// Found under the pin, in this stripe.
    pub(super) node: &'p Node<Block, ()>,
    pub(super) pin: &'p Pin,
}

impl<'c> Loan<'c, '_> {
    /// Takes it.
    pub(crate) fn take(self) -> Lent<'c> {
        Lent { item: Ref::new(self.stripe.hold(self.node, self.pin), ()) }
    }
}

/// An item on loan: it may be replaced, removed or evicted meanwhile, and its memory stays.
pub(crate) struct Lent<'c> {
    item: Ref<'c, Block, ()>,
}

impl Lent<'_> {
    /// The value.
    #[inline]
    pub(crate) fn value(&self) -> &[u8] {
        self.item.key().parts().value
    }
}

impl fmt::Debug for Lent<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lent").field("len", &self.value().len()).finish_non_exhaustive()
    }
}
