//! What is found by key is what matches, and the other way round.

use std::collections::BTreeSet;

use profile_domain::{
    Entity, EntityKey, Fact, FieldName, Intent, Living, Rules,
    search::{Filter, MAX_VALUE_BYTES, SearchFields, difference, keys},
    text::EmailAddress,
};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use crate::given::{NOW, at, field, object, organization, profile, source};

fn entity(key: &EntityKey, properties: &Map<String, Value>) -> Living {
    let facts = properties
        .iter()
        .map(|(name, value)| (field(name), Fact { source: source("crm"), reference_date: at(0), value: value.clone() }));
    let entity = Entity::apply(None, key, &Intent::Merge(facts.collect()), at(NOW), &Rules::default());
    entity.expect("valid").expect("something").living.expect("it lives")
}

fn property() -> impl Strategy<Value = (&'static str, Value)> {
    let values = vec![
        json!("pro"),
        json!("1"),
        json!(1),
        json!(1.5),
        json!(true),
        json!("true"),
        json!(""),
        json!("a@example.com"),
        Value::Null,
        json!({"b": "pro", "c": 1}),
        json!({"b": {"c": "pro"}}),
        json!({"b": null}),
        json!(["pro"]),
        json!({}),
        json!("x".repeat(MAX_VALUE_BYTES)),
        json!("x".repeat(MAX_VALUE_BYTES + 1)),
    ];
    let attribute = (prop::sample::select(vec!["a", "b", "a.b", "plan"]), prop::sample::select(values));
    let emails = prop::sample::select(vec!["a@example.com", "A@Example.com", "b@example.com"]);
    prop_oneof![
        4 => attribute,
        1 => emails.prop_map(|email| ("email", json!(email))),
        1 => Just(("name", json!("pro"))),
        1 => Just(("bio", json!("pro"))),
    ]
}

fn filter() -> impl Strategy<Value = (String, Filter)> {
    let paths = prop::sample::select(vec!["a", "b", "a.b", "a.c", "a.b.c", "plan", "plan.b", "name", "bio", "email", "none"]);
    let texts = vec![
        "pro".to_owned(),
        "1".into(),
        "1.5".into(),
        "true".into(),
        String::new(),
        "a@example.com".into(),
        "x".repeat(MAX_VALUE_BYTES),
        "x".repeat(MAX_VALUE_BYTES + 1),
    ];
    let email = EmailAddress::parse("A@EXAMPLE.com").expect("an address");
    prop_oneof![
        8 => (paths, prop::sample::select(texts)).prop_map(|(path, text)| (path.to_owned(), Filter::attribute(path, &text))),
        1 => Just(("email".to_owned(), Filter::email(&email))),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn an_entity_has_the_key_of_a_filter_exactly_if_it_matches(
        properties in prop::collection::vec(property(), 1..5), (_, filter) in filter(), is_profile in any::<bool>(),
    ) {
        let key = if is_profile { profile(1) } else { organization() };
        let properties: Map<String, Value> = properties.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let found = keys(&key, &entity(&key, &properties), &SearchFields::All).contains(&filter.key(&key.entity_type));
        prop_assert_eq!(found, filter.matches(&key.entity_type, &(&properties).into()), "{:?}", properties);
    }

    #[test]
    fn only_configured_attributes_are_found_and_addresses_always(
        properties in prop::collection::vec(property(), 1..5), (path, filter) in filter(),
    ) {
        let key = profile(1);
        let properties: Map<String, Value> = properties.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let only = SearchFields::Only(BTreeSet::from([field("a")]));
        let living = entity(&key, &properties);
        let found = keys(&key, &living, &only).contains(&filter.key(&key.entity_type));
        prop_assert!(!found || filter.matches(&key.entity_type, &(&properties).into()));
        if path == "email" || path == "a" {
            prop_assert_eq!(found, filter.matches(&key.entity_type, &(&properties).into()), "{:?}", properties);
        }
        prop_assert!(!found || path == "email" || only.covers(&path), "found by {} in {:?}", path, properties);
    }

    #[test]
    fn differences_lead_from_the_old_keys_to_the_new(before in prop::collection::vec(property(), 1..5), after in prop::collection::vec(property(), 1..5)) {
        let keyed = |properties: Vec<(&str, Value)>| {
            let properties = properties.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
            keys(&profile(1), &entity(&profile(1), &properties), &SearchFields::All)
        };
        let (before, after) = (keyed(before), keyed(after));
        let (added, removed) = difference(&before, &after);
        let mut moved = before.clone();
        for key in &removed {
            prop_assert!(moved.remove(key));
        }
        for key in added {
            prop_assert!(moved.insert(key));
        }
        prop_assert_eq!(moved, after);
    }
}

#[test]
fn keys_are_the_same_for_ever() {
    let filter = Filter::attribute("plan", "pro");
    let of = |key: &EntityKey| filter.key(&key.entity_type).0;
    assert_ne!(of(&profile(1)), of(&organization()), "a key is of one type");
    // A change of these makes every stored search row stale: rebuild them in a migration.
    assert_eq!((of(&profile(1)), of(&organization())), (FROZEN_PROFILE, FROZEN_ORGANIZATION));
    let fields: Vec<FieldName> = vec![field("a"), field("a.b")];
    assert!(SearchFields::Only(fields.into_iter().collect()).covers("a.b.c"));
    let matches = filter.matches(&profile(1).entity_type, &(&object(json!({"plan": "pro"}))).into());
    assert!(matches);
}

const FROZEN_PROFILE: i64 = 1_398_827_010_093_830_457;
const FROZEN_ORGANIZATION: i64 = 8_006_337_340_934_018_904;
