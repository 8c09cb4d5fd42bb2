//! How values are written in JSON: bytes, durations, times.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use data_encoding::BASE64;
use humantime::{format_rfc3339_nanos, format_rfc3339_seconds};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

/// Bytes that crossed a socket: `data` where they are UTF-8, else `data_base64`; neither where
/// there are none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Payload<'a>(pub &'a [u8]);

impl Serialize for Payload<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        match std::str::from_utf8(self.0) {
            Ok("") => {}
            Ok(text) => map.serialize_entry("data", text)?,
            Err(_) => map.serialize_entry("data_base64", &BASE64.encode(self.0))?,
        }
        map.end()
    }
}

impl JsonSchema for Payload<'_> {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Payload".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "object",
            "properties": {
                "data": { "type": "string", "description": "The bytes, where they are UTF-8." },
                "data_base64": { "type": "string", "contentEncoding": "base64", "description": "The bytes, where they are not UTF-8." }
            }
        })
    }
}

/// Writes a duration as integer nanoseconds.
pub(super) fn nanoseconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX))
}

/// Writes a duration that is there as integer nanoseconds.
pub(super) fn some_nanoseconds<S: Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    nanoseconds(&duration.unwrap_or_default(), serializer)
}

/// The schema of a duration: integer nanoseconds.
pub(super) fn duration(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "integer", "minimum": 0 })
}

/// The last nanosecond that RFC 3339 can write.
const LAST: Duration = Duration::new(253_402_300_799, 999_999_999);

/// Writes a time as RFC 3339 in UTC, to the nanosecond.
pub(super) fn timestamp<S: Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    // humantime takes no time before 1970 and none after 9999.
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default().min(LAST);
    serializer.collect_str(&format_rfc3339_nanos(UNIX_EPOCH + since))
}

/// Writes a time that is there as RFC 3339.
pub(super) fn some_timestamp<S: Serializer>(time: &Option<SystemTime>, serializer: S) -> Result<S::Ok, S::Error> {
    timestamp(&time.unwrap_or(UNIX_EPOCH), serializer)
}

/// Writes a time that is there as RFC 3339 to the second, the unit that certificates have.
pub(super) fn some_seconds<S: Serializer>(time: &Option<SystemTime>, serializer: S) -> Result<S::Ok, S::Error> {
    let since = time.unwrap_or(UNIX_EPOCH).duration_since(UNIX_EPOCH).unwrap_or_default().min(LAST);
    serializer.collect_str(&format_rfc3339_seconds(UNIX_EPOCH + since))
}

/// The schema of a time: RFC 3339.
pub(super) fn time(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "format": "date-time" })
}
