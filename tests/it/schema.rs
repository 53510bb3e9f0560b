//! Checks a document against the published schema: as much of JSON Schema as that file uses.

use serde_json::Value;

const SCHEMA: &str = include_str!("../bench.schema.json");

/// The words of JSON Schema that [`violations`] knows, or may pass over.
const KNOWN: [&str; 13] = [
    "$schema",
    "title",
    "description",
    "type",
    "properties",
    "required",
    "additionalProperties",
    "items",
    "minItems",
    "maxItems",
    "minimum",
    "const",
    "enum",
];

/// Checks the result of a run.
#[track_caller]
pub fn check(result: &Value) {
    let schema: Value = serde_json::from_str(SCHEMA).expect("the schema is JSON");
    let mut found = Vec::new();
    violations(&schema, result, "", &mut found);
    assert!(found.is_empty(), "against tests/bench.schema.json:\n{}", found.join("\n"));
}

/// The same, of a document that has one key more.
#[track_caller]
pub fn check_without(result: &Value, key: &str) {
    let mut result = result.clone();
    result.as_object_mut().and_then(|object| object.remove(key)).expect("the key");
    check(&result);
}

fn violations(schema: &Value, value: &Value, path: &str, found: &mut Vec<String>) {
    let words = schema.as_object().expect("a schema is an object");
    for word in words.keys() {
        assert!(KNOWN.contains(&word.as_str()), "{path}: the test does not know {word:?}");
    }
    let mut say = |what: String| found.push(format!("{path}: {what}"));
    if let Some(kind) = schema.get("type") {
        let kinds = kind.as_array().cloned().unwrap_or_else(|| vec![kind.clone()]);
        if !kinds.iter().any(|kind| is_of(value, kind.as_str().expect("a name"))) {
            say(format!("{value} is not {kind}"));
        }
    }
    if schema.get("const").is_some_and(|only| only != value) {
        say(format!("{value} is not {}", schema["const"]));
    }
    if let Some(some) = schema.get("enum").and_then(Value::as_array)
        && !some.contains(value)
    {
        say(format!("{value} is none of {some:?}"));
    }
    if let (Some(least), Some(number)) =
        (schema.get("minimum").and_then(Value::as_f64), value.as_f64())
        && number < least
    {
        say(format!("{value} is below {least}"));
    }
    if let Some(items) = value.as_array() {
        let len = items.len() as u64;
        let few = schema.get("minItems").and_then(Value::as_u64).is_some_and(|min| len < min);
        let many = schema.get("maxItems").and_then(Value::as_u64).is_some_and(|max| len > max);
        if few || many {
            say(format!("{len} items"));
        }
        for (at, item) in items.iter().enumerate() {
            if let Some(schema) = schema.get("items") {
                violations(schema, item, &format!("{path}/{at}"), found);
            }
        }
    }
    if let Some(members) = value.as_object() {
        object(schema, members, path, found);
    }
}

fn object(
    schema: &Value,
    members: &serde_json::Map<String, Value>,
    path: &str,
    found: &mut Vec<String>,
) {
    for name in schema.get("required").and_then(Value::as_array).into_iter().flatten() {
        if !members.contains_key(name.as_str().expect("a name")) {
            found.push(format!("{path}: no {name}"));
        }
    }
    for (name, member) in members {
        match schema.pointer(&format!("/properties/{name}")) {
            Some(schema) => violations(schema, member, &format!("{path}/{name}"), found),
            None if schema.get("additionalProperties") == Some(&Value::Bool(false)) => {
                found.push(format!("{path}: {name:?} is not in the schema"));
            }
            None => {}
        }
    }
}

fn is_of(value: &Value, kind: &str) -> bool {
    match kind {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_u64() || value.is_i64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => false,
    }
}
