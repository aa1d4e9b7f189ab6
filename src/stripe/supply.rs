//! Memory that a write needs and that is allocated outside of the lock.
//!
//! A write that finds it needs memory gives up with a [`Need`]; its caller, who holds no lock,
//! allocates the [`Supply`], hands it in, and writes again.

use super::ghosts::GhostBucket;
use super::index::Table;
use super::queues::{Queue, Queues, Want};
use super::slab::Chunk;
use super::wheel::Link;

/// Why a write could not go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// Nodes, with the columns beside them.
    Chunk { len: u32, columns: Columns },
    /// A larger table, for so many entries, with or without times beside the slots.
    Table { entries: usize, dues: bool },
    /// Longer queues.
    Queues(Want),
    /// Links of the wheel, for the places of a chunk that was added before any deadline was used.
    Links { chunk: u32, len: u32 },
    /// A free place: there is no budget for another chunk, but some places have been retired and
    /// are free as soon as their readers have left.
    Places,
}

/// Which columns a stripe keeps beside its nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Columns {
    pub(crate) weights: bool,
    pub(crate) links: bool,
    pub(crate) limits: bool,
}

impl Columns {
    /// Bytes of all columns for one place; the position in the queue is always there.
    pub(crate) fn bytes_per_place(self) -> u64 {
        let weights = if self.weights { 4 } else { 0 };
        let links = if self.links { size_of::<Link>() as u64 } else { 0 };
        let limits = if self.limits { 8 } else { 0 };
        4 + weights + links + limits
    }

    /// The lists of their chunks take so many bytes for each.
    pub(crate) fn list_bytes_per_chunk(self) -> u64 {
        // An entry may get a deadline, and with it a link, at any time.
        let columns = 2 + u64::from(self.weights) + u64::from(self.limits);
        columns * size_of::<Box<[u32]>>() as u64
    }
}

/// What was allocated for a [`Need`], and, when a stripe has taken its part, what is left to free.
pub(crate) enum Supply<K, V> {
    Chunk {
        chunk: Chunk<K, V>,
        positions: Box<[u32]>,
        weights: Option<Box<[u32]>>,
        links: Option<Box<[Link]>>,
        limits: Option<Box<[u64]>>,
    },
    Table(Box<Table>),
    Ring(Queue, Box<[u32]>),
    Ghosts(Box<[GhostBucket]>),
    Links(u32, Box<[Link]>),
}

impl<K, V> Supply<K, V> {
    /// Allocates what is needed; `None` for [`Need::Places`], which no allocation helps.
    pub(crate) fn allocate(need: Need) -> Option<Self> {
        Some(match need {
            Need::Chunk { len, columns } => {
                let places = len as usize;
                Self::Chunk {
                    chunk: Chunk::new(len),
                    positions: vec![0; places].into(),
                    weights: columns.weights.then(|| vec![0; places].into()),
                    links: columns.links.then(|| vec![Link::default(); places].into()),
                    limits: columns.limits.then(|| vec![0; places].into()),
                }
            }
            Need::Table { entries, dues } => Self::Table(Box::new(Table::for_entries(entries, dues))),
            Need::Queues(Want::Ring(queue, slots)) => Self::Ring(queue, Queues::new_ring(slots)),
            Need::Queues(Want::Ghosts(ghosts)) => Self::Ghosts(Queues::new_ghosts(ghosts)),
            Need::Links { chunk, len } => Self::Links(chunk, vec![Link::default(); len as usize].into()),
            Need::Places => return None,
        })
    }
}
