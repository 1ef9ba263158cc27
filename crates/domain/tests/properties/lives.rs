//! REST writes, deletions and revivals, which read what they find.

use profile_domain::{Entity, Intent, Rejection, Rule, Rules};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use crate::given::{
    Facts, NOW, applied, at, changes_nothing, document, fact, facts, field, known, object, organization, profile, rules, served,
    source, version,
};

fn without_nulls(document: &Map<String, Value>) -> Map<String, Value> {
    document.iter().filter(|(_, value)| !value.is_null()).map(|(name, value)| (name.clone(), value.clone())).collect()
}

fn patch(fields: Map<String, Value>) -> Intent {
    Intent::Patch { fields, clear_attributes: false }
}

proptest! {
    #[test]
    fn the_same_put_again_changes_nothing_whatever_the_rules(
        facts in facts(), document in document(), first in 0..2 * NOW, second in 0..2 * NOW, rules in rules(),
    ) {
        let put = Intent::Replace(document);
        let once = applied(known(&facts, &rules), &put, first, &rules);
        prop_assert!(changes_nothing(once.as_ref(), &put, second, &rules));
    }

    #[test]
    fn the_same_patch_again_changes_nothing_whatever_the_rules(
        facts in facts(), change in document(), first in 0..2 * NOW, second in 0..2 * NOW, rules in rules(),
    ) {
        let once = applied(known(&facts, &rules), &patch(change.clone()), first, &rules);
        prop_assert!(changes_nothing(once.as_ref(), &patch(change), second, &rules));
    }

    #[test]
    fn what_is_served_can_be_put_back_as_it_is(facts in facts(), put in document(), now in 0..2 * NOW, rules in rules()) {
        let entity = applied(known(&facts, &rules), &Intent::Replace(put), now, &rules);
        let served = served(entity.as_ref());
        prop_assert!(changes_nothing(entity.as_ref(), &Intent::Replace(served), now, &rules));
        prop_assert!(changes_nothing(entity.as_ref(), &patch(Map::new()), now, &rules));
    }

    #[test]
    fn under_newest_a_put_is_what_is_served_next_though_its_clock_is_behind(
        facts in facts(), document in document(), now in -10..2 * NOW,
    ) {
        let rules = Rules::default();
        let entity = applied(known(&facts, &rules), &Intent::Replace(document.clone()), now, &rules);
        prop_assert_eq!(served(entity.as_ref()), without_nulls(&document));
    }

    #[test]
    fn under_newest_a_patch_is_a_merge_patch_of_what_is_served(facts in facts(), change in document(), now in 0..2 * NOW) {
        let rules = Rules::default();
        let before = known(&facts, &rules);
        let merged = profile_domain::json::merge_patch(Some(&Value::Object(served(before.as_ref()))), &Value::Object(change.clone()));
        let after = applied(before, &patch(change), now, &rules);
        prop_assert_eq!(Value::Object(served(after.as_ref())), merged);
    }

    #[test]
    fn no_source_but_those_before_api_in_a_priority_hides_a_put(
        facts in facts(), document in document(), order in prop::sample::subsequence(vec!["crm", "web", "billing"], 0..3),
    ) {
        let rules = Rules { default: Rule::Priority(order.iter().map(|name| source(name)).collect()), ..Rules::default() };
        let entity = applied(known(&facts, &rules), &Intent::Replace(document.clone()), NOW, &rules);
        let now_served = served(entity.as_ref());
        let wanted = without_nulls(&document);
        let names: std::collections::BTreeSet<&String> = now_served.keys().chain(wanted.keys()).collect();
        for name in names {
            if now_served.get(name) != wanted.get(name) {
                let winner = entity.as_ref().and_then(|entity| entity.living.as_ref()).map(|living| living.fields[name.as_str()].winner.source.clone());
                prop_assert!(winner.is_some_and(|winner| order.contains(&winner.as_str())));
            }
        }
    }

    #[test]
    fn deleted_facts_stay_out_before_and_after_a_revival_and_a_later_one_revives_with_nothing_of_the_past(
        facts in facts(), again in facts(), deleted_at in -5..10_i64, rules in rules(),
    ) {
        let Some(lived) = known(&facts, &rules) else { return Ok(()) };
        let tombstone = applied(Some(lived.clone()), &Intent::Delete, deleted_at, &rules).expect("a tombstone");
        prop_assert_eq!(tombstone.version, lived.version.next());
        prop_assert_eq!(&tombstone.living, &None);
        let newest = facts.iter().map(|(_, fact)| fact.reference_date).max().expect("it had facts");
        let floor = newest.max(at(deleted_at));
        prop_assert_eq!(tombstone.floor, Some(floor));
        prop_assert!(changes_nothing(Some(&tombstone), &Intent::Merge(facts.clone()), NOW, &rules));
        prop_assert!(changes_nothing(Some(&tombstone), &Intent::Delete, NOW, &rules));

        let later: Facts = vec![fact("plan", "crm", floor.next().as_micros(), "new")];
        let older: Facts = again.into_iter().filter(|(_, fact)| fact.reference_date <= floor).collect();
        let revived = applied(Some(tombstone.clone()), &Intent::Merge(later.iter().chain(&older).cloned().collect()), NOW, &rules)
            .expect("it lives again");
        prop_assert_eq!(revived.version, tombstone.version.next());
        prop_assert_eq!(revived.floor, tombstone.floor);
        prop_assert_eq!(served(Some(&revived)), object(json!({"plan": "new"})));
        prop_assert_eq!(revived.living.as_ref().map(|living| living.fields.len()), Some(1));
        prop_assert!(changes_nothing(Some(&revived), &Intent::Merge(facts), NOW, &rules));
        prop_assert!(changes_nothing(Some(&revived), &Intent::Merge(older), NOW, &rules));
    }

    #[test]
    fn a_put_revives_though_its_clock_is_behind_the_deletion(facts in facts(), put in document(), now in -5..10_i64, rules in rules()) {
        let Some(lived) = known(&facts, &rules) else { return Ok(()) };
        let tombstone = applied(Some(lived), &Intent::Delete, NOW, &rules);
        let revived = applied(tombstone, &Intent::Replace(put.clone()), now, &rules);
        prop_assert_eq!(served(revived.as_ref()), without_nulls(&put));
    }

    #[test]
    fn versions_rise_by_one_on_every_change_and_updated_at_is_its_time(
        steps in prop::collection::vec((prop_oneof![
            facts().prop_map(Intent::Merge),
            document().prop_map(Intent::Replace),
            document().prop_map(patch),
            Just(Intent::Delete),
        ], 0..3 * NOW), 1..12),
        rules in rules(),
    ) {
        let mut current: Option<Entity> = None;
        for (intent, now) in steps {
            let next = Entity::apply(current.as_ref(), &organization(), &intent, at(now), &rules);
            let Some(next) = next.expect("nothing here breaks a rule") else { continue };
            prop_assert_ne!(Some(&next), current.as_ref());
            prop_assert_eq!(next.version, current.as_ref().map_or(version(1), |entity| entity.version.next()));
            prop_assert!(next.living.as_ref().is_none_or(|living| living.updated_at == at(now)));
            prop_assert!(current.is_none_or(|entity| entity.floor <= next.floor), "a floor never sinks");
            current = Some(next);
        }
    }
}

#[test]
fn a_put_that_a_priority_outvotes_is_kept_once_beside_the_winner() {
    let rules = Rules { default: Rule::Priority(vec![source("crm")]), ..Rules::default() };
    let entity = known(&vec![fact("plan", "crm", 5, "crm's"), fact("city", "crm", 5, "Bern")], &rules);
    let put = Intent::Replace(object(json!({"plan": "api's"})));
    let once = applied(entity, &put, NOW, &rules).expect("it lives");
    assert_eq!(served(Some(&once)), object(json!({"plan": "crm's", "city": "Bern"})));
    let facts = &once.living.as_ref().expect("it lives").fields;
    assert_eq!(facts["plan"].superseded, [fact("plan", "api", NOW, "api's").1]);
    assert_eq!(facts["city"].superseded, [fact("city", "api", NOW, Value::Null).1]);
    assert!(changes_nothing(Some(&once), &put, NOW + 1, &rules));
    // Another wish is another fact.
    let other = applied(Some(once), &Intent::Replace(object(json!({"plan": "other", "city": "Bern"}))), NOW + 2, &rules)
        .expect("it lives");
    assert_eq!(other.living.expect("it lives").fields["plan"].superseded, [fact("plan", "api", NOW + 2, "other").1]);
}

#[test]
fn a_put_dates_each_field_just_after_what_is_known_of_it_or_now() {
    let rules = Rules::default();
    let entity = known(&vec![fact("plan", "crm", NOW + 50, "a"), fact("city", "crm", 5, "Bern")], &rules);
    let put = applied(entity, &Intent::Replace(object(json!({"plan": "b", "n": 1}))), NOW, &rules).expect("it lives");
    let dates: Vec<_> =
        put.living.expect("it lives").fields.into_iter().map(|(field, facts)| (field, facts.winner.reference_date)).collect();
    assert_eq!(dates, [(field("city"), at(NOW)), (field("n"), at(NOW)), (field("plan"), at(NOW + 51))]);
}

#[test]
fn clearing_attributes_leaves_the_three_typed_fields_of_a_profile_and_nothing_of_others() {
    let document = object(json!({"name": "Ada", "email": "ada@example.com", "bio": "x", "plan": "pro", "n": 1}));
    let rules = Rules::default();
    let entity = Entity::apply(None, &profile(1), &Intent::Replace(document), at(0), &rules).expect("valid");
    let clear = Intent::Patch { fields: object(json!({"n": 2, "bio": null})), clear_attributes: true };
    let cleared = Entity::apply(entity.as_ref(), &profile(1), &clear, at(1), &rules).expect("valid");
    assert_eq!(served(cleared.as_ref()), object(json!({"name": "Ada", "email": "ada@example.com", "n": 2})));

    let acme = applied(None, &Intent::Replace(object(json!({"name": "Acme", "plan": "pro"}))), 0, &rules);
    let clear = Intent::Patch { fields: object(json!({"n": 2})), clear_attributes: true };
    assert_eq!(served(applied(acme, &clear, 1, &rules).as_ref()), object(json!({"n": 2})), "its name is an attribute");
}

#[test]
fn facts_dated_more_than_five_minutes_ahead_are_refused_even_where_they_are_known() {
    let merge =
        |date| Entity::apply(None, &organization(), &Intent::Merge(vec![fact("plan", "api", date, 1)]), at(0), &Rules::default());
    assert!(merge(300_000_000).is_ok_and(|entity| entity.is_some()));
    let rejection = Rejection::DatedAhead { field: field("plan"), reference_date: at(300_000_001), latest: at(300_000_000) };
    assert_eq!(merge(300_000_001), Err(rejection));
}
