//! Entities, facts and rules to begin from: few sources, fields, dates and values, so that they collide.

use profile_domain::{
    Changeset, Entity, EntityKey, EntityType, EntityWrite, Expect, Fact, FieldName, Intent, Moment, ProfileId, Reference, Rule,
    Rules, SourceName, Version,
};
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use uuid::Uuid;

pub(crate) type Facts = Vec<(FieldName, Fact)>;

/// Later than every date in [`facts`].
pub(crate) const NOW: i64 = 1_000;

pub(crate) fn at(micros: i64) -> Moment {
    Moment::from_micros(micros)
}

pub(crate) fn field(name: &str) -> FieldName {
    FieldName::parse(name).expect("a field name")
}

pub(crate) fn source(name: &str) -> SourceName {
    SourceName::parse(name).expect("a source name")
}

pub(crate) fn version(number: i64) -> Version {
    Version::new(number).expect("a version")
}

pub(crate) fn profile(number: u128) -> EntityKey {
    EntityKey::profile(ProfileId(Uuid::from_u128(number)))
}

pub(crate) fn organization() -> EntityKey {
    EntityKey {
        entity_type: EntityType::parse("organization").expect("a type"),
        reference: Reference::parse("acc-12d").expect("a reference"),
    }
}

pub(crate) fn fact(name: &str, from: &str, date: i64, value: impl Into<Value>) -> (FieldName, Fact) {
    (field(name), Fact { source: source(from), reference_date: at(date), value: value.into() })
}

pub(crate) fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(members) => members,
        other => panic!("not an object: {other}"),
    }
}

pub(crate) fn write(key: &EntityKey, intent: Intent) -> EntityWrite {
    EntityWrite { key: key.clone(), intent, expect: Expect::Any, required: false }
}

pub(crate) fn changeset(writes: impl IntoIterator<Item = EntityWrite>) -> Changeset {
    Changeset::of(at(NOW), writes.into_iter().collect())
}

/// What an intent makes of an entity that breaks no rule; what it was, if nothing changes.
pub(crate) fn applied(current: Option<Entity>, intent: &Intent, now: i64, rules: &Rules) -> Option<Entity> {
    match Entity::apply(current.as_ref(), &organization(), intent, at(now), rules) {
        Ok(Some(next)) => Some(next),
        Ok(None) => current,
        Err(rejection) => panic!("{rejection:?}"),
    }
}

/// Whether an intent changes nothing.
pub(crate) fn changes_nothing(current: Option<&Entity>, intent: &Intent, now: i64, rules: &Rules) -> bool {
    Entity::apply(current, &organization(), intent, at(now), rules) == Ok(None)
}

/// An entity of which these facts are known.
pub(crate) fn known(facts: &Facts, rules: &Rules) -> Option<Entity> {
    applied(None, &Intent::Merge(facts.clone()), NOW, rules)
}

pub(crate) fn served(entity: Option<&Entity>) -> Map<String, Value> {
    let living = entity.and_then(|entity| entity.living.as_ref());
    living.into_iter().flat_map(profile_domain::Living::served).map(|(field, value)| (field.to_string(), value.clone())).collect()
}

pub(crate) fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        2 => Just(Value::Null),
        1 => Just(json!("a")),
        1 => Just(json!("b")),
        1 => Just(json!(1)),
        1 => Just(json!(1.5)),
        1 => Just(json!({"m": "a"})),
        1 => Just(json!({"m": "a", "n": [null, {}]})),
    ]
}

pub(crate) fn a_fact() -> impl Strategy<Value = (FieldName, Fact)> {
    let names = prop::sample::select(vec!["plan", "city", "n"]);
    let sources = prop::sample::select(vec!["api", "billing", "crm", "web"]);
    (names, sources, 0..6_i64, value()).prop_map(|(name, from, date, value)| fact(name, from, date, value))
}

pub(crate) fn facts() -> impl Strategy<Value = Facts> {
    prop::collection::vec(a_fact(), 0..14)
}

pub(crate) fn document() -> impl Strategy<Value = Map<String, Value>> {
    let names = prop::sample::select(vec!["plan", "city", "n", "other"]);
    prop::collection::btree_map(names, value(), 0..4)
        .prop_map(|members| members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

fn rule() -> impl Strategy<Value = Rule> {
    let order = prop::sample::subsequence(vec!["crm", "web", "api", "billing"], 0..4).prop_shuffle();
    prop_oneof![Just(Rule::Newest), order.prop_map(|names| Rule::Priority(names.into_iter().map(source).collect())),]
}

pub(crate) fn rules() -> impl Strategy<Value = Rules> {
    (rule(), rule(), 0..3_i32).prop_map(|(default, plan, revision)| Rules {
        revision,
        default,
        fields: [(field("plan"), plan)].into(),
    })
}
