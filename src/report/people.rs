//! Durations, times and sizes as people read them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::Glyphs;
use super::json::LAST_SECOND;

/// Returns a duration with about four digits: `0.041 ms`, `2.003 s`, `1m 30s`.
#[must_use]
pub fn duration(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    let (millis, seconds) = (nanos as f64 / 1e6, duration.as_secs_f64());
    // Each bound is where rounding would add a digit.
    match nanos {
        0..9_950 => format!("{millis:.4} ms"),
        9_950..9_999_500 => format!("{millis:.3} ms"),
        9_999_500..99_995_000 => format!("{millis:.2} ms"),
        99_995_000..999_950_000 => format!("{millis:.1} ms"),
        999_950_000..9_999_500_000 => format!("{seconds:.3} s"),
        9_999_500_000..59_995_000_000 => format!("{seconds:.2} s"),
        _ => humantime::format_duration(Duration::from_secs(seconds.round() as u64)).to_string(),
    }
}

/// Returns a duration with three digits, for a table: `41.0 µs`, `12.3 ms`, `2.00 s`; at most seven
/// characters.
pub(crate) fn duration_short(duration: Duration, glyphs: Glyphs) -> String {
    let nanos = duration.as_nanos() as f64;
    let micro = if glyphs == Glyphs::Ascii { "us" } else { "µs" };
    let units = [(1e3, micro), (1e6, "ms"), (1e9, "s"), (3600e9, "h"), (86_400e9, "d")];
    for ((unit, name), limit) in units.into_iter().zip([999.5, 999.5, 999.5, 99.95, 999.5]) {
        let amount = nanos / unit;
        // Each bound is where rounding would add a digit.
        match amount {
            0.0..9.995 => return format!("{amount:.2} {name}"),
            9.995..99.95 => return format!("{amount:.1} {name}"),
            _ if amount < limit => return format!("{amount:.0} {name}"),
            _ => {}
        }
    }
    ">999 d".to_owned()
}

/// Returns how much of a whole a part is, with one digit after the point; at most six characters.
/// Only nothing is 0 %, and only all is 100 %.
pub(crate) fn percent(part: u64, whole: u64) -> String {
    if whole == 0 {
        return "-".to_owned();
    }
    let percent = part as f64 * 100.0 / whole as f64;
    match percent {
        _ if part == 0 => "0%".to_owned(),
        _ if part >= whole => "100%".to_owned(),
        ..0.05 => "<0.1%".to_owned(),
        99.95.. => ">99.9%".to_owned(),
        _ => format!("{percent:.1}%"),
    }
}

/// Returns a time of day in UTC, to the millisecond, with its day where that is not the day of
/// `now`: `12:00:01.250`, `2026-11-25 12:00:01.250`.
pub(crate) fn moment(time: SystemTime, now: SystemTime) -> String {
    let words = |time: SystemTime| {
        // humantime takes no time before 1970 and none after 9999.
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default().min(Duration::from_secs(LAST_SECOND));
        let text = humantime::format_rfc3339_millis(UNIX_EPOCH + since).to_string();
        text.trim_end_matches('Z').replace('T', " ")
    };
    let (text, today) = (words(time), words(now));
    match (text.split_once(' '), today.split_once(' ')) {
        (Some((day, time)), Some((today, _))) if day == today => time.to_owned(),
        _ => text,
    }
}

/// Returns the day of a time in UTC: `2026-11-25`.
pub(crate) fn day(time: SystemTime) -> String {
    // Of the first moment of 1970 no time is today's, so that the day is there.
    moment(time, UNIX_EPOCH + Duration::from_secs(LAST_SECOND)).split(' ').next().unwrap_or_default().to_owned()
}

/// Returns a number of bytes, in powers of 1000 above 999: `1 byte`, `18 bytes`, `8.4 MB`.
#[must_use]
pub fn byte_count(bytes: u64) -> String {
    if bytes == 1 { "1 byte".to_owned() } else { in_unit(bytes, "bytes") }
}

/// Returns a number of bytes in the least room: `18 B`, `8.4 MB`.
pub(crate) fn bytes_short(bytes: u64) -> String {
    in_unit(bytes, "B")
}

/// Returns a count with its noun: `1 error`, `2 errors`.
pub(crate) fn count(number: u64, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// Returns bytes with the prefix that leaves at most three digits before the point.
fn in_unit(bytes: u64, small: &str) -> String {
    let mut amount = bytes as f64;
    let mut unit = small;
    for prefix in ["kB", "MB", "GB", "TB", "PB", "EB"] {
        let digits = if unit == small { 0.5 } else { 0.05 };
        if amount < 1000.0 - digits {
            break;
        }
        amount /= 1000.0;
        unit = prefix;
    }
    if unit == small { format!("{bytes} {small}") } else { format!("{amount:.1} {unit}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_about_four_digits() {
        let shown = |nanos| duration(Duration::from_nanos(nanos));
        assert_eq!(shown(0), "0.0000 ms");
        assert_eq!(shown(412), "0.0004 ms");
        assert_eq!(shown(41_000), "0.041 ms");
        assert_eq!(shown(2_100_000), "2.100 ms");
        assert_eq!(shown(12_345_678), "12.35 ms");
        assert_eq!(shown(999_949_999), "999.9 ms");
        assert_eq!(shown(999_950_000), "1.000 s");
        assert_eq!(shown(2_003_000_000), "2.003 s");
        assert_eq!(shown(59_994_000_000), "59.99 s");
        assert_eq!(shown(59_999_000_000), "1m");
        assert_eq!(shown(90_400_000_000), "1m 30s");
    }

    #[test]
    fn short_durations_have_three_digits() {
        let shown = |nanos| duration_short(Duration::from_nanos(nanos), Glyphs::Unicode);
        assert_eq!([0, 4, 412, 41_000].map(shown), ["0.00 µs", "0.00 µs", "0.41 µs", "41.0 µs"]);
        assert_eq!([999_400, 999_500, 9_994_000, 9_995_100].map(shown), ["999 µs", "1.00 ms", "9.99 ms", "10.0 ms"]);
        assert_eq!([9_996_000, 99_960_000, 999_600_000].map(shown), ["10.0 ms", "100 ms", "1.00 s"]);
        assert_eq!([90_400_000_000, 999_600_000_000].map(shown), ["90.4 s", "0.28 h"]);
        let ascii = duration_short(Duration::from_micros(41), Glyphs::Ascii);
        assert_eq!((ascii.as_str(), duration_short(Duration::MAX, Glyphs::Ascii).as_str()), ("41.0 us", ">999 d"));
    }

    #[test]
    fn only_nothing_is_none_and_only_all_is_all() {
        assert_eq!([percent(0, 0), percent(0, 7), percent(7, 7)], ["-", "0%", "100%"]);
        assert_eq!([percent(1, 3), percent(1, 1_000_000), percent(999_999, 1_000_000)], ["33.3%", "<0.1%", ">99.9%"]);
    }

    #[test]
    fn a_moment_has_its_day_where_that_is_not_today() {
        let noon = UNIX_EPOCH + Duration::from_millis(1_795_521_601_250);
        assert_eq!(moment(noon, noon + Duration::from_secs(3600)), "12:00:01.250");
        assert_eq!(moment(noon, noon + Duration::from_secs(12 * 3600)), "2026-11-24 12:00:01.250");
        assert_eq!(moment(UNIX_EPOCH - Duration::from_secs(1), noon), "1970-01-01 00:00:00.000");
    }

    #[test]
    fn sizes_round_without_a_fourth_digit() {
        assert_eq!(byte_count(0), "0 bytes");
        assert_eq!(byte_count(1), "1 byte");
        assert_eq!(byte_count(999), "999 bytes");
        assert_eq!(byte_count(1000), "1.0 kB");
        assert_eq!(byte_count(999_949), "999.9 kB");
        assert_eq!(byte_count(999_950), "1.0 MB");
        assert_eq!(byte_count(8_388_608), "8.4 MB");
        assert_eq!(byte_count(u64::MAX), "18.4 EB");
        assert_eq!(bytes_short(1), "1 B");
        assert_eq!(bytes_short(18), "18 B");
    }
}
