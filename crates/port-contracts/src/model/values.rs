//! Served values: what they match, how they are patched, and how they differ.

use std::collections::BTreeSet;

use profile_domain::{
    EntityView, FieldName,
    json::canonical,
    text::{EmailAddress, fold},
};
use serde_json::{Map, Value};

/// Whether an entity serves a text under a path, `field` or `field.member`.
pub(super) fn matches(view: &EntityView, path: &str, text: &str) -> bool {
    let is = |value: Option<&Value>, text: &str| match value {
        Some(Value::String(value)) => value == text,
        Some(value @ (Value::Number(_) | Value::Bool(_))) => canonical(value) == text,
        _ => false,
    };
    match (view.key.entity_type.is_profile(), path.split_once('.')) {
        (true, None) if matches!(path, "name" | "bio") => false,
        (true, None) if path == "email" => {
            view.properties.get(path).is_some_and(|email| email.as_str().is_some_and(|email| email.eq_ignore_ascii_case(text)))
        }
        (_, None) => is(view.properties.get(path).as_ref(), text),
        (_, Some((field, member))) => is(view.properties.get(field).as_ref().and_then(|value| value.get(member)), text),
    }
}

/// RFC 7396.
pub(super) fn patch(document: &mut Map<String, Value>, changes: &Map<String, Value>) {
    for (name, change) in changes {
        match change {
            Value::Null => {
                document.remove(name);
            }
            Value::Object(inner) => {
                let member = document.entry(name.clone()).or_insert_with(|| Value::Object(Map::new()));
                if !member.is_object() {
                    *member = Value::Object(Map::new());
                }
                if let Value::Object(members) = member {
                    patch(members, inner);
                }
            }
            other => {
                document.insert(name.clone(), other.clone());
            }
        }
    }
}

pub(super) fn is_valid(field: &FieldName, value: &Value) -> bool {
    match (field.as_str(), value) {
        (_, Value::Null) => true,
        ("name", value) => value.as_str().is_some_and(|name| !fold(name).trim().is_empty()),
        ("email", value) => value.as_str().is_some_and(|email| EmailAddress::parse(email).is_some()),
        ("bio", value) => value.is_string(),
        _ => true,
    }
}

pub(super) fn differences(before: &Map<String, Value>, after: &Map<String, Value>) -> Map<String, Value> {
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let mut differences = Map::new();
    for name in names.into_iter().filter(|name| before.get(*name) != after.get(*name)) {
        let sides = [("old", before.get(name)), ("new", after.get(name))];
        let change: Map<String, Value> =
            sides.into_iter().filter_map(|(side, value)| Some((side.to_owned(), value?.clone()))).collect();
        differences.insert(name.clone(), Value::Object(change));
    }
    differences
}
