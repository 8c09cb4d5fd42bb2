//! An event as one JSON line: the envelope, then the fields of the event.

use std::io::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use humantime::format_rfc3339_seconds;

use crate::event::{Event, Stamp};

/// The last second that RFC 3339 can write.
pub(super) const LAST_SECOND: u64 = 253_402_300_799;

/// Writes JSON lines; keeps the second that it wrote last, which is most often the next one too.
#[derive(Debug, Default)]
pub(crate) struct Json {
    /// `2026-11-23T08:22:04`, and which second since 1970 that is.
    second: Option<(u64, String)>,
}

impl Json {
    /// Appends one event as a line.
    pub(crate) fn append(&mut self, buffer: &mut Vec<u8>, stamp: Stamp, event: &Event<'_>) {
        buffer.extend_from_slice(b"{\"event\":\"");
        buffer.extend_from_slice(event.kind().name().as_bytes());
        buffer.extend_from_slice(b"\",\"time\":\"");
        self.append_time(buffer, stamp.time);
        buffer.extend_from_slice(b"Z\",\"elapsed_ns\":");
        // Writing to memory does not fail.
        let _ = write!(buffer, "{}", stamp.elapsed.as_nanos());
        let fields = buffer.len();
        if serde_json::to_writer(&mut *buffer, event).is_err() {
            // No field of an event can fail; a line without them is still a JSON object.
            buffer.truncate(fields);
            buffer.extend_from_slice(b"{}");
        }
        // `{` of the fields becomes the comma before them, and nothing where there are none.
        if buffer[fields..] == *b"{}" {
            buffer.truncate(fields);
            buffer.push(b'}');
        } else {
            buffer[fields] = b',';
        }
        buffer.push(b'\n');
    }

    /// Appends a time in UTC to the nanosecond, without the `Z`.
    fn append_time(&mut self, buffer: &mut Vec<u8>, time: SystemTime) {
        // humantime takes no time before 1970 and none after 9999.
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        let second = since.as_secs().min(LAST_SECOND);
        match &self.second {
            Some((written, text)) if *written == second => buffer.extend_from_slice(text.as_bytes()),
            _ => {
                let text = format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(second)).to_string();
                let text = text.trim_end_matches('Z').to_owned();
                buffer.extend_from_slice(text.as_bytes());
                self.second = Some((second, text));
            }
        }
        let mut digits = *b".000000000";
        let mut rest = since.subsec_nanos();
        for digit in digits[1..].iter_mut().rev() {
            *digit += (rest % 10) as u8;
            rest /= 10;
        }
        buffer.extend_from_slice(&digits);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event;

    fn line(seconds: u64, nanos: u32, event: &Event<'_>) -> String {
        let stamp = Stamp { time: UNIX_EPOCH + Duration::new(seconds, nanos), elapsed: Duration::from_nanos(412_000) };
        let mut buffer = Vec::new();
        Json::default().append(&mut buffer, stamp, event);
        String::from_utf8(buffer).unwrap()
    }

    fn recv(data: &[u8]) -> Event<'_> {
        event::Recv::on(1, data.len(), data).into()
    }

    #[test]
    fn the_envelope_comes_first() {
        assert_eq!(
            line(1_795_422_124, 7, &recv(b"hi\n")),
            "{\"event\":\"recv\",\"time\":\"2026-11-23T08:22:04.000000007Z\",\"elapsed_ns\":412000,\
             \"conn\":1,\"bytes\":3,\"data\":\"hi\\n\"}\n"
        );
    }

    #[test]
    fn no_field_is_no_comma() {
        let totals = event::Totals::default();
        let interim = event::Interim { duration: Duration::from_secs(1), totals: &totals };
        assert!(line(0, 0, &interim.into()).ends_with(",\"elapsed_ns\":412000,\"duration_ns\":1000000000}\n"));
        let bytes = event::Recv::on(None, 0, b"");
        assert!(line(0, 0, &bytes.into()).ends_with(",\"elapsed_ns\":412000,\"bytes\":0}\n"));
    }

    #[test]
    fn times_are_those_of_humantime() {
        let mut json = Json::default();
        for (second, nanos) in [(0, 0), (0, 999_999_999), (1_795_422_124, 120_000_000), (951_782_400, 1)] {
            let time = UNIX_EPOCH + Duration::new(second, nanos);
            let mut buffer = Vec::new();
            json.append_time(&mut buffer, time);
            buffer.push(b'Z');
            assert_eq!(String::from_utf8(buffer).unwrap(), humantime::format_rfc3339_nanos(time).to_string());
        }
    }

    #[test]
    fn impossible_clocks_do_not_panic() {
        let mut json = Json::default();
        let mut buffer = Vec::new();
        json.append_time(&mut buffer, UNIX_EPOCH - Duration::from_secs(1));
        json.append_time(&mut buffer, UNIX_EPOCH + Duration::from_secs(LAST_SECOND + 5));
        assert_eq!(buffer, b"1970-01-01T00:00:00.0000000009999-12-31T23:59:59.000000000");
    }
}
