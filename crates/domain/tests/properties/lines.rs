//! Lines of imports and exports.

use profile_domain::{
    Entity, EntityKey, Intent, ProfileId, Rules,
    json::{canonical, parse},
    line::{self, ImportLine},
    profile::{DocumentError, FieldProblem},
};
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::given::{Facts, NOW, at, document, fact, facts, object, rules};

const ID: &str = "0190f3c2-6f0e-7cc3-98a2-000000000001";

fn id() -> ProfileId {
    ProfileId(Uuid::parse_str(ID).expect("a UUID"))
}

/// What becomes of a profile by these facts, a PUT, perhaps a deletion, and perhaps a revival.
fn lived(facts: &Facts, put: Map<String, Value>, ends: u8, rules: &Rules) -> Option<Entity> {
    let own =
        [fact("email", "api", 2, "Ada@example.com"), fact("email", "crm", 3, "b@example.com"), fact("name", "web", 1, "Ada")];
    let mut steps = vec![Intent::Merge(own.to_vec()), Intent::Merge(facts.clone()), Intent::Replace(put)];
    steps.extend((ends > 0).then_some(Intent::Delete));
    steps.extend((ends > 1).then(|| Intent::Merge(vec![fact("plan", "crm", 100 * NOW, Value::Null)])));
    steps.into_iter().zip(NOW..).fold(None, |current, (intent, now)| {
        match Entity::apply(current.as_ref(), &EntityKey::profile(id()), &intent, at(now), rules) {
            Ok(Some(next)) => Some(next),
            Ok(None) => current,
            Err(rejection) => panic!("{rejection:?}"),
        }
    })
}

proptest! {
    #[test]
    fn what_was_exported_is_read_back_as_it_was(facts in facts(), put in document(), ends in 0..3_u8, rules in rules()) {
        let entity = lived(&facts, put, ends, &rules).expect("it was created");
        prop_assert_eq!(entity.living.is_none(), ends == 1);
        prop_assert_eq!(entity.floor.is_some(), ends > 0);
        let text = line::export(&EntityKey::profile(id()), &entity);
        let value = parse(text.as_bytes()).expect("JSON");
        prop_assert_eq!(canonical(&value), text.as_str(), "in canonical form");
        prop_assert!(!text.contains('\n'));
        let (read, restored) = line::parse_export(&value).expect("a line of an export");
        prop_assert_eq!(read, id());
        prop_assert_eq!(line::export(&EntityKey::profile(read), &restored), text);
        prop_assert_eq!(restored, entity);
    }

    #[test]
    fn a_line_without_one_of_its_members_or_with_another_is_refused(ends in 0..3_u8, pick in any::<prop::sample::Index>()) {
        let entity = lived(&Vec::new(), Map::new(), ends, &Rules::default()).expect("it was created");
        let text = line::export(&EntityKey::profile(id()), &entity);
        let whole = object(parse(text.as_bytes()).expect("JSON"));
        let name = whole.keys().nth(pick.index(whole.len())).expect("a member").clone();
        let mut less = whole.clone();
        less.remove(&name);
        // A revived profile without its floor is one that was never deleted.
        prop_assert_eq!(line::parse_export(&Value::Object(less)).is_err(), (name.as_str(), ends) != ("deleted_at", 2), "{}", name);
        let mut malformed = whole.clone();
        malformed.insert(name.clone(), json!([name]));
        prop_assert!(line::parse_export(&Value::Object(malformed)).is_err(), "{name}");
        let mut more = whole;
        more.insert(format!("{name}s"), json!(1));
        let problem = line::parse_export(&Value::Object(more)).expect_err("an unknown member");
        prop_assert_eq!((problem.field, problem.code), (format!("{name}s"), "UNKNOWN_MEMBER"));
    }
}

#[test]
fn a_line_of_an_export_says_all_and_only_this() {
    let facts = vec![
        fact("email", "api", 1, "Ada@Example.com"),
        fact("email", "crm", 2, "b@example.com"),
        fact("plan", "web", 3, Value::Null),
        fact("plan", "crm", 1, json!({"b": 1.5, "a": [null]})),
    ];
    let key = EntityKey::profile(id());
    let entity = Entity::apply(None, &key, &Intent::Merge(facts), at(NOW), &Rules::default()).expect("valid").expect("created");
    assert_eq!(
        line::export(&key, &entity),
        format!(
            r#"{{"created_at":"1970-01-01T00:00:00.001Z","facts":{{"email":[{},{}],"plan":[{},{}]}},"id":"{ID}",{},"version":1}}"#,
            r#"{"reference_date":"1970-01-01T00:00:00.000002Z","source":"crm","value":"b@example.com"}"#,
            r#"{"reference_date":"1970-01-01T00:00:00.000001Z","source":"api","value":"Ada@Example.com"}"#,
            r#"{"reference_date":"1970-01-01T00:00:00.000003Z","source":"web","value":null}"#,
            r#"{"reference_date":"1970-01-01T00:00:00.000001Z","source":"crm","value":{"a":[null],"b":1.5}}"#,
            r#""reserved_email":"ada@example.com","rules_revision":0,"updated_at":"1970-01-01T00:00:00.001Z""#,
        )
    );
    let gone = Entity { version: entity.version.next(), floor: Some(at(NOW)), living: None };
    assert_eq!(
        line::export(&key, &gone),
        format!(r#"{{"deleted":true,"deleted_at":"1970-01-01T00:00:00.001Z","id":"{ID}","version":2}}"#)
    );
}

#[test]
fn lines_that_no_export_gave_are_refused_with_the_member_to_blame() {
    let told = |source: &str, value: Value| json!({"source": source, "reference_date": "2026-01-01T00:00:00Z", "value": value});
    let with = |member: &str, value: Value| {
        let mut line = json!({
            "id": ID, "version": 1, "created_at": "2026-01-01T00:00:00Z", "updated_at": "2026-01-01T00:00:00Z",
            "rules_revision": 0, "facts": {"plan": [told("crm", json!("pro")), told("web", json!(null))]},
        });
        line[member] = value;
        line
    };
    assert!(line::parse_export(&with("version", json!(7))).is_ok());
    for (member, value, field, code) in [
        ("id", json!("1"), "id", "INVALID_ID"),
        ("id", json!(null), "id", "REQUIRED"),
        ("version", json!(0), "version", "INVALID_VERSION"),
        ("version", json!(1.5), "version", "INVALID_VERSION"),
        ("version", json!("1"), "version", "INVALID_VERSION"),
        ("deleted_at", json!("yesterday"), "deleted_at", "INVALID_TIME"),
        ("deleted_at", json!(null), "deleted_at", "REQUIRED"),
        ("deleted", json!(1), "deleted", "INVALID_TYPE"),
        ("deleted", json!(true), "deleted_at", "REQUIRED"),
        ("created_at", json!(1), "created_at", "REQUIRED"),
        ("updated_at", json!("2026-13-01T00:00:00Z"), "updated_at", "INVALID_TIME"),
        ("rules_revision", json!(1_i64 << 40), "rules_revision", "REQUIRED"),
        ("reserved_email", json!("a@x.y"), "reserved_email", "MISMATCH"),
        ("facts", json!([]), "facts", "REQUIRED"),
        ("facts", json!({"": []}), "facts.", "INVALID_FIELD_NAME"),
        ("facts", json!({"plan": []}), "facts.plan", "INVALID_FACTS"),
        ("facts", json!({"plan": {}}), "facts.plan", "INVALID_FACTS"),
        ("facts", json!({"plan": [{"source": "crm", "value": 1}]}), "facts.plan", "INVALID_FACTS"),
        ("facts", json!({"plan": [told("crm", json!(1)), told("crm", json!(2))]}), "facts.plan", "INVALID_FACTS"),
        (
            "facts",
            json!({"plan": [told("a", json!(1)), told("b", json!(2)), told("b", json!(3))]}),
            "facts.plan",
            "INVALID_FACTS",
        ),
        ("facts", json!({"email": [told("crm", json!("nobody"))]}), "email", "INVALID_EMAIL"),
        ("facts", json!({"email": [told("api", json!("a@x.y"))]}), "reserved_email", "MISMATCH"),
        ("properties", json!({}), "properties", "UNKNOWN_MEMBER"),
    ] {
        let problem = line::parse_export(&with(member, value.clone())).expect_err("no line of an export");
        assert_eq!((problem.field.as_str(), problem.code), (field, code), "{member}: {value}");
    }
    let tombstone = json!({"id": ID, "version": 2, "deleted": true, "deleted_at": "2026-01-01T00:00:00Z"});
    assert!(line::parse_export(&tombstone).is_ok());
    let mut with_facts = tombstone;
    with_facts["facts"] = json!({});
    assert_eq!(line::parse_export(&with_facts).map_err(|problem| problem.field), Err("facts".into()));
    assert_eq!(line::parse_export(&json!([])).map_err(|problem| problem.code), Err("INVALID_TYPE"));
}

#[test]
fn lines_of_an_import_are_profiles_as_get_shows_them_or_parts_of_them() {
    let line = |id: Option<ProfileId>, fields: Value| Ok(ImportLine { id, fields: object(fields) });
    let refused = |problems: &[(&str, &str)]| -> Vec<(String, String)> {
        problems.iter().map(|(field, code)| ((*field).to_owned(), (*code).to_owned())).collect()
    };
    let taken = [
        (json!({"email": "a@x.y"}), line(None, json!({"email": "a@x.y"}))),
        (json!({"id": null, "email": "a@x.y", "bio": null}), line(None, json!({"email": "a@x.y", "bio": null}))),
        (json!({"id": ID}), line(Some(id()), json!({}))),
        (
            json!({"source": "cache", "id": ID, "name": "Ada", "email": "a@x.y", "attributes": {"n": 1, "gone": null}, "version": 3,
                "created_at": "x", "updated_at": "y", "images": []}),
            line(Some(id()), json!({"name": "Ada", "email": "a@x.y", "n": 1, "gone": null})),
        ),
    ];
    for (given, expected) in taken {
        assert_eq!(line::parse_import(&given), expected, "{given}");
    }
    for (given, expected) in [
        (json!({}), refused(&[("email", "REQUIRED")])),
        (json!({"name": "Ada", "email": null}), refused(&[("email", "REQUIRED")])),
        (json!({"id": "1", "email": "a@x.y"}), refused(&[("id", "INVALID_ID")])),
        (json!({"id": 1}), refused(&[("id", "INVALID_ID")])),
        (json!({"id": ID, "name": " ", "email": "x"}), refused(&[("email", "INVALID_EMAIL"), ("name", "INVALID_NAME")])),
        (json!({"id": ID, "attributes": {"name": 1}}), refused(&[("attributes.name", "RESERVED_FIELD")])),
        (json!({"id": ID, "attributes": []}), refused(&[("attributes", "INVALID_TYPE")])),
    ] {
        let Err(DocumentError::Invalid(problems)) = line::parse_import(&given) else { panic!("{given} should be refused") };
        let mut told: Vec<_> = problems.into_iter().map(|FieldProblem { field, code, .. }| (field, code.to_owned())).collect();
        told.sort();
        assert_eq!(told, expected, "{given}");
    }
    assert_eq!(line::parse_import(&json!([1])), Err(DocumentError::NotAnObject));
    assert_eq!(line::parse_import(&json!({"id": ID, "plan": 1})), Err(DocumentError::UnknownMembers(vec!["plan".into()])));
}
