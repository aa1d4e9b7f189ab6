//! Numbers as they stand in a line: decimal, with a sign or without, and nothing else.
//!
//! As `strtol` and `strtoull` read them, but that a word must be a number to its end.

/// A number without a sign, or with a plus.
#[inline]
pub(crate) fn unsigned(word: &[u8]) -> Option<u64> {
    let digits = word.strip_prefix(b"+").unwrap_or(word);
    if digits.is_empty() || digits.len() > 20 {
        // Only zeros can make a number of more than twenty digits.
        return long(digits);
    }
    let mut number = 0_u64;
    for byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        number = number.checked_mul(10)?.checked_add(u64::from(digit))?;
    }
    Some(number)
}

#[cold]
fn long(digits: &[u8]) -> Option<u64> {
    let zeros = digits.iter().take_while(|&&byte| byte == b'0').count();
    match &digits[zeros..] {
        [] => (zeros > 0).then_some(0),
        [b'+', ..] => None,
        rest if rest.len() > 20 => None,
        rest => unsigned(rest),
    }
}

/// A number of 64 bits with a sign.
#[inline]
pub(crate) fn signed(word: &[u8]) -> Option<i64> {
    match word.strip_prefix(b"-") {
        None => unsigned(word).and_then(|number| i64::try_from(number).ok()),
        Some(digits) if digits.starts_with(b"+") => None,
        Some(digits) => unsigned(digits).and_then(|number| 0_i64.checked_sub_unsigned(number)),
    }
}

/// A number of 32 bits with a sign.
pub(crate) fn small(word: &[u8]) -> Option<i64> {
    signed(word).filter(|number| i32::try_from(*number).is_ok())
}

/// When an item is to expire. A time that 32 bits can't hold counts as a negative one, as memcached has it.
#[inline]
pub(crate) fn exptime(word: &[u8]) -> Option<i64> {
    signed(word).map(|number| i32::try_from(number).unwrap_or(-1).into())
}

/// Client flags.
#[inline]
pub(crate) fn flags(word: &[u8]) -> Option<u32> {
    unsigned(word).and_then(|number| u32::try_from(number).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_in_front_count_for_nothing_however_many() {
        let zeros = "0".repeat(40);
        let read =
            [("", Some(0)), ("7", Some(7)), ("18446744073709551615", Some(u64::MAX)), ("18446744073709551616", None)];
        for (rest, number) in read {
            assert_eq!(unsigned(format!("{zeros}{rest}").as_bytes()), number, "{rest}");
        }
        for wrong in ["", "+", "++1", "1+", "0+1", " 1", "1 ", "-1"] {
            assert_eq!(unsigned(wrong.as_bytes()), None, "{wrong}");
        }
        assert_eq!(unsigned(format!("{zeros}+1").as_bytes()), None);
        assert_eq!(unsigned("9".repeat(21).as_bytes()), None);
    }
}
