//! Limits hold for the merged result, whoever reported it.

use profile_domain::{
    Entity, EntityKey, Intent, Rejection, Rules,
    profile::{MAX_ATTRIBUTES_BYTES, MAX_BIO_CHARS, MAX_DEPTH, MAX_FIELDS, MAX_NAME_CHARS, MAX_SOURCES, MAX_STORED_FIELDS},
};
use serde_json::{Value, json};

use crate::given::{Facts, NOW, at, fact, organization, profile};

/// The code and path of the first problem, if there is one.
fn problem(key: &EntityKey, facts: Facts) -> Option<(String, &'static str)> {
    match Entity::apply(None, key, &Intent::Merge(facts), at(NOW), &Rules::default()) {
        Ok(_) => None,
        Err(Rejection::Invalid(problems)) => problems.into_iter().next().map(|problem| (problem.field, problem.code)),
        Err(other) => panic!("{other:?}"),
    }
}

fn numbered(count: usize, value: &Value) -> Facts {
    (0..count).map(|number| fact(&format!("f{number:04}"), "crm", 0, value.clone())).collect()
}

fn nested(depth: usize) -> Value {
    (0..depth).fold(json!(1), |inner, _| json!([inner]))
}

#[test]
fn as_many_fields_as_the_limit_are_taken_and_one_more_is_refused() {
    assert_eq!(problem(&profile(1), numbered(MAX_FIELDS, &json!(1))), None);
    assert_eq!(problem(&profile(1), numbered(MAX_FIELDS + 1, &json!(1))), Some(("attributes".into(), "TOO_MANY_FIELDS")));
    let mut with_own = numbered(MAX_FIELDS, &json!(1));
    with_own.extend([fact("name", "crm", 0, "Ada"), fact("email", "crm", 0, "a@example.com"), fact("bio", "crm", 0, "x")]);
    assert_eq!(problem(&profile(1), with_own), None, "a profile's own fields are no attributes");
    assert_eq!(problem(&organization(), numbered(MAX_STORED_FIELDS, &Value::Null)), None, "removed fields are kept");
    assert_eq!(
        problem(&organization(), numbered(MAX_STORED_FIELDS + 1, &Value::Null)),
        Some(("attributes".into(), "TOO_MANY_FIELDS"))
    );
}

#[test]
fn as_many_sources_as_the_limit_are_taken_and_one_more_is_refused() {
    let by = |count: usize| (0..count).map(|number| fact("plan", &format!("s{number}"), 0, "x")).collect();
    assert_eq!(problem(&profile(1), by(MAX_SOURCES)), None);
    assert_eq!(problem(&profile(1), by(MAX_SOURCES + 1)), Some(("attributes.plan".into(), "TOO_MANY_SOURCES")));
}

#[test]
fn attributes_may_take_as_many_bytes_as_the_limit_and_not_one_more() {
    // {"a":"…"}
    let text = |bytes: usize| vec![fact("a", "crm", 0, "x".repeat(bytes - r#"{"a":""}"#.len()))];
    assert_eq!(problem(&profile(1), text(MAX_ATTRIBUTES_BYTES)), None);
    assert_eq!(problem(&profile(1), text(MAX_ATTRIBUTES_BYTES + 1)), Some(("attributes".into(), "ATTRIBUTES_TOO_LARGE")));
    // {"a":"…","b":1}, each from a source of its own: together they exceed what each may send.
    let two = |bytes: usize| vec![fact("a", "crm", 0, "x".repeat(bytes - r#"{"a":"","b":1}"#.len())), fact("b", "web", 0, 1)];
    assert_eq!(problem(&profile(1), two(MAX_ATTRIBUTES_BYTES)), None);
    assert_eq!(problem(&profile(1), two(MAX_ATTRIBUTES_BYTES + 1)), Some(("attributes".into(), "ATTRIBUTES_TOO_LARGE")));
}

#[test]
fn values_nest_as_deep_as_the_limit_and_no_deeper_in_any_entity() {
    for key in [profile(1), organization()] {
        assert_eq!(problem(&key, vec![fact("a", "crm", 0, nested(MAX_DEPTH))]), None);
        assert_eq!(problem(&key, vec![fact("a", "crm", 0, nested(MAX_DEPTH + 1))]), Some(("attributes.a".into(), "TOO_DEEP")));
    }
}

#[test]
fn a_profiles_own_fields_are_typed_whoever_reports_them_and_null_is_of_every_type() {
    for (name, value, code) in [
        ("name", json!("é".repeat(MAX_NAME_CHARS)), None),
        ("name", json!("é".repeat(MAX_NAME_CHARS + 1)), Some("INVALID_NAME")),
        ("name", json!("\u{a0} \t"), Some("INVALID_NAME")),
        ("name", json!(1), Some("INVALID_TYPE")),
        ("name", Value::Null, None),
        ("email", json!("ada@example.com"), None),
        ("email", json!("ada"), Some("INVALID_EMAIL")),
        ("email", json!(["ada@example.com"]), Some("INVALID_TYPE")),
        ("email", Value::Null, None),
        ("bio", json!("🦀".repeat(MAX_BIO_CHARS)), None),
        ("bio", json!("🦀".repeat(MAX_BIO_CHARS + 1)), Some("BIO_TOO_LONG")),
        ("bio", json!(""), None),
        ("bio", json!({}), Some("INVALID_TYPE")),
    ] {
        for from in ["api", "crm"] {
            let found = problem(&profile(1), vec![fact(name, from, 0, value.clone())]);
            assert_eq!(found, code.map(|code| (name.to_owned(), code)), "{name}: {value}");
        }
        assert_eq!(problem(&organization(), vec![fact(name, "crm", 0, value)]), None, "an organization's {name} is an attribute");
    }
}

#[test]
fn text_with_nul_is_refused_wherever_it_hides() {
    for value in [json!("a\0"), json!(["\0"]), json!({"a": {"b": "\0"}}), json!({"\0": 1})] {
        for key in [profile(1), organization()] {
            let found = problem(&key, vec![fact("a", "crm", 0, value.clone())]);
            assert_eq!(found, Some(("attributes.a".into(), "CONTAINS_NUL")), "{value:?}");
        }
    }
}
