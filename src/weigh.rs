//! What keys and values weigh: the memory behind them, in bytes.
//!
//! Knows the standard library's types and how they allocate. Must not know the cache: what an entry
//! costs besides its key and value is added elsewhere.

use std::borrow::Cow;
use std::cmp::{Ordering, Reverse};
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap, HashSet, VecDeque};
use std::convert::Infallible;
use std::ffi::{CStr, CString, OsStr, OsString};
use std::marker::PhantomData;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::num::{
    NonZeroI8, NonZeroI16, NonZeroI32, NonZeroI64, NonZeroI128, NonZeroIsize, NonZeroU8, NonZeroU16, NonZeroU32,
    NonZeroU64, NonZeroU128, NonZeroUsize, Saturating, Wrapping,
};
use std::ops::{Bound, Range, RangeFrom, RangeFull, RangeInclusive, RangeTo, RangeToInclusive};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{
    AtomicBool, AtomicI8, AtomicI16, AtomicI32, AtomicIsize, AtomicU8, AtomicU16, AtomicU32, AtomicUsize,
};
#[cfg(target_has_atomic = "64")]
use std::sync::atomic::{AtomicI64, AtomicU64};
use std::time::{Duration, Instant, SystemTime};

/// The bytes that a key or value holds beyond its own `size_of`.
///
/// That is the heap memory which goes away when the value is dropped, as it was asked of the
/// allocator: capacities count, not lengths. A type that holds no memory elsewhere weighs 0; its
/// own size is known without asking. A cache that is limited in bytes weighs an entry once, when it
/// is inserted, before any lock is taken.
///
/// The trait is implemented for most of the standard library's types. Cells and locks are left out:
/// what they hold may change while it is in the cache, and its weight would not. Types that only
/// refer to memory weigh 0 as well: `&T`, [`PhantomData`].
///
/// # Examples
///
/// ```
/// use larder::Weigh;
///
/// assert_eq!(7_u64.weigh(), 0);
/// assert_eq!("borrowed".weigh(), 0);
/// assert_eq!(String::from("owned").weigh(), 5);
/// assert_eq!(Vec::<u16>::with_capacity(100).weigh(), 200);
///
/// let pair = vec![String::from("ab"), String::from("cde")];
/// assert_eq!(pair.weigh(), 2 * size_of::<String>() as u64 + 2 + 3);
/// ```
///
/// A struct weighs what its fields weigh:
///
/// ```
/// use larder::Weigh;
///
/// struct Page {
///     url: String,
///     body: Vec<u8>,
///     status: u16,
/// }
///
/// impl Weigh for Page {
///     fn weigh(&self) -> u64 {
///         self.url.weigh() + self.body.weigh()
///     }
/// }
/// ```
///
/// One that never holds memory elsewhere says so, and a collection of them need not look at each:
///
/// ```
/// use larder::Weigh;
///
/// #[derive(Clone, Copy)]
/// struct Point(f32, f32);
///
/// impl Weigh for Point {
///     fn weigh(&self) -> u64 {
///         0
///     }
///
///     fn is_inline() -> bool {
///         true
///     }
/// }
///
/// // O(1), as is any slice, vector or map of numbers.
/// assert_eq!(vec![Point(0.0, 0.0); 1_000].weigh(), 8_000);
/// ```
#[diagnostic::on_unimplemented(
    message = "the weight of `{Self}` in bytes is not known",
    note = "implement `larder::Weigh` for it, or give the cache's builder a `weigher`"
)]
pub trait Weigh {
    /// The bytes held beyond `size_of::<Self>()`, or beyond `size_of_val(self)` for unsized types.
    ///
    /// Must not change while the value is in a cache.
    fn weigh(&self) -> u64;

    /// Whether [`weigh`](Weigh::weigh) is 0 for every value of the type.
    ///
    /// A collection of such elements is weighed by its capacity alone, in O(1). `false` is always
    /// correct, and what it is unless you implement it.
    fn is_inline() -> bool
    where
        Self: Sized,
    {
        false
    }
}

/// What the items hold, added up; the items' own size is the caller's to count.
fn weigh_all<'a, T: Weigh + 'a>(items: impl IntoIterator<Item = &'a T>) -> u64 {
    if T::is_inline() {
        return 0;
    }
    let weights = items.into_iter().map(Weigh::weigh);
    weights.fold(0, u64::saturating_add)
}

/// A buffer of so many `T`. Neither factor is large, or the buffer could not be there.
fn buffer<T>(capacity: usize) -> u64 {
    capacity as u64 * size_of::<T>() as u64
}

/// Types that hold no memory elsewhere.
macro_rules! inline {
    ($($type:ty),* $(,)?) => {$(
        impl Weigh for $type {
            fn weigh(&self) -> u64 {
                0
            }

            fn is_inline() -> bool {
                true
            }
        }
    )*};
}

inline!((), bool, char, f32, f64, Ordering, RangeFull, Infallible);
inline!(u8, u16, u32, u64, u128, usize, i8, i16, i32, i64, i128, isize);
inline!(NonZeroU8, NonZeroU16, NonZeroU32, NonZeroU64, NonZeroU128, NonZeroUsize);
inline!(NonZeroI8, NonZeroI16, NonZeroI32, NonZeroI64, NonZeroI128, NonZeroIsize);
inline!(AtomicBool, AtomicU8, AtomicU16, AtomicU32, AtomicUsize);
inline!(AtomicI8, AtomicI16, AtomicI32, AtomicIsize);
#[cfg(target_has_atomic = "64")]
inline!(AtomicU64, AtomicI64);
inline!(Duration, Instant, SystemTime);
inline!(IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6);

/// What it points to is someone else's.
impl<T: ?Sized> Weigh for &T {
    fn weigh(&self) -> u64 {
        0
    }

    fn is_inline() -> bool {
        true
    }
}

impl<T: ?Sized> Weigh for PhantomData<T> {
    fn weigh(&self) -> u64 {
        0
    }

    fn is_inline() -> bool {
        true
    }
}

/// Types that hold what their fields hold: the pattern, and the fields that it binds.
macro_rules! fields {
    ($($type:ident<$($param:ident),+> { $($pattern:pat => [$($field:ident),*]),+ $(,)? })*) => {$(
        impl<$($param: Weigh),+> Weigh for $type<$($param),+> {
            fn weigh(&self) -> u64 {
                match self {
                    $($pattern => 0_u64 $(.saturating_add($field.weigh()))*),+
                }
            }

            fn is_inline() -> bool {
                $($param::is_inline())&&+
            }
        }
    )*};
}

fields! {
    Option<T> { Some(value) => [value], None => [] }
    Result<T, E> { Ok(value) => [value], Err(error) => [error] }
    Bound<T> {
        Bound::Included(end) => [end], Bound::Excluded(end) => [end], Bound::Unbounded => []
    }
    Range<T> { Range { start, end } => [start, end] }
    RangeFrom<T> { RangeFrom { start } => [start] }
    RangeTo<T> { RangeTo { end } => [end] }
    RangeToInclusive<T> { RangeToInclusive { end } => [end] }
    Wrapping<T> { Wrapping(value) => [value] }
    Saturating<T> { Saturating(value) => [value] }
    Reverse<T> { Reverse(value) => [value] }
}

impl<T: Weigh> Weigh for RangeInclusive<T> {
    fn weigh(&self) -> u64 {
        self.start().weigh().saturating_add(self.end().weigh())
    }

    fn is_inline() -> bool {
        T::is_inline()
    }
}

/// Tuples, from the number of names given down to one.
macro_rules! tuples {
    () => {};
    ($first:ident $($rest:ident)*) => {
        impl<$first: Weigh, $($rest: Weigh),*> Weigh for ($first, $($rest,)*) {
            #[allow(non_snake_case)]
            fn weigh(&self) -> u64 {
                let ($first, $($rest,)*) = self;
                $first.weigh()$(.saturating_add($rest.weigh()))*
            }

            fn is_inline() -> bool {
                $first::is_inline() $(&& $rest::is_inline())*
            }
        }

        tuples!($($rest)*);
    };
}

tuples!(A B C D E F G H I J K L);

/// O(length) unless the elements are [inline](Weigh::is_inline).
impl<T: Weigh, const N: usize> Weigh for [T; N] {
    fn weigh(&self) -> u64 {
        weigh_all(self)
    }

    fn is_inline() -> bool {
        N == 0 || T::is_inline()
    }
}

/// O(length) unless the elements are [inline](Weigh::is_inline).
impl<T: Weigh> Weigh for [T] {
    fn weigh(&self) -> u64 {
        weigh_all(self)
    }
}

/// Unsized text: the bytes are its own size.
macro_rules! text {
    ($($type:ty),*) => {$(
        impl Weigh for $type {
            fn weigh(&self) -> u64 {
                0
            }
        }
    )*};
}

text!(str, OsStr, CStr, Path);

/// Owned text: a buffer of bytes.
macro_rules! owned_text {
    ($($type:ty => |$text:ident| $bytes:expr),* $(,)?) => {$(
        impl Weigh for $type {
            fn weigh(&self) -> u64 {
                let $text = self;
                $bytes as u64
            }
        }
    )*};
}

owned_text! {
    String => |text| text.capacity(),
    OsString => |text| text.capacity(),
    PathBuf => |path| path.capacity(),
    CString => |text| text.as_bytes_with_nul().len(),
}

/// What is boxed, and what that holds.
impl<T: Weigh + ?Sized> Weigh for Box<T> {
    fn weigh(&self) -> u64 {
        (size_of_val::<T>(self) as u64).saturating_add((**self).weigh())
    }
}

/// What is shared, the two counters before it, and what it holds.
///
/// Shared memory is charged to each of its holders: a cache cannot know who else has it, and it
/// does not go away before the last of them.
impl<T: Weigh + ?Sized> Weigh for Arc<T> {
    fn weigh(&self) -> u64 {
        counted::<T>(self).saturating_add((**self).weigh())
    }
}

/// As for [`Arc`]: charged to each holder.
impl<T: Weigh + ?Sized> Weigh for Rc<T> {
    fn weigh(&self) -> u64 {
        counted::<T>(self).saturating_add((**self).weigh())
    }
}

/// The size of a value with two counters before it, as `Arc` and `Rc` allocate them.
fn counted<T: ?Sized>(value: &T) -> u64 {
    let align = align_of_val(value).max(align_of::<usize>());
    let offset = (2 * size_of::<usize>()).next_multiple_of(align_of_val(value));
    (offset + size_of_val(value)).next_multiple_of(align) as u64
}

/// 0 if borrowed.
impl<T: ToOwned<Owned: Weigh> + ?Sized> Weigh for Cow<'_, T> {
    fn weigh(&self) -> u64 {
        match self {
            Cow::Borrowed(_) => 0,
            Cow::Owned(owned) => owned.weigh(),
        }
    }

    fn is_inline() -> bool {
        T::Owned::is_inline()
    }
}

/// O(length) unless the elements are [inline](Weigh::is_inline).
impl<T: Weigh> Weigh for Vec<T> {
    fn weigh(&self) -> u64 {
        buffer::<T>(self.capacity()).saturating_add(weigh_all(self))
    }
}

/// O(length) unless the elements are [inline](Weigh::is_inline).
impl<T: Weigh> Weigh for VecDeque<T> {
    fn weigh(&self) -> u64 {
        buffer::<T>(self.capacity()).saturating_add(weigh_all(self))
    }
}

/// O(length) unless the elements are [inline](Weigh::is_inline).
impl<T: Weigh> Weigh for BinaryHeap<T> {
    fn weigh(&self) -> u64 {
        buffer::<T>(self.capacity()).saturating_add(weigh_all(self))
    }
}

/// The table is worked out from the capacity, which is exact unless many keys were removed: then
/// the capacity may not show how large the table is. The hasher is taken to hold nothing. O(length)
/// unless keys and values are [inline](Weigh::is_inline).
impl<K: Weigh, V: Weigh, S> Weigh for HashMap<K, V, S> {
    fn weigh(&self) -> u64 {
        let held = weigh_all(self.keys()).saturating_add(weigh_all(self.values()));
        table::<(K, V)>(self.capacity()).saturating_add(held)
    }
}

/// As for [`HashMap`].
impl<T: Weigh, S> Weigh for HashSet<T, S> {
    fn weigh(&self) -> u64 {
        table::<T>(self.capacity()).saturating_add(weigh_all(self))
    }
}

/// The nodes are estimated from the length, see [`BTreeSet`]. O(length) unless keys and values are
/// [inline](Weigh::is_inline).
impl<K: Weigh, V: Weigh> Weigh for BTreeMap<K, V> {
    fn weigh(&self) -> u64 {
        let held = weigh_all(self.keys()).saturating_add(weigh_all(self.values()));
        tree::<K, V>(self.len()).saturating_add(held)
    }
}

/// The nodes are estimated from the length: exactly what inserts in ascending order allocate, which
/// is up to two fifths more than in another order. Removals leave nodes emptier than that, and then
/// it may be too little. O(length) unless the elements are [inline](Weigh::is_inline).
impl<T: Weigh> Weigh for BTreeSet<T> {
    fn weigh(&self) -> u64 {
        tree::<T, ()>(self.len()).saturating_add(weigh_all(self))
    }
}

/// A hash table: a power of two of buckets, of which seven in eight may be used, and a control byte
/// for each bucket and for one more group of them.
fn table<T>(capacity: usize) -> u64 {
    /// The buckets that are probed at once.
    const GROUP: usize = if cfg!(target_feature = "sse2") { 16 } else { 8 };
    if capacity == 0 {
        return 0;
    }
    let buckets = (capacity * 8).div_ceil(7).next_power_of_two().max(4);
    buffer::<T>(buckets).next_multiple_of(GROUP as u64) + (buckets + GROUP) as u64
}

/// The nodes of a B-tree. Each has room for eleven elements, its parent and two counters; those
/// that are not leaves have up to twelve children besides.
///
/// Ascending inserts split the last node of a level when it overflows, and leave six of its
/// elements behind and one above: each further node of a level stands for seven elements or
/// children.
fn tree<K, V>(len: usize) -> u64 {
    const ROOM: usize = 11;
    let leaf = size_of::<([K; ROOM], [V; ROOM], usize, u16, u16)>() as u64;
    let inner = leaf + buffer::<usize>(ROOM + 1);
    if len == 0 {
        return 0;
    }
    let mut nodes = ((len + 2) / 7).max(1);
    let mut bytes = nodes as u64 * leaf;
    while nodes > 1 {
        nodes = ((nodes + 1) / 7).max(1);
        bytes += nodes as u64 * inner;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Weighs what it says.
    #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
    struct Load(u64);

    impl Weigh for Load {
        fn weigh(&self) -> u64 {
            self.0
        }
    }

    /// Inline, and must not be asked.
    #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
    struct Unasked;

    impl Weigh for Unasked {
        fn weigh(&self) -> u64 {
            panic!("an inline element was weighed");
        }

        fn is_inline() -> bool {
            true
        }
    }

    #[test]
    fn fields_are_added_up() {
        assert_eq!((Load(1), Load(2), Load(4)).weigh(), 7);
        assert_eq!([Load(1), Load(2)].weigh(), 3);
        assert_eq!((Some(Load(3)), None::<Load>).weigh(), 3);
        assert_eq!((Ok::<_, Load>(Load(1)), Err::<Load, _>(Load(2))).weigh(), 3);
        assert_eq!((Load(1)..Load(2), Load(4)..=Load(8), ..Load(16)).weigh(), 31);
        assert_eq!((Wrapping(Load(1)), Reverse(Load(2)), Bound::Included(Load(4))).weigh(), 7);
        let twelve = (Load(1), 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, Load(12));
        assert_eq!(twelve.weigh(), 13);
    }

    #[test]
    fn what_is_not_owned_weighs_nothing() {
        let text = String::from("long enough");
        assert_eq!(<&String>::weigh(&&text), 0);
        assert_eq!(Cow::Borrowed(text.as_str()).weigh(), 0);
        assert_eq!(Cow::<str>::Owned(text.clone()).weigh(), 11);
        assert_eq!(PhantomData::<String>.weigh(), 0);
    }

    #[test]
    fn inline_elements_are_not_asked() {
        assert_eq!(vec![Unasked; 9].weigh(), 0);
        assert_eq!([const { Unasked }; 9].weigh(), 0);
        assert_eq!(Box::<[Unasked]>::from(vec![Unasked; 9]).weigh(), 0);
        Arc::<[Unasked]>::from(vec![Unasked; 9]).weigh();
        assert_eq!(vec![(Unasked, 1_u32); 9].weigh(), 36);
        assert_eq!(vec![[Some(Unasked), None]; 9].weigh(), 9 * 2);
        VecDeque::from([Unasked]).weigh();
        BinaryHeap::from([Unasked]).weigh();
        HashMap::from([(Unasked, Unasked)]).weigh();
        HashSet::from([Unasked]).weigh();
        BTreeMap::from([(Unasked, Unasked)]).weigh();
        BTreeSet::from([Unasked]).weigh();
    }

    #[test]
    fn a_type_is_inline_if_all_its_fields_are() {
        assert!(<(u8, Option<[Duration; 4]>, &String)>::is_inline());
        assert!(<Result<(), Range<u64>>>::is_inline());
        assert!(<[String; 0]>::is_inline());
        assert!(!<(u8, String)>::is_inline());
        assert!(!<Result<u8, Box<u8>>>::is_inline());
        assert!(!<Cow<'static, str>>::is_inline());
        assert!(!<Option<Arc<u8>>>::is_inline());
    }

    #[test]
    fn maps_weigh_keys_and_values() {
        let pairs = || (0..100).map(|key| (Load(key), Load(1000)));
        let held = 99 * 100 / 2 + 100 * 1000;
        let ordered: BTreeMap<_, _> = pairs().collect();
        assert_eq!(ordered.weigh(), tree::<Load, Load>(100) + held);
        let hashed: HashMap<_, _> = pairs().collect();
        assert_eq!(hashed.weigh(), table::<(Load, Load)>(hashed.capacity()) + held);
    }

    #[test]
    fn trait_objects_can_be_weighed() {
        let values: Vec<Arc<dyn Weigh>> = vec![Arc::new(String::from("text")), Arc::new(1_u8)];
        let word = size_of::<usize>() as u64;
        assert_eq!(values.weigh(), 4 * word + (2 + 3) * word + 4 + (2 + 1) * word);
    }

    #[test]
    fn the_sum_stays_at_its_maximum() {
        let heavy = vec![Load(u64::MAX), Load(1)];
        assert_eq!(heavy.weigh(), u64::MAX);
        assert_eq!((Box::new(heavy), Load(1)).weigh(), u64::MAX);
    }
}
