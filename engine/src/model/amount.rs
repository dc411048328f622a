//! Amounts as people write them: `512M`, `4G`, `150%`.

/// Bytes: a whole number and one of `K`, `M`, `G`, `T`, powers of 1024.
pub fn bytes(text: &str) -> Option<u64> {
    let text = text.trim();
    let shift = match text.chars().last()?.to_ascii_uppercase() {
        'K' => 10,
        'M' => 20,
        'G' => 30,
        'T' => 40,
        _ => return None,
    };
    let digits = &text[..text.len() - 1];
    let number: u64 = if digits.bytes().all(|b| b.is_ascii_digit()) { digits.parse().ok()? } else { return None };
    number.checked_mul(1 << shift).filter(|n| *n > 0)
}

/// Percent of one processor: a whole number and `%`.
pub fn percent(text: &str) -> Option<u32> {
    let digits = text.trim().strip_suffix('%')?;
    let number = if digits.bytes().all(|b| b.is_ascii_digit()) { digits.parse().ok()? } else { return None };
    (1..=PERCENT_MAX).contains(&number).then_some(number)
}

/// More processors than any machine has.
const PERCENT_MAX: u32 = 1_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_write() {
        for (text, expected) in [
            ("512M", Some(512 << 20)),
            ("4g", Some(4 << 30)),
            (" 1T", Some(1 << 40)),
            ("4", None),
            ("0G", None),
            ("-1G", None),
            ("é", None),
            ("", None),
        ] {
            assert_eq!(bytes(text), expected, "{text:?}");
        }
        assert_eq!(bytes("99999999999999999T"), None);
        for (text, expected) in [("150%", Some(150)), ("0%", None), ("1.5%", None), ("150", None), ("+5%", None), ("%", None)] {
            assert_eq!(percent(text), expected, "{text:?}");
        }
    }
}
