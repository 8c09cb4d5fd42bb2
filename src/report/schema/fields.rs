//! The schema as a list of fields in words, for the man page.

use serde_json::Value;

use super::schema;

/// One event and its fields besides the envelope, as the man page lists them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventFields {
    /// What `event` is.
    pub event: String,
    /// What the event means.
    pub description: String,
    /// Its fields.
    pub fields: Vec<Field>,
}

/// One field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// Its type in words: `string`, `integer`, `list of string`, `"eof" or "reset"`.
    pub kind: String,
    /// It is in every event of its name.
    pub required: bool,
    /// What it means.
    pub description: String,
    /// The fields of an object, or of each object of a list.
    pub fields: Vec<Self>,
}

/// Returns every event with its fields, from the schema.
#[must_use]
pub fn fields() -> Vec<EventFields> {
    let schema = schema();
    let events = schema["oneOf"].as_array().map(Vec::as_slice).unwrap_or_default();
    let envelope = ["event", "time", "elapsed_ns"];
    events
        .iter()
        .map(|event| EventFields {
            event: words(&event["title"]),
            description: words(&event["description"]),
            fields: fields_of(event).into_iter().filter(|field| !envelope.contains(&field.name.as_str())).collect(),
        })
        .collect()
}

/// Returns the fields of an object's schema: those that are always there first.
fn fields_of(object: &Value) -> Vec<Field> {
    let Some(properties) = object["properties"].as_object() else {
        return Vec::new();
    };
    let required = object["required"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut fields: Vec<Field> = properties
        .iter()
        .map(|(name, schema)| Field {
            name: name.clone(),
            kind: kind(schema),
            required: required.iter().any(|field| field == name),
            description: words(&schema["description"]),
            fields: fields_of(if schema["type"] == "array" { &schema["items"] } else { schema }),
        })
        .collect();
    // In the order in which `required` has them, which is that of the source.
    let rank = |field: &Field| required.iter().position(|name| *name == field.name).unwrap_or(required.len());
    fields.sort_by_key(rank);
    fields
}

/// Returns what a schema allows, in words.
fn kind(schema: &Value) -> String {
    let choices = |name: &str, of: fn(&Value) -> String| {
        let choices: Vec<String> = schema[name].as_array()?.iter().map(of).collect();
        Some(choices.join(" or "))
    };
    if let Some(value) = schema.get("const") {
        return value.to_string();
    }
    if schema["type"] == "array" {
        return format!("list of {}", kind(&schema["items"]));
    }
    choices("enum", Value::to_string)
        .or_else(|| choices("oneOf", kind))
        .or_else(|| choices("anyOf", kind))
        .unwrap_or_else(|| words(&schema["type"]))
}

/// Returns a string of the schema, on one line.
fn words(text: &Value) -> String {
    text.as_str().unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ")
}
