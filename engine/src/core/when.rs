//! Times as programs write them for people: `3pm`, `15:30 (Europe/Berlin)`, `3:05 PM GMT+1`, `Nov 23, 5am`, `Nov 23rd, 2026 3:05 PM`, `2 hours 5 minutes`, `1763740800`, RFC 3339.

use std::time::Duration;

use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan, Zoned};

/// The next time that these words mean, seen from `now`; none where they are not understood.
pub fn next(words: &str, now: &Zoned) -> Option<Timestamp> {
    let words = words.trim().trim_end_matches(['.', '!', ',']);
    if let Ok(exact) = words.parse::<Timestamp>() {
        return Some(exact);
    }
    if words.len() == 10
        && let Ok(seconds) = words.parse::<i64>()
    {
        return Timestamp::from_second(seconds).ok();
    }
    if let Some(span) = span(words) {
        return now.timestamp().checked_add(jiff::SignedDuration::try_from(span).ok()?).ok();
    }
    clock(words, now)
}

/// `2h`, `1 day 3 hours`, `in 5 minutes and 2 seconds`.
fn span(words: &str) -> Option<Duration> {
    let mut left = words.strip_prefix("in ").unwrap_or(words).trim_start();
    let mut seconds: u64 = 0;
    while !left.is_empty() {
        let digits = left.find(|c: char| !c.is_ascii_digit())?;
        let number: u64 = left[..digits].parse().ok()?;
        let rest = left[digits..].trim_start();
        let letters = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
        let unit = match rest[..letters].to_ascii_lowercase().as_str() {
            "s" | "sec" | "secs" | "second" | "seconds" => 1,
            "m" | "min" | "mins" | "minute" | "minutes" => 60,
            "h" | "hr" | "hrs" | "hour" | "hours" => 3600,
            "d" | "day" | "days" => 86_400,
            _ => return None,
        };
        seconds = seconds.checked_add(number.checked_mul(unit)?)?;
        left = rest[letters..].trim_start_matches([' ', ',']);
        left = left.strip_prefix("and ").unwrap_or(left);
    }
    (!words.is_empty()).then_some(Duration::from_secs(seconds))
}

/// A time of day, maybe with a date before and a zone in parentheses after it.
fn clock(words: &str, now: &Zoned) -> Option<Timestamp> {
    let (words, zone) = match words.split_once('(') {
        Some((words, zone)) => (words.trim(), TimeZone::get(zone.trim_end_matches([')', ' '])).ok()?),
        None => (words, now.time_zone().clone()),
    };
    let mut parts: Vec<&str> = words.split([' ', ',', '\n', '\r']).filter(|w| !w.is_empty() && *w != "at").collect();
    let named = parts.pop_if(|w| is_zone(w)).and_then(offset);
    let zone = named.unwrap_or(zone);
    let here = now.with_time_zone(zone.clone());
    let (date, time) = match parts.as_slice() {
        [month, day, time @ ..] if month.starts_with(|c: char| c.is_ascii_alphabetic()) => {
            let day = ["st", "nd", "rd", "th"].iter().find_map(|end| day.strip_suffix(end)).unwrap_or(day);
            let (month, day) = (month_of(month)?, day.parse().ok()?);
            let (named, time) = match time {
                [year, time @ ..] if year.len() == 4 && year.bytes().all(|b| b.is_ascii_digit()) => (year.parse().ok(), time),
                time => (None, time),
            };
            let this_year = Date::new(here.year(), month, day).ok()?;
            // Long past: next year is meant.
            let year = if this_year < here.date().checked_sub(180.days()).ok()? { here.year() + 1 } else { here.year() };
            (
                Some(Date::new(named.unwrap_or(year), month, day).ok()?),
                if time.is_empty() { Time::midnight() } else { time_of(&time.concat())? },
            )
        }
        time => (None, time_of(&time.concat())?),
    };
    let at = |date: Date| date.to_datetime(time).to_zoned(zone.clone()).ok();
    let found = match date {
        Some(date) => at(date)?,
        None => at(here.date()).filter(|t| t.timestamp() > here.timestamp()).or_else(|| at(here.date().tomorrow().ok()?))?,
    };
    Some(found.timestamp())
}

/// The short name of a zone after a time, such as `CET` or `GMT+1`.
fn is_zone(word: &str) -> bool {
    let letters = word.trim_end_matches(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | ':'));
    (3..=5).contains(&letters.len()) && letters.bytes().all(|b| b.is_ascii_uppercase())
}

/// What a zone's name says of its distance from UTC. Of others nothing is certain; a program that names one means the user's own.
fn offset(zone: &str) -> Option<TimeZone> {
    let rest = zone.strip_prefix("GMT").or_else(|| zone.strip_prefix("UTC"))?;
    let (hours, minutes) = rest.split_once(':').unwrap_or((rest, "0"));
    let hours: i32 = if hours.is_empty() { 0 } else { hours.parse().ok()? };
    let minutes: i32 = minutes.parse().ok()?;
    let seconds = hours * 3600 + if rest.starts_with('-') { -minutes } else { minutes } * 60;
    jiff::tz::Offset::from_seconds(seconds).ok().map(TimeZone::fixed)
}

fn month_of(word: &str) -> Option<i8> {
    let start = word.get(..3)?.to_ascii_lowercase();
    let names = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
    names.iter().position(|n| *n == start).map(|i| i as i8 + 1)
}

/// `3pm`, `3:05 PM`, `15:05`.
fn time_of(word: &str) -> Option<Time> {
    let word = word.to_ascii_lowercase();
    let half = [("am", 0), ("pm", 12)].iter().find_map(|(end, plus)| Some((word.strip_suffix(end)?, *plus)));
    let (digits, half) = half.map_or((word.as_str(), None), |(digits, plus)| (digits, Some(plus)));
    let mut numbers = digits.split(':');
    let hour: i8 = numbers.next()?.parse().ok()?;
    let minute: i8 = match numbers.next() {
        Some(minute) => minute.parse().ok()?,
        // A bare number is no time.
        None => half.map(|_| 0)?,
    };
    let hour = match half {
        Some(plus) if (1..=12).contains(&hour) => hour % 12 + plus,
        Some(_) => return None,
        None => hour,
    };
    Time::new(hour, minute, 0, 0).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_programs_say() {
        let now = "2026-11-21T14:00:00Z".parse::<Timestamp>().unwrap().to_zoned(TimeZone::UTC);
        // Not every machine knows the world's zones.
        let new_york = TimeZone::get("America/New_York").is_ok().then_some("2026-11-21T21:00:00Z");
        for (words, expected) in [
            ("3pm", Some("2026-11-21T15:00:00Z")),
            ("3:05 PM.", Some("2026-11-21T15:05:00Z")),
            ("2pm", Some("2026-11-22T14:00:00Z")),
            ("12am", Some("2026-11-22T00:00:00Z")),
            ("15:30", Some("2026-11-21T15:30:00Z")),
            ("4pm (America/New_York)", new_york),
            ("4pm (Nowhere/At_All)", None),
            ("Nov 23, 5am", Some("2026-11-23T05:00:00Z")),
            ("Jan 2 at 17:00", Some("2027-01-02T17:00:00Z")),
            ("Nov 23rd, 2026 3:05 PM", Some("2026-11-23T15:05:00Z")),
            ("Jan 1st,\n  2027 12:30 AM", Some("2027-01-01T00:30:00Z")),
            ("3:05 PM GMT+1", Some("2026-11-21T14:05:00Z")),
            ("16:00 UTC-3:30", Some("2026-11-21T19:30:00Z")),
            ("3:05 PM CET", Some("2026-11-21T15:05:00Z")),
            ("2 hours 5 minutes", Some("2026-11-21T16:05:00Z")),
            ("in 1 day, 3 hours and 2 minutes", Some("2026-11-22T17:02:00Z")),
            ("90m", Some("2026-11-21T15:30:00Z")),
            ("1795273200", Some("2026-11-21T15:00:00Z")),
            ("2026-11-21T18:00:00+01:00", Some("2026-11-21T17:00:00Z")),
            ("soon", None),
            ("25:00", None),
            ("13pm", None),
            ("7", None),
            ("", None),
            ("99999999999999999999 days", None),
        ] {
            assert_eq!(next(words, &now), expected.map(|t| t.parse().unwrap()), "{words:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_words_make_it_panic(words in "[0-9a-z :,().]{0,20}", other in proptest::prelude::any::<String>()) {
            let now = "2026-11-21T14:00:00Z".parse::<Timestamp>().unwrap().to_zoned(TimeZone::UTC);
            let _ = (next(&words, &now), next(&other, &now));
        }
    }
}
