//! What the processor does in an instruction or two and Rust has no safe call for, with what stands in for it elsewhere.
//!
//! Knows bytes and addresses only.

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

#[cfg(target_arch = "x86_64")]
mod tags {
    use core::arch::x86_64::{__m128i, _mm_cmpeq_epi8, _mm_movemask_epi8, _mm_set_epi64x, _mm_set1_epi8};

    #[inline]
    fn vector(low: u64, high: u64) -> __m128i {
        // SAFETY: SSE2, here and below, which x86-64 always has; no memory is touched.
        unsafe { _mm_set_epi64x(high as i64, low as i64) }
    }

    /// Of the twelve bytes of `low` and the lower half of `high` those that equal `tag`, a set bit each.
    #[inline]
    pub(crate) fn tags_equal_to(low: u64, high: u64, tag: u8) -> u32 {
        // SAFETY: as above.
        let equal = unsafe { _mm_movemask_epi8(_mm_cmpeq_epi8(vector(low, high), _mm_set1_epi8(tag as i8))) };
        equal as u32 & 0xfff
    }
}

/// Several bytes at a time in a word, as in "Bit Twiddling Hacks" by Sean Eron Anderson, section "Determine if a word has
/// a zero byte".
#[cfg(any(test, not(target_arch = "x86_64")))]
mod words {
    const LOW_BITS: u64 = 0x0101_0101_0101_0101;
    const HIGH_BITS: u64 = 0x8080_8080_8080_8080;

    /// As the vector form.
    #[inline]
    pub(crate) fn tags_equal_to(low: u64, high: u64, tag: u8) -> u32 {
        let equal = |word: u64| {
            let difference = word ^ (LOW_BITS * u64::from(tag));
            // Of each byte the top bit, set where any bit is.
            let different = ((difference & !HIGH_BITS) + !HIGH_BITS) | difference;
            !different & HIGH_BITS
        };
        // One bit of each byte, moved together by the product's carries, which never meet.
        let gather = |word: u64| (word >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56;
        (gather(equal(low)) | gather(equal(high) & 0xffff_ffff) << 8) as u32
    }
}

#[cfg(target_arch = "x86_64")]
pub(crate) use tags::tags_equal_to;
#[cfg(not(target_arch = "x86_64"))]
pub(crate) use words::tags_equal_to;

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(low: u64, high: u64) -> impl Iterator<Item = u8> {
        low.to_le_bytes().into_iter().chain(high.to_le_bytes().into_iter().take(4))
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
            let (low, high) = (next(), next());
            for tag in [0, next() as u8, (next() >> 8) as u8] {
                let equal = bits(bytes(low, high).map(|byte| byte == tag));
                assert_eq!(tags_equal_to(low, high, tag), equal);
                assert_eq!(words::tags_equal_to(low, high, tag), equal);
            }
        }
    }
}
