//! Durations as people write them: `200ms`, `5s`, `10m`, `1h`, `2d`; and ranges of them: `200ms..5m`.

use std::time::Duration;

/// One duration; `None` if it is not written so.
pub fn parse(text: &str) -> Option<Duration> {
    let split = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(split);
    let number: u64 = number.parse().ok()?;
    let millis = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    number.checked_mul(millis).map(Duration::from_millis)
}

/// A range, the lower end not above the upper.
pub fn parse_range(text: &str) -> Option<(Duration, Duration)> {
    let (low, high) = text.split_once("..")?;
    let (low, high) = (parse(low.trim())?, parse(high.trim())?);
    (low <= high).then_some((low, high))
}

/// The shortest way to write it with whole numbers of at most two units: `1h 30m`, `2d`, `5s`, `200ms`.
pub fn words(time: Duration) -> String {
    let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let mut left = millis;
    let mut parts = vec![];
    for (unit, size) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)] {
        if left >= size && parts.len() < 2 {
            parts.push(format!("{}{unit}", left / size));
        }
        left %= size;
    }
    if parts.is_empty() { "0s".into() } else { parts.join(" ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_people_write_them() {
        for (text, expected) in [
            ("200ms", Some(200)),
            ("5s", Some(5000)),
            ("10m", Some(600_000)),
            ("2d", Some(172_800_000)),
            ("5", None),
            ("s", None),
            ("-1s", None),
            ("1 s", None),
            ("99999999999999999999s", None),
        ] {
            assert_eq!(parse(text).map(|d| d.as_millis()), expected, "{text}");
        }
        for (millis, expected) in
            [(0, "0s"), (200, "200ms"), (5000, "5s"), (5_400_000, "1h 30m"), (172_800_000, "2d"), (90_061_001, "1d 1h")]
        {
            assert_eq!(words(Duration::from_millis(millis)), expected);
        }
        assert_eq!(parse_range("200ms..5m"), Some((Duration::from_millis(200), Duration::from_secs(300))));
        assert_eq!(parse_range("5m..200ms"), None);
    }
}
