//! Merging is a join: any order, batching and repetition of the same facts ends in the same state.

use std::collections::BTreeSet;

use profile_domain::{
    Entity, Intent, ItemOutcome, ItemReceipt, Receipt, Replay, Rules, TaskId, TaskReceipt, TaskStatus,
    stored::{FactColumns, receipt_from_json, receipt_to_json},
};
use proptest::prelude::*;
use serde_json::{Map, Value};

use crate::given::{Facts, NOW, a_fact, applied, at, changes_nothing, facts, known, organization, profile, rules, version};

fn fields(entity: Option<Entity>) -> Option<impl PartialEq + std::fmt::Debug> {
    entity.and_then(|entity| entity.living).map(|living| living.fields)
}

/// Merges in batches of these sizes, in turn.
fn in_batches(facts: &Facts, sizes: &[usize], rules: &Rules) -> Option<Entity> {
    let mut entity = None;
    let mut rest = facts.as_slice();
    let mut sizes = sizes.iter().cycle();
    while !rest.is_empty() {
        let (batch, later) = rest.split_at((*sizes.next().expect("endless")).min(rest.len()));
        entity = applied(entity, &Intent::Merge(batch.to_vec()), NOW, rules);
        rest = later;
    }
    entity
}

proptest! {
    #[test]
    fn any_order_and_batching_of_the_same_facts_ends_in_the_same_state(
        (facts, shuffled) in facts().prop_flat_map(|facts| {
            let repeated: Facts = facts.iter().chain(facts.iter().take(3)).cloned().collect();
            (Just(facts), Just(repeated).prop_shuffle())
        }),
        sizes in prop::collection::vec(1..5_usize, 1..4),
        rules in rules(),
    ) {
        prop_assert_eq!(fields(known(&facts, &rules)), fields(in_batches(&shuffled, &sizes, &rules)));
    }

    #[test]
    fn merging_is_associative_over_states_not_only_over_facts(a in facts(), b in facts(), rules in rules()) {
        // What an entity keeps of b's facts is as good as b's facts.
        let kept: Facts = known(&b, &rules)
            .and_then(|entity| entity.living)
            .into_iter()
            .flat_map(|living| living.fields)
            .flat_map(|(field, facts)| facts.iter().map(|fact| (field.clone(), fact.clone())).collect::<Vec<_>>())
            .collect();
        let with_facts = applied(known(&a, &rules), &Intent::Merge(b), NOW, &rules);
        let with_state = applied(known(&a, &rules), &Intent::Merge(kept), NOW, &rules);
        prop_assert_eq!(fields(with_facts), fields(with_state));
    }

    #[test]
    fn merging_the_same_facts_again_changes_nothing(facts in facts(), again in any::<prop::sample::Index>(), now in 0..2 * NOW, rules in rules()) {
        let entity = known(&facts, &rules);
        prop_assert!(changes_nothing(entity.as_ref(), &Intent::Merge(facts.clone()), now, &rules));
        if !facts.is_empty() {
            let one = facts[again.index(facts.len())].clone();
            prop_assert!(changes_nothing(entity.as_ref(), &Intent::Merge(vec![one]), now, &rules));
        }
        prop_assert!(changes_nothing(entity.as_ref(), &Intent::Merge(Vec::new()), now, &rules));
    }

    #[test]
    fn the_winner_is_the_one_that_the_rule_prefers_and_each_source_has_one_fact(facts in facts(), rules in rules()) {
        for (field, facts) in known(&facts, &rules).and_then(|entity| entity.living).into_iter().flat_map(|living| living.fields) {
            let sources: Vec<_> = facts.iter().map(|fact| fact.source.clone()).collect();
            prop_assert_eq!(sources.iter().collect::<BTreeSet<_>>().len(), sources.len());
            prop_assert!(facts.superseded.is_sorted_by_key(|fact| fact.source.clone()));
            for loser in &facts.superseded {
                prop_assert!(rules.of(&field).prefers(&facts.winner, loser));
                prop_assert!(!rules.of(&field).prefers(loser, &facts.winner));
            }
        }
    }

    #[test]
    fn a_rule_orders_facts_of_different_sources_totally((_, a) in a_fact(), (field, b) in a_fact(), (_, c) in a_fact(), rules in rules()) {
        let rule = rules.of(&field);
        if a.source != b.source {
            prop_assert_ne!(rule.prefers(&a, &b), rule.prefers(&b, &a));
            if a.source != c.source && b.source != c.source && rule.prefers(&a, &b) && rule.prefers(&b, &c) {
                prop_assert!(rule.prefers(&a, &c));
            }
        }
    }

    #[test]
    fn rules_of_a_higher_revision_resolve_anew_once_and_a_lower_one_never(facts in facts(), old in rules(), new in rules()) {
        let entity = known(&facts, &old);
        let merge = Intent::Merge(facts.clone());
        if new.revision > old.revision {
            let resolved = applied(entity, &merge, NOW, &new);
            prop_assert_eq!(fields(resolved.clone()), fields(known(&facts, &new)));
            // An entity in which no winner changed isn't written, so its revision may be the old one.
            prop_assert!(changes_nothing(resolved.as_ref(), &merge, NOW, &new));
        } else {
            prop_assert!(changes_nothing(entity.as_ref(), &merge, NOW, &new));
        }
    }

    #[test]
    fn stored_columns_give_back_the_same_facts(facts in facts(), rules in rules()) {
        let Some(living) = known(&facts, &rules).and_then(|entity| entity.living) else { return Ok(()) };
        let columns = FactColumns::of(&living);
        // As text, as a store keeps them.
        let text = |value: &Value| -> Value { serde_json::from_str(&value.to_string()).expect("JSON") };
        let members = |map: &Map<String, Value>| text(&Value::Object(map.clone())).as_object().cloned().expect("an object");
        let read = FactColumns {
            properties: members(&columns.properties),
            provenance: text(&columns.provenance),
            superseded: columns.superseded.as_ref().map(members),
        };
        prop_assert_eq!(&read, &columns);
        prop_assert_eq!(read.into_fields(), Ok(living.fields));
    }
}

#[test]
fn columns_that_cannot_have_been_written_are_malformed() {
    let living =
        known(&vec![crate::given::fact("plan", "crm", 1, "a"), crate::given::fact("plan", "web", 0, "b")], &Rules::default())
            .and_then(|entity| entity.living)
            .expect("it lives");
    let whole = FactColumns::of(&living);
    let broken: [fn(&mut FactColumns); 5] = [
        |columns| columns.provenance = Value::Null,
        |columns| columns.provenance = serde_json::json!([]),
        |columns| columns.provenance = serde_json::json!([["crm", "soon", ["plan"]]]),
        |columns| drop(columns.properties.insert("more".into(), Value::from(1))),
        |columns| {
            columns.superseded =
                columns.superseded.take().map(|losers| losers.into_iter().map(|(_, fact)| ("x".into(), fact)).collect());
        },
    ];
    for (index, break_it) in broken.into_iter().enumerate() {
        let mut columns = whole.clone();
        break_it(&mut columns);
        assert!(columns.into_fields().is_err(), "number {index}");
    }
}

#[test]
fn a_receipt_comes_back_from_its_stored_form_as_a_replay() {
    let outcomes = [
        ItemOutcome::Created(version(1)),
        ItemOutcome::Updated(version(7)),
        ItemOutcome::Deleted(version(8)),
        ItemOutcome::Unchanged(Some(version(2))),
        ItemOutcome::Unchanged(None),
    ];
    let keys = [profile(1), organization(), profile(3), profile(4), profile(5)];
    let outcomes = keys.into_iter().zip(outcomes).map(|(key, outcome)| ItemReceipt { key, outcome }).collect();
    let task =
        TaskReceipt { id: TaskId(uuid::Uuid::from_u128(7)), status: TaskStatus::Queued, run_at: at(90), created_at: at(-5) };
    let receipt = Receipt { at: at(-5), outcomes, states: [].into(), tasks: vec![task], replay: Replay::No };
    assert_eq!(receipt_from_json(Some(&receipt_to_json(&receipt))), Ok(Receipt { replay: Replay::Yes, ..receipt }));
    let forgotten = receipt_from_json(None).expect("a receipt");
    assert_eq!((forgotten.outcomes.len(), forgotten.replay), (0, Replay::Forgotten));
    assert!(receipt_from_json(Some(&serde_json::json!({"at": 0}))).is_err());
}
