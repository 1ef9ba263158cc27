//! What live sources say, merged: never by the order in which they answered.

use std::collections::BTreeMap;

use profile_domain::{
    Fact, FieldName, Moment, Rule, Rules, SourceName,
    json::canonical,
    views::{Catalog, LiveSource, Mapping, MappingError, Period, Pointer, Priorities, Section, check, profile, section},
};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::given::{at, field, source};

const SOURCES: [&str; 4] = ["a", "b", "c", "d"];
const FIELDS: [&str; 3] = ["name", "plan", "city"];

fn priorities() -> impl Strategy<Value = Priorities> {
    let by_field = prop::collection::btree_map(prop::sample::select(&FIELDS[..]).prop_map(field), 0..3_u32, 0..3);
    (prop::option::of(0..2_u32), by_field).prop_map(|(default, fields)| Priorities { default, fields })
}

fn catalog() -> impl Strategy<Value = Catalog> {
    let rule = prop_oneof![Just(Rule::Newest), Just(Rule::Priority(vec![source("c"), source("a")]))];
    (prop::collection::vec(priorities(), SOURCES.len()), rule).prop_map(|(priorities, rule)| Catalog {
        sources: SOURCES
            .iter()
            .zip(priorities)
            .map(|(name, priorities)| (source(name), LiveSource { priorities, ..LiveSource::default() }))
            .collect(),
        views: BTreeMap::new(),
        rules: Rules { revision: 1, default: rule, fields: BTreeMap::new() },
    })
}

/// One answer per source at most, with few dates and values, so that they tie.
fn answers() -> impl Strategy<Value = Vec<(FieldName, Fact)>> {
    let value = prop_oneof![Just(Value::Null), (0..3_u8).prop_map(Value::from), Just(json!({"x": [1]}))];
    let said = prop::collection::btree_map(prop::sample::select(&FIELDS[..]), value, 0..=FIELDS.len());
    prop::collection::btree_map(prop::sample::select(&SOURCES[..]), (0..2_i64, said), 0..=SOURCES.len()).prop_map(|answers| {
        let facts = |(name, (date, said)): (&str, (i64, BTreeMap<&str, Value>))| {
            let from = source(name);
            said.into_iter()
                .map(move |(name, value)| (field(name), Fact { source: from.clone(), reference_date: at(date), value }))
                .collect::<Vec<_>>()
        };
        answers.into_iter().flat_map(facts).collect()
    })
}

proptest! {
    /// Ties of priority, of date and of both included.
    #[test]
    fn every_order_of_arrival_gives_the_same_bytes(
        catalog in catalog(),
        (first, second) in answers().prop_flat_map(|facts| (Just(facts.clone()), Just(facts).prop_shuffle())),
    ) {
        let sources: Vec<SourceName> = SOURCES.iter().map(|name| source(name)).collect();
        let shown = |facts: Vec<(FieldName, Fact)>| {
            let believed = catalog.believed(&sources);
            let merged = believed.merge(facts);
            let explained: Vec<String> = merged.iter().map(|(field, facts)| format!("{facts:?} {}", believed.explain(field))).collect();
            (canonical(&profile("x", &merged)), explained)
        };
        prop_assert_eq!(shown(first), shown(second));
    }

    /// Written apart from it: the lowest number, then the latest date, then the first name.
    #[test]
    fn the_lowest_number_is_believed_then_the_latest_date_then_the_first_name(catalog in catalog(), facts in answers()) {
        let sources: Vec<SourceName> = SOURCES.iter().map(|name| source(name)).collect();
        let merged = catalog.believed(&sources).merge(facts.clone());
        for name in FIELDS.map(field) {
            let number = |from: &SourceName| {
                let priorities = &catalog.sources[from].priorities;
                priorities.fields.get(&name).copied().or(priorities.default).map_or(i64::MAX, i64::from)
            };
            let listed = |from: &SourceName| match &catalog.rules.default {
                Rule::Newest => 0,
                Rule::Priority(list) => list.iter().position(|known| known == from).map_or(i64::MAX, |place| i64::try_from(place).unwrap_or(i64::MAX)),
            };
            let numbered = sources.iter().any(|from| number(from) < i64::MAX);
            let rank = |from: &SourceName| if numbered { number(from) } else { listed(from) };
            let of_it = facts.iter().filter(|(field, _)| *field == name).map(|(_, fact)| fact);
            let best = of_it.min_by_key(|fact| (rank(&fact.source), -fact.reference_date.as_micros(), fact.source.clone()));
            prop_assert_eq!(merged.get(&name).map(|facts| &facts.winner), best);
        }
    }
}

fn mapping(fields: &[(&str, &str)], date: Option<&str>) -> Mapping {
    let pointer = |text: &str| Pointer::parse(text).expect("a pointer");
    Mapping {
        fields: fields.iter().map(|(name, text)| (field(name), pointer(text))).collect(),
        reference_date: date.map(pointer),
    }
}

fn said(mapping: &Mapping, document: Value) -> Result<Value, MappingError> {
    let facts = mapping.facts(&source("crm"), "7", document, at(0))?;
    Ok(facts.into_iter().map(|(field, fact)| (field.to_string(), fact.value)).collect())
}

#[test]
fn pointers_name_fields_and_the_rest_passes_through() {
    let mapping = mapping(&[("email", "/contact/mail"), ("name", "/full~1name"), ("bio", "/nowhere")], Some("/at"));
    let document = json!({"id": "other", "contact": {"mail": "a@b.c", "fax": 1}, "full/name": "Ada", "email": "x@y.z", "at": null, "plan": null});
    assert_eq!(said(&mapping, document), Ok(json!({"email": "a@b.c", "name": "Ada", "plan": null})));
    let whole = self::mapping(&[("transactions", "")], None);
    assert_eq!(said(&whole, json!([1])), Ok(json!({"transactions": [1]})));
}

#[test]
fn answers_that_cannot_be_used_are_refused_whole() {
    let mapping = mapping(&[("id", "/key")], Some("/at"));
    assert_eq!(said(&mapping, json!({"key": 7, "at": "1970-01-01T00:05:00Z", "a": 1})), Ok(json!({"a": 1})));
    assert_eq!(said(&mapping, json!({"key": "8", "a": 1})), Err(MappingError::AnotherId));
    assert_eq!(said(&mapping, json!({"key": [7], "a": 1})), Err(MappingError::AnotherId));
    for document in [json!([]), json!("x"), json!(1), Value::Null] {
        assert_eq!(said(&mapping, document), Err(MappingError::NotAnObject));
    }
    for date in [json!("yesterday"), json!(0), json!("1970-01-01T00:05:01Z")] {
        assert_eq!(said(&mapping, json!({"at": date})), Err(MappingError::Date));
    }
    let deep = (0..40).fold(json!(1), |inner, _| json!([inner]));
    assert_eq!(said(&mapping, json!({"deep": deep})), Err(MappingError::Value(field("deep"))));
    let many: Value = (0..1_025).map(|number| (format!("f{number}"), json!(1))).collect();
    assert_eq!(said(&mapping, many), Err(MappingError::TooMany));
}

#[test]
fn sections_have_their_form_and_lists_their_period() {
    let facts = |document: Value| mapping(&[], None).facts(&source("crm"), "7", document, at(0)).expect("facts");
    let catalog = Catalog::default();
    let shown = |of: Section, document: Value, period: Option<&str>| {
        let facts = facts(document);
        check(of, &facts)?;
        let merged = catalog.believed(&[]).merge(facts);
        section(of, "7", &merged, period.map(|text| text.parse::<Period>().expect(text)))
    };
    assert_eq!(
        shown(Section::Customer, json!({"name": "Ada", "preferences": {"language": "en", "x": 1}, "customer_id": "9"}), None),
        Ok(json!({"customer_id": "7", "name": "Ada", "email": null, "preferences": {"language": "en", "currency": null}}))
    );
    let transactions = json!({"transactions": [
        {"transaction_id": "t1", "amount": 1.5, "date": "2026-01-01", "status": "paid", "more": {}},
        {"transaction_id": "t2", "amount": 2, "date": "2026-02-01T00:00:00Z", "status": "open"},
    ]});
    let up_to = shown(Section::Transaction, transactions.clone(), Some("2026-01-01T00:00:00Z"));
    let first = json!({"transaction_id": "t1", "amount": 1.5, "date": "2026-01-01", "status": "paid"});
    assert_eq!(up_to, Ok(json!({"transactions": [first]})));
    let all = shown(Section::Transaction, transactions, None).expect("both");
    assert_eq!(all["transactions"].as_array().map(Vec::len), Some(2));
    assert_eq!(shown(Section::Master, json!({}), None), Ok(json!({"products": [], "categories": []})));
    for (of, wrong) in [
        (Section::Customer, json!({"preferences": 1})),
        (Section::Customer, json!({"email": ["a"]})),
        (Section::Master, json!({"products": {"a": 1}})),
        (Section::Master, json!({"categories": [{"category_id": []}]})),
        (Section::Transaction, json!({"transactions": [1]})),
        (Section::Transaction, json!({"transactions": [{"date": "soon"}]})),
        (Section::Fields, json!({"email": 1})),
        (Section::Fields, json!({"name": {}})),
    ] {
        assert!(shown(of, wrong.clone(), None).is_err(), "{wrong}");
    }
    assert_eq!(Period::moment_of("1970-01-01"), Some(Moment::from_micros(0)));
}
