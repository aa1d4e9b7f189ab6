//! What the processor does in an instruction or two and Rust has no safe call for, with what stands in for it elsewhere.
//!
//! Knows bytes and addresses only.

use crate::sync::{AtomicU32, AtomicU64};

/// Asks the processor to fetch what `pointer` leads to; does nothing where Rust has no such call.
#[inline]
pub(crate) fn prefetch<T>(pointer: *const T) {
    #[cfg(target_arch = "x86_64")]
    {
        use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a hint, which never faults; x86-64 always has it.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(pointer.cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = pointer;
}

/// Twelve tags of a byte each, the first in the lowest byte of `low`, and a number beside them: what the processor
/// compares at once. Any thread may store to each part at any time.
#[repr(C, align(16))]
pub(crate) struct Tags {
    pub(crate) low: AtomicU64,
    pub(crate) high: AtomicU32,
    pub(crate) beside: AtomicU32,
}

impl Tags {
    const ALL: u32 = 0xfff;
}

/// The model checker and the interpreter know loads, but not the processor's instructions.
#[cfg(all(target_arch = "x86_64", target_pointer_width = "64", not(any(loom, miri))))]
mod vector {
    use core::arch::asm;
    use core::arch::x86_64::{_mm_movemask_epi8, _mm_set1_epi8};

    use super::Tags;

    impl Tags {
        /// The tags that equal this one, a set bit each. Loads each tag once, with Acquire.
        #[inline]
        pub(crate) fn equal_to(&self, tag: u8) -> u32 {
            // SAFETY: SSE2, which x86-64 always has; no memory is touched.
            let mut equal = unsafe { _mm_set1_epi8(tag as i8) };
            // From memory, where an intrinsic would need both words in registers first: a look-up takes five instructions
            // less.
            //
            // SAFETY: reads the 16 bytes of `self`, which are aligned to as many, and does what the Acquire loads of the
            // other form do. A store changes one tag, so that a word which is read in parts is as good as a whole one; this
            // processor does no load before an earlier one; and as the instruction may touch any memory, for all that is
            // said of it, the compiler moves no other access over it.
            unsafe {
                asm!(
                    "pcmpeqb {equal}, xmmword ptr [{tags}]",
                    equal = inout(xmm_reg) equal,
                    tags = in(reg) self,
                    options(nostack, preserves_flags),
                );
            }
            // SAFETY: as the first.
            let equal = unsafe { _mm_movemask_epi8(equal) };
            equal as u32 & Self::ALL
        }
    }
}

#[cfg(not(all(target_arch = "x86_64", target_pointer_width = "64", not(any(loom, miri)))))]
impl Tags {
    /// The tags that equal this one, a set bit each. Loads each tag once, with Acquire.
    #[inline]
    pub(crate) fn equal_to(&self, tag: u8) -> u32 {
        use crate::sync::Ordering::Acquire;
        words::equal_to(self.low.load(Acquire), self.high.load(Acquire), tag)
    }
}

/// Several bytes at a time in a word, as in "Bit Twiddling Hacks" by Sean Eron Anderson, section "Determine if a word has
/// a zero byte".
#[cfg(any(test, not(all(target_arch = "x86_64", target_pointer_width = "64", not(any(loom, miri))))))]
mod words {
    use super::Tags;

    const LOW_BITS: u64 = 0x0101_0101_0101_0101;
    const HIGH_BITS: u64 = 0x8080_8080_8080_8080;

    /// As [`Tags::equal_to`].
    #[inline]
    pub(crate) fn equal_to(low: u64, high: u32, tag: u8) -> u32 {
        let equal = |word: u64| {
            let difference = word ^ (LOW_BITS * u64::from(tag));
            // Of each byte the top bit, set where any bit is.
            let different = ((difference & !HIGH_BITS) + !HIGH_BITS) | difference;
            !different & HIGH_BITS
        };
        // One bit of each byte, moved together by the product's carries, which never meet.
        let gather = |word: u64| (word >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56;
        (gather(equal(low)) | gather(equal(u64::from(high))) << 8) as u32 & Tags::ALL
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn bytes(low: u64, high: u32) -> impl Iterator<Item = u8> {
        low.to_le_bytes().into_iter().chain(high.to_le_bytes())
    }

    fn bits(bytes: impl Iterator<Item = bool>) -> u32 {
        bytes.enumerate().map(|(at, set)| u32::from(set) << at).sum()
    }

    #[test]
    fn both_forms_find_the_tags_that_are_there() {
        let mut state = 1_u64;
        let mut next = || {
            state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
            // Few different bytes, so that many are equal.
            (state >> 32 ^ state << 32) & 0x8103_8103_8103_8103
        };
        for _ in 0..10_000 {
            let (low, high, beside) = (next(), next() as u32, next() as u32);
            let tags = Tags { low: AtomicU64::new(low), high: AtomicU32::new(high), beside: AtomicU32::new(beside) };
            for tag in [0, next() as u8, (next() >> 8) as u8] {
                let equal = bits(bytes(low, high).map(|byte| byte == tag));
                assert_eq!(tags.equal_to(tag), equal);
                assert_eq!(words::equal_to(low, high, tag), equal);
            }
        }
    }
}
