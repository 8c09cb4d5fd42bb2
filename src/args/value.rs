//! Single values on the command line: durations, sizes, DSCP and the like.

use std::num::{NonZeroU64, NonZeroUsize};
use std::time::Duration;

/// The most data of a datagram or an echo request over IPv4: 65,535 bytes less two headers (RFC 768, RFC 791,
/// RFC 792).
pub const MOST_DATA: usize = 65_507;

/// Parses a duration: humantime's words (`5s`, `200ms`, `1m 30s`), or a bare number of seconds,
/// decimals too.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    if let Ok(seconds) = text.trim().parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).map_err(|_| "a duration is at least 0 and finite".to_owned());
    }
    humantime::parse_duration(text.trim())
        .map_err(|_| "a duration is like 5s, 200ms, 1m 30s, or a number of seconds like 0.5".to_owned())
}

/// What every clock of this program can count to.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// Parses a duration that bounds a wait: 0 cannot work.
pub(super) fn patience(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err("a wait of 0 cannot work".to_owned()),
        bound if bound > LONGEST => Err("a wait is at most 100 years".to_owned()),
        bound => Ok(bound),
    }
}

/// Parses how often something is reported: at most a thousand times a second.
pub(super) fn tick(text: &str) -> Result<Duration, String> {
    match patience(text)? {
        every if every < Duration::from_millis(1) => Err("a report comes at most every millisecond".to_owned()),
        every => Ok(every),
    }
}

/// Parses a size in bytes: `512`, `64KiB`, `1MiB`, `8k`, `5M`, `2GB`.
pub(super) fn size(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor: u64 = match unit.trim_start() {
        "" | "B" => 1,
        "k" | "K" | "kB" | "KB" => 1_000,
        "M" | "MB" => 1_000_000,
        "G" | "GB" => 1_000_000_000,
        "Ki" | "KiB" => 1 << 10,
        "Mi" | "MiB" => 1 << 20,
        "Gi" | "GiB" => 1 << 30,
        _ => return Err("a size is a number of bytes, or one with k, M, G, KiB, MiB or GiB".to_owned()),
    };
    let too_large = || "the size is too large".to_owned();
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(factor).ok_or_else(too_large);
    }
    let parts: f64 = number.parse().map_err(|_| "a size starts with a number".to_owned())?;
    let bytes = parts * factor as f64;
    if bytes.fract() != 0.0 {
        return Err("a size is a whole number of bytes".to_owned());
    }
    if bytes >= 2f64.powi(63) {
        return Err(too_large());
    }
    Ok(bytes as u64)
}

/// Parses a size of which none cannot work.
pub(super) fn amount(text: &str) -> Result<u64, String> {
    match size(text)? {
        0 => Err("0 bytes cannot work; leave the size out for no end".to_owned()),
        bytes => Ok(bytes),
    }
}

/// How much may pass in a second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rate {
    /// So many a second: bytes of a stream, or packets.
    Units(f64),
    /// So many bits a second.
    Bits(f64),
}

impl Rate {
    /// Returns how many bytes of a stream pass in a second.
    #[must_use]
    pub fn bytes(self) -> f64 {
        match self {
            Self::Units(bytes) => bytes,
            Self::Bits(bits) => bits / 8.0,
        }
    }
}

/// Parses a rate: `1000/s`, `0.5/s`, `10k/s`, `100Mbit/s`; prefixes are powers of 1000.
pub(super) fn rate(text: &str) -> Result<Rate, String> {
    const LEAST: f64 = 0.001;
    const MOST: f64 = 1e15;
    let shape = || "a rate is like 1000/s, 10k/s, 0.5/s or 100Mbit/s".to_owned();
    let amount = text.trim().strip_suffix("/s").ok_or_else(shape)?;
    let (amount, is_bits) = amount.strip_suffix("bit").map_or((amount, false), |amount| (amount, true));
    let digits = amount.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(amount.len());
    let (number, prefix) = amount.split_at(digits);
    let factor = match prefix.trim_start() {
        "" => 1.0,
        "k" | "K" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        _ => return Err(shape()),
    };
    match number.parse::<f64>().map_err(|_| shape())? * factor {
        rate if rate < LEAST => Err("a rate is at least 0.001/s".to_owned()),
        rate if rate > MOST => Err("the rate is too large".to_owned()),
        rate if is_bits => Ok(Rate::Bits(rate)),
        rate => Ok(Rate::Units(rate)),
    }
}

/// Parses a duration that is waited for; 0 is none.
pub(super) fn delay(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Ok(Duration::ZERO),
        _ => patience(text),
    }
}

/// Parses a number of things of which none cannot work.
pub(super) fn at_least_one(text: &str) -> Result<NonZeroU64, String> {
    match text.parse::<u64>() {
        Ok(number) => NonZeroU64::new(number).ok_or_else(|| "0 cannot work; leave it out for no limit".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// Parses the most bytes that one recv may return: 1 byte to 1 GiB, so that a buffer can hold them.
pub(super) fn recv_size(text: &str) -> Result<NonZeroUsize, String> {
    const MOST: u64 = 1 << 30;
    match size(text)? {
        0 => Err("a recv of 0 bytes cannot work".to_owned()),
        bytes if bytes > MOST => Err("one recv takes at most 1 GiB".to_owned()),
        bytes => {
            usize::try_from(bytes).ok().and_then(NonZeroUsize::new).ok_or_else(|| "the size is too large".to_owned())
        }
    }
}

/// Parses the size of a socket buffer (SO_RCVBUF, SO_SNDBUF): what the kernel's int can hold.
pub(super) fn buffer_size(text: &str) -> Result<u32, String> {
    match size(text)? {
        0 => Err("a buffer of 0 bytes cannot work".to_owned()),
        bytes => match u32::try_from(bytes) {
            Ok(bytes) if i32::try_from(bytes).is_ok() => Ok(bytes),
            _ => Err("a socket buffer is below 2 GiB".to_owned()),
        },
    }
}

/// Parses a DSCP by name (RFC 2474, 2597, 3246, 5865, 8622) or number (0 to 63).
pub(super) fn dscp(text: &str) -> Result<u8, String> {
    const NAMES: [(&str, u8); 25] = [
        ("default", 0),
        ("be", 0),
        ("le", 1),
        ("cs0", 0),
        ("cs1", 8),
        ("cs2", 16),
        ("cs3", 24),
        ("cs4", 32),
        ("cs5", 40),
        ("cs6", 48),
        ("cs7", 56),
        ("af11", 10),
        ("af12", 12),
        ("af13", 14),
        ("af21", 18),
        ("af22", 20),
        ("af23", 22),
        ("af31", 26),
        ("af32", 28),
        ("af33", 30),
        ("af41", 34),
        ("af42", 36),
        ("af43", 38),
        ("va", 44),
        ("ef", 46),
    ];
    let lower = text.to_ascii_lowercase();
    if let Some((_, value)) = NAMES.iter().find(|(name, _)| *name == lower) {
        return Ok(*value);
    }
    match number(text) {
        Ok(value) if value < 64 => Ok(value as u8),
        _ => Err("a DSCP is 0 to 63, or a name such as ef, af41, cs5, le".to_owned()),
    }
}

/// Parses a number, decimal or with 0x in hexadecimal.
pub(super) fn number(text: &str) -> Result<u32, String> {
    match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(hex) => u32::from_str_radix(hex, 16),
        None => text.parse(),
    }
    .map_err(|error| error.to_string())
}

/// Parses the idle time of `--keepalive`: the kernel takes whole seconds, 1 to 32767
/// (TCP_KEEPIDLE, tcp(7)); a fraction rounds up.
pub(super) fn keepalive(text: &str) -> Result<u32, String> {
    let asked = duration(text)?;
    let seconds = asked.as_secs() + u64::from(asked.subsec_nanos() > 0);
    match u32::try_from(seconds) {
        Ok(seconds @ 1..=32_767) => Ok(seconds),
        _ => Err("keepalive takes 1 s to 32767 s".to_owned()),
    }
}

/// Parses a duration that the kernel takes as an int of milliseconds (TCP_USER_TIMEOUT).
pub(super) fn milliseconds(text: &str) -> Result<u32, String> {
    let asked = patience(text)?;
    within_int(asked.as_nanos().div_ceil(1_000_000), "the duration is beyond 24 days")
}

/// Parses a duration that the kernel takes as an int of microseconds (SO_BUSY_POLL).
pub(super) fn microseconds(text: &str) -> Result<u32, String> {
    let asked = patience(text)?;
    within_int(asked.as_nanos().div_ceil(1_000), "the duration is beyond 35 minutes")
}

fn within_int(value: u128, message: &str) -> Result<u32, String> {
    i32::try_from(value).ok().and_then(|value| u32::try_from(value).ok()).ok_or_else(|| message.to_owned())
}

/// Parses the name of an interface: 1 to 15 bytes (IFNAMSIZ).
pub(super) fn interface(text: &str) -> Result<String, String> {
    match text.len() {
        1..=15 if !text.contains(['/', ' ']) => Ok(text.to_owned()),
        _ => Err("an interface has a name of 1 to 15 characters, such as eth0".to_owned()),
    }
}

/// Parses the name of a congestion algorithm: 1 to 15 bytes (TCP_CA_NAME_MAX).
pub(super) fn congestion(text: &str) -> Result<String, String> {
    match text.len() {
        1..=15 => Ok(text.to_owned()),
        _ => Err("a congestion algorithm has a name of 1 to 15 characters, such as cubic".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_humantimes_or_seconds() {
        for (text, nanos) in [
            ("5s", 5_000_000_000),
            ("200ms", 200_000_000),
            ("1m 30s", 90_000_000_000),
            ("1.5", 1_500_000_000),
            (".5", 500_000_000),
            ("0", 0),
            ("20us", 20_000),
            ("20µs", 20_000),
        ] {
            assert_eq!(duration(text).unwrap().as_nanos(), nanos, "{text}");
        }
        for text in ["", "-1", "5x", "s", "inf", "NaN", "1e30", "five"] {
            assert!(duration(text).is_err(), "{text}");
        }
        assert!(patience("0").is_err());
        assert!(patience("0ms").is_err());
        assert!(tick("0").is_err() && tick("999us").is_err());
        assert_eq!(tick("1ms"), Ok(Duration::from_millis(1)));
    }

    #[test]
    fn sizes_take_decimal_and_binary_units() {
        for (text, bytes) in [
            ("0", 0),
            ("512", 512),
            ("64KiB", 65_536),
            ("1MiB", 1 << 20),
            ("8k", 8_000),
            ("5M", 5_000_000),
            ("1.5KiB", 1536),
            ("2GB", 2_000_000_000),
            ("64 KiB", 65_536),
        ] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in ["", "k", "-1", "1.5", "1kb2", "99999999999999999999", "18446744073709551615KiB", "1.2.3k"] {
            assert!(size(text).is_err(), "{text}");
        }
        assert!(recv_size("0").is_err());
        assert!(recv_size("2GiB").is_err());
        assert_eq!(recv_size("1024").unwrap().get(), 1024);
        assert!(buffer_size("0").is_err());
        assert!(buffer_size("2GiB").is_err());
    }

    #[test]
    fn rates_are_units_or_bits_a_second() {
        for (text, expected) in [
            ("1000/s", Rate::Units(1000.0)),
            ("0.001/s", Rate::Units(0.001)),
            ("10k/s", Rate::Units(10_000.0)),
            ("1.5M/s", Rate::Units(1_500_000.0)),
            ("100kbit/s", Rate::Bits(100_000.0)),
            ("100Mbit/s", Rate::Bits(100_000_000.0)),
            ("1 Gbit/s", Rate::Bits(1e9)),
            ("8bit/s", Rate::Bits(8.0)),
        ] {
            assert_eq!(rate(text), Ok(expected), "{text}");
        }
        assert_eq!(Rate::Bits(8.0).bytes(), 1.0);
        for text in [
            "",
            "/s",
            "1000",
            "0/s",
            "0.0009/s",
            "-1/s",
            "1e3/s",
            "inf/s",
            "1KiB/s",
            "1Mbit",
            "x/s",
            "bit/s",
            "9999999G/s",
        ] {
            assert!(rate(text).is_err(), "{text}");
        }
        assert!(amount("0").is_err());
        assert_eq!(amount("1k"), Ok(1000));
    }

    #[test]
    fn small_values_have_their_bounds() {
        assert_eq!(dscp("EF"), Ok(46));
        assert_eq!(dscp("0x2e"), Ok(46));
        assert_eq!(dscp("63"), Ok(63));
        assert!(dscp("64").is_err());
        assert!(dscp("af14").is_err());
        assert_eq!(keepalive("500ms"), Ok(1));
        assert!(keepalive("0").is_err());
        assert!(keepalive("32768").is_err());
        assert_eq!(milliseconds("1.5"), Ok(1_500));
        assert!(milliseconds("30days").is_err());
        assert_eq!(microseconds("50us"), Ok(50));
        assert!(interface("").is_err());
        assert!(interface("sixteen-letters-").is_err());
    }
}
