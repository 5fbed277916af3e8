//! The keys of a record, described by the types themselves.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde_json::{Map, Value};

use crate::report::Report;

/// The JSON Schema (draft 2020-12) of a record.
#[must_use]
pub fn json_schema() -> Value {
    schemars::schema_for!(Report).to_value()
}

/// The keys as Markdown: a table for the record and one for each part of it.
#[must_use]
pub fn markdown() -> String {
    let schema = json_schema();
    let none = Map::new();
    let parts = schema.get("$defs").and_then(Value::as_object).unwrap_or(&none);
    let mut text = String::new();
    table("Report", &schema, &mut text);
    // Parts in the order in which the record names them.
    let mut named = Vec::new();
    references(&schema["properties"], parts, &mut named);
    let mut documented = BTreeSet::new();
    for name in named {
        if documented.insert(name.clone())
            && let Some(part) = parts.get(&name)
        {
            table(&name, part, &mut text);
        }
    }
    text
}

fn table(name: &str, schema: &Value, text: &mut String) {
    // Writing to a String cannot fail.
    let _ = write!(text, "\n## {name}\n\n{}\n", description(schema));
    if let Some(properties) = schema.get("properties").and_then(Value::as_object) {
        text.push_str("\n| key | type | what |\n|---|---|---|\n");
        for (key, property) in properties {
            let what = description(property).replace('\n', " ");
            let _ = writeln!(text, "| `{key}` | {} | {what} |", kind(property));
        }
    }
    if let Some(values) = schema.get("oneOf").and_then(Value::as_array) {
        text.push_str("\n| value | what |\n|---|---|\n");
        for value in values {
            let name = value.get("const").and_then(Value::as_str).unwrap_or_default();
            let _ = writeln!(text, "| `{name}` | {} |", description(value).replace('\n', " "));
        }
    }
}

fn description(schema: &Value) -> String {
    schema.get("description").and_then(Value::as_str).unwrap_or_default().trim().to_owned()
}

/// The type of a key in words.
fn kind(schema: &Value) -> String {
    if let Some(part) = reference(schema) {
        return format!("[{part}](#{})", part.to_lowercase());
    }
    if let Some(choice) = schema.get("anyOf").and_then(Value::as_array) {
        let kinds: Vec<String> = choice.iter().map(kind).collect();
        return kinds.join(" or ");
    }
    let one = |name: &Value| match name.as_str() {
        Some("array") => format!("list of {}", kind(&schema["items"])),
        Some("object") => format!("map to {}", kind(&schema["additionalProperties"])),
        other => other.unwrap_or_default().to_owned(),
    };
    match schema.get("type") {
        Some(Value::Array(names)) => names.iter().map(one).collect::<Vec<_>>().join(" or "),
        Some(name) => one(name),
        None => String::new(),
    }
}

fn reference(schema: &Value) -> Option<&str> {
    schema.get("$ref")?.as_str()?.rsplit('/').next()
}

/// Names of all parts that a schema refers to, directly or by its parts.
fn references(schema: &Value, parts: &Map<String, Value>, named: &mut Vec<String>) {
    if let Some(part) = reference(schema)
        && !named.iter().any(|name| name == part)
    {
        named.push(part.to_owned());
        if let Some(schema) = parts.get(part) {
            references(schema, parts, named);
        }
    }
    match schema {
        Value::Object(members) => members.values().for_each(|m| references(m, parts, named)),
        Value::Array(items) => items.iter().for_each(|item| references(item, parts, named)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/report.md");
    const MARK: &str = "<!-- poolferry-host report --keys -->\n";

    #[test]
    fn the_document_tells_the_keys_as_they_are() {
        let document = std::fs::read_to_string(DOCUMENT).unwrap();
        let (_, documented) = document.split_once(MARK).expect("the mark");
        let remedy =
            "docs/report.md: replace what follows the mark by `poolferry-host report --keys`";
        // Not `assert_eq`, which would print the whole document twice.
        assert!(documented == markdown(), "{remedy}");
    }

    #[test]
    fn the_version_of_the_keys_is_told_as_it_is() {
        let documented = description(&json_schema()["properties"]["schema"]);
        let wanted = format!("Version of these keys: {}.", crate::report::SCHEMA);
        assert!(documented.starts_with(&wanted), "{documented}");
    }

    #[test]
    fn every_key_is_documented_and_written() {
        let schema = json_schema();
        let mut schemas = vec![("Report".to_owned(), &schema)];
        for (name, part) in schema["$defs"].as_object().unwrap() {
            schemas.push((name.clone(), part));
        }
        for (name, part) in schemas {
            assert!(!description(part).is_empty(), "{name}");
            for (key, property) in part["properties"].as_object().into_iter().flatten() {
                let documented = !description(property).is_empty();
                assert!(documented, "{name}.{key}");
            }
        }
        let written = serde_json::to_value(Report::default()).unwrap();
        let mut keys: Vec<_> = written.as_object().unwrap().keys().collect();
        let mut known: Vec<_> = schema["properties"].as_object().unwrap().keys().collect();
        keys.sort();
        known.sort();
        assert_eq!(keys, known);
    }
}
