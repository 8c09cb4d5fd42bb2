//! The JSON Schema of the lines, made of the types of the events.

mod fields;

pub use fields::{EventFields, Field, fields};

use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use crate::event::{Kind, SCHEMA};

/// Returns the schema of one line: one closed object for each event, told apart by `event`.
#[must_use]
pub fn schema() -> Value {
    let settings = SchemaSettings::draft2020_12().for_serialize().with(|settings| settings.inline_subschemas = true);
    let mut generator = settings.into_generator();
    let events: Vec<Value> = Kind::ALL.iter().map(|kind| event(*kind, &mut generator)).collect();
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": format!("urn:sockeye:events:{SCHEMA}"),
        "title": format!("sockeye events, schema {SCHEMA}"),
        "description": "One line that sockeye writes with --json: one object, told apart by `event`.",
        "oneOf": events,
    })
}

/// Returns the schema of one event with its envelope.
fn event(kind: Kind, generator: &mut SchemaGenerator) -> Value {
    let mut fields = kind.fields(generator).to_value();
    drop_null(&mut fields);
    close(&mut fields);
    let mut required = vec![json!("event"), json!("time"), json!("elapsed_ns")];
    if let Some(Value::Array(names)) = fields.get_mut("required") {
        required.append(names);
    }
    let mut properties = Map::from_iter([
        ("event".to_owned(), json!({ "const": kind.name(), "description": "Which event it is." })),
        (
            "time".to_owned(),
            json!({ "type": "string", "format": "date-time", "description": "Wall clock: RFC 3339, UTC, nanoseconds." }),
        ),
        (
            "elapsed_ns".to_owned(),
            json!({
                "type": "integer",
                "minimum": 0,
                "description": "Monotonic time since the program started; never goes back from line to line.",
            }),
        ),
    ]);
    if let Some(Value::Object(own)) = fields.get_mut("properties") {
        properties.append(own);
    }
    json!({
        "title": kind.name(),
        "description": kind.description(),
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": false,
    })
}

/// Takes `null` out: a field that does not apply is absent.
fn drop_null(schema: &mut Value) {
    match schema {
        Value::Array(schemas) => schemas.iter_mut().for_each(drop_null),
        Value::Object(object) => {
            drop_null_of(object);
            object.values_mut().for_each(drop_null);
        }
        _ => {}
    }
}

/// Takes `null` out of what one schema allows.
fn drop_null_of(object: &mut Map<String, Value>) {
    if let Some(Value::Array(types)) = object.get_mut("type") {
        types.retain(|name| name != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            object.insert("type".to_owned(), only);
        }
    }
    if let Some(Value::Array(values)) = object.get_mut("enum") {
        values.retain(|value| !value.is_null());
    }
    if object.get("default").is_some_and(Value::is_null) {
        object.remove("default");
    }
    for of in ["anyOf", "oneOf"] {
        let Some(Value::Array(choices)) = object.get_mut(of) else {
            continue;
        };
        choices.retain(|choice| choice.get("type") != Some(&json!("null")));
        if let [Value::Object(only)] = choices.as_slice() {
            let only = only.clone();
            object.remove(of);
            // What is said of the field is nearer to it than what is said of its type.
            for (key, value) in only {
                object.entry(key).or_insert(value);
            }
        }
    }
}

/// Closes every object, however deep.
fn close(schema: &mut Value) {
    match schema {
        Value::Array(schemas) => schemas.iter_mut().for_each(close),
        Value::Object(object) => {
            if object.get("type") == Some(&json!("object")) {
                object.insert("additionalProperties".to_owned(), json!(false));
            }
            object.values_mut().for_each(close);
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests;
