//! Facts are merged by rule; what changes nothing writes nothing.

use std::collections::BTreeMap;

use profile_domain::{Expect, Fact, FieldName, Intent, ItemOutcome, Policy, Rejection, Rule, Rules};
use serde_json::{Value, json};

use crate::{
    Fixture,
    build::{
        Client, Vary, at, create, delete, fact, field, merge, organization, patch, profile, put, source, start, start_with,
        update, version,
    },
    random::Random,
    scaled,
};

/// Several sources, equal dates, nulls, and facts of which one source gives more than one.
fn mixed_facts() -> Vec<(FieldName, Fact)> {
    vec![
        fact("plan", "crm", 10, "pro"),
        fact("plan", "crm", 20, "free"),
        fact("plan", "billing", 20, "team"),
        fact("plan", "web", 20, Value::Null),
        fact("plan", "app", 5, "old"),
        fact("city", "crm", 30, Value::Null),
        fact("city", "web", 10, json!({"name": "Zürich", "zip": 8001})),
        fact("city", "crm", 30, json!({"name": "Bern"})),
        fact("score", "crm", 7, 1),
        fact("score", "crm", 7, 2),
        fact("score", "crm", 7, 1.5),
        fact("name", "web", 1, "Ada"),
        fact("email", "web", 1, "ada@example.com"),
        fact("email", "api", 0, "lovelace@example.com"),
    ]
}

/// Every order, batching and repetition of the same facts ends in the same fields, served values and list entries.
pub async fn facts_merge_in_any_order<F: Fixture>() {
    let (_fixture, client) = start::<F>().await;
    let mut random = Random::new(7);
    let mut expected = None;
    for round in 0..scaled(200) {
        let key = organization(&format!("acc-{round}"));
        let mut facts = mixed_facts();
        if round > 0 {
            facts.extend((0..5).map(|_| random.pick(&mixed_facts()).clone()).collect::<Vec<_>>());
            random.shuffle(&mut facts);
        }
        while !facts.is_empty() {
            // A batch becomes one or two writes of one changeset.
            let size = 1 + random.below(u32::try_from(facts.len()).expect("few facts")) as usize;
            let batch = facts.split_off(facts.len() - size);
            let (first, second) = batch.split_at(random.below(u32::try_from(size).expect("few")) as usize);
            client.commit(60, [merge(&key, first.to_vec()), merge(&key, second.to_vec())]).await;
        }
        let fields = client.entity(&key).await.and_then(|entity| entity.living).expect("it lives").fields;
        let served = client.served(&key).await;
        let (expected_fields, expected_served) = expected.get_or_insert_with(|| (fields.clone(), served.clone()));
        assert_eq!(fields, *expected_fields, "round {round}");
        assert_eq!(served, *expected_served, "round {round}");
    }
    let (_, served) = expected.expect("some rounds");
    assert_eq!(
        served,
        json!({"plan": "team", "city": {"name": "Bern"}, "score": 2, "name": "Ada", "email": "ada@example.com"}),
        "newest wins; of equals the source that sorts first, and within a source the greater JSON"
    );
}

/// `entity` gives every fact: the winner, those that lost by source name, nulls, and what the plain view leaves out.
pub async fn facts_are_kept_beside_the_winner<F: Fixture>() {
    let (_fixture, client) = start::<F>().await;
    let key = profile(1);
    client.commit(60, [merge(&key, mixed_facts())]).await;
    client.commit(70, [patch(&key, json!({"city": null}))]).await;
    let entity = client.entity(&key).await.expect("an entity");
    let living = entity.living.expect("it lives");
    assert_eq!((entity.version, entity.floor), (version(2), None));
    assert_eq!((living.created_at, living.updated_at, living.rules_revision), (at(60), at(70), 0));

    let plan = &living.fields["plan"];
    assert_eq!(plan.winner, fact("plan", "billing", 20, "team").1);
    let lost = [fact("plan", "app", 5, "old"), fact("plan", "crm", 20, "free"), fact("plan", "web", 20, Value::Null)];
    assert_eq!(plan.superseded, lost.map(|(_, fact)| fact));
    let city = &living.fields["city"];
    assert_eq!(city.winner, fact("city", "api", 70, Value::Null).1, "a null is kept as the winner");
    assert_eq!(city.superseded.len(), 2);
    assert_eq!(living.fields["email"].superseded, [fact("email", "api", 0, "lovelace@example.com").1]);
    assert_eq!(
        client.served(&key).await,
        json!({"plan": "team", "score": 2, "name": "Ada", "email": "ada@example.com"}),
        "a null is served as absent"
    );
}

/// What changes nothing leaves every table as it was: no row, no version, no time, no feed entry. Whatever `now` is.
pub async fn unchanged_writes_nothing<F: Fixture>() {
    let (fixture, client) = start::<F>().await;
    let key = profile(1);
    let document = json!({"name": "Ada", "email": "ada@example.com", "bio": "x", "a": {"b": [1, 2.5, {"c": "d"}]}, "n": 100});
    client.commit(0, [create(&key, document.clone())]).await;
    client.commit(1, [merge(&key, [fact("n", "crm", -10, 7), fact("gone", "crm", 1, Value::Null)])]).await;
    client.commit(2, [create(&profile(2), json!({"name": "B", "email": "b@example.com"}))]).await;
    client.commit(3, [delete(&profile(2))]).await;
    let before = fixture.dump().await;

    let respelled: Value = profile_domain::json::parse(
        br#"{"n":1e2,"a":{"b":[1.0,25e-1,{"\u0063":"\u0064"}]},"bio":"x","email":"ada@example.com","name":"Ada"}"#,
    )
    .expect("valid JSON");
    let first = Some(version(2));
    for now in [0, 2, 1_000_000] {
        for (write, at_version) in [
            (put(&key, document.clone()), first),
            (put(&key, respelled.clone()), first),
            (put(&key, document.clone()).expecting(Expect::Version(vec![version(2)])), first),
            (patch(&key, json!({})), first),
            (patch(&key, json!({"n": 100, "a": {"b": [1, 2.5, {"c": "d"}]}, "never": null, "gone": null})), first),
            (merge(&key, []), first),
            (merge(&key, [fact("n", "crm", -10, 7)]), first),
            (merge(&key, [fact("n", "crm", -10, 6), fact("n", "crm", -11, 9), fact("gone", "crm", 0, 1)]), first),
            (merge(&profile(3), []), None),
            (delete(&profile(3)).expecting(Expect::Any), None),
            (delete(&profile(2)).expecting(Expect::Any), Some(version(2))),
            (merge(&profile(2), [fact("n", "crm", 3, 1), fact("name", "crm", 2, "C")]), Some(version(2))),
        ] {
            let outcomes = client.commit(now, [write.clone()]).await;
            assert_eq!(outcomes, [ItemOutcome::Unchanged(at_version)], "{write:?} at {now}");
            assert_eq!(fixture.dump().await, before, "{write:?} at {now} wrote something");
        }
    }
}

/// Neither do 5,000 of them in one changeset, among entities that lost facts, deleted ones and unknown ones.
pub async fn unchanged_items_write_nothing<F: Fixture>() {
    const ITEMS: u32 = 5_000;
    let (fixture, client) = start::<F>().await;
    let facts =
        |index: u32| [fact("n", "crm", 0, index), fact("n", "web", -1, "older"), fact("tags", "crm", 0, json!(["a", index]))];
    let all = || (0..ITEMS).map(|index| merge(&profile(index), facts(index)));
    client.commit(0, all()).await;
    let before = fixture.dump().await;
    let outcomes = client.commit(100, all()).await;
    assert!(outcomes.iter().all(|outcome| *outcome == ItemOutcome::Unchanged(Some(version(1)))));
    assert_eq!(outcomes.len(), ITEMS as usize);
    assert_eq!(fixture.dump().await, before);
}

/// An update serves the values it names, each as a whole, and removes those that are null; it keeps the rest, begins a life
/// where there is none, and is dated like any REST write.
pub async fn update_sets_and_removes_fields<F: Fixture>() {
    let (fixture, client) = start::<F>().await;
    let key = profile(1);
    let ada = json!({"name": "Ada", "email": "ada@example.com", "a": {"b": 1, "c": 2}, "plan": "pro", "never": null});
    assert_eq!(client.commit(0, [update(&key, ada)]).await, [ItemOutcome::Created(version(1))]);
    client.commit(1, [merge(&key, [fact("n", "crm", 100, 7), fact("city", "crm", 0, "Bern")])]).await;
    let change = || update(&key, json!({"a": {"b": 3}, "plan": null, "n": 8, "none": null, "city": "Bern"}));
    assert_eq!(client.commit(2, [change()]).await, [ItemOutcome::Updated(version(3))]);
    assert_eq!(
        client.served(&key).await,
        json!({"name": "Ada", "email": "ada@example.com", "a": {"b": 3}, "n": 8, "city": "Bern"})
    );
    let fields = client.entity(&key).await.and_then(|entity| entity.living).expect("it lives").fields;
    assert_eq!(fields["n"].winner.reference_date, at(100).next(), "after everything known of the field");
    assert_eq!(fields["plan"].winner, fact("plan", "api", 2, Value::Null).1);
    assert_eq!(fields["city"].superseded, [], "a value that is served already is no news");
    assert!(!fields.contains_key("none"), "nor is the absence of one");
    let before = fixture.dump().await;
    assert_eq!(client.commit(3, [change()]).await, [ItemOutcome::Unchanged(Some(version(3)))]);
    assert_eq!(fixture.dump().await, before);

    client.commit(4, [delete(&key)]).await;
    let back = json!({"name": "Ada", "email": "ada@example.com"});
    assert_eq!(client.commit(4, [update(&key, back.clone())]).await, [ItemOutcome::Created(version(5))]);
    assert_eq!(client.served(&key).await, back);
    let taken = client.commit(5, [update(&profile(2), json!({"name": "B", "email": "ADA@example.com"})).optional()]).await;
    assert_eq!(taken, [ItemOutcome::Rejected(Rejection::EmailTaken)]);
}

fn policy(revision: i32, order: &[&str]) -> Policy {
    let rule = Rule::Priority(order.iter().map(|name| source(name)).collect());
    Policy {
        rules: Rules { revision, default: Rule::Newest, fields: BTreeMap::from([(field("plan"), rule)]) },
        ..Policy::default()
    }
}

/// Under a `priority` rule the source that stands first wins over newer ones, REST writes included, and those that aren't
/// listed come last, by date. Fields without a rule of their own follow the default.
pub async fn priority_outvotes_the_newest<F: Fixture>() {
    let (fixture, client) = start_with::<F>(policy(1, &["billing", "crm"])).await;
    let key = profile(1);
    client.commit(0, [create(&key, json!({"name": "Ada", "email": "ada@example.com", "plan": "api"}))]).await;
    client
        .commit(
            1,
            [merge(&key, [fact("plan", "crm", -50, "crm"), fact("city", "crm", -50, "Bern"), fact("city", "web", 0, "Rom")])],
        )
        .await;
    assert_eq!(client.served(&key).await["plan"], "crm");
    assert_eq!(client.served(&key).await["city"], "Rom");
    client.commit(2, [merge(&key, [fact("plan", "billing", -99, "billing"), fact("plan", "web", 100, "web")])]).await;
    assert_eq!(client.served(&key).await["plan"], "billing");

    // A PUT that a rule outvotes is kept once, as said; repeating it is no news.
    let put_plan = || put(&key, json!({"name": "Ada", "email": "ada@example.com", "plan": "put", "city": "Rom"}));
    assert_eq!(client.commit(3, [put_plan()]).await, [ItemOutcome::Updated(version(4))]);
    let before = fixture.dump().await;
    assert_eq!(client.commit(4, [put_plan()]).await, [ItemOutcome::Unchanged(Some(version(4)))]);
    assert_eq!(fixture.dump().await, before);
    assert_eq!(client.served(&key).await["plan"], "billing");
    let plan =
        client.entity(&key).await.and_then(|entity| entity.living).expect("it lives").fields.remove("plan").expect("a plan");
    assert_eq!(plan.of(&source("api")).map(|fact| fact.value.clone()), Some(json!("put")));

    // The first source says that it is gone: that wins too.
    client.commit(5, [merge(&key, [fact("plan", "billing", 1, Value::Null)])]).await;
    assert_eq!(client.served(&key).await.get("plan"), None);
}

/// Rules of a higher revision resolve an entity anew on its next write, also one that brings nothing; a lower revision
/// never does, and a read never does.
pub async fn higher_revision_resolves_anew<F: Fixture>() {
    let (mut fixture, client) = start_with::<F>(policy(1, &["crm"])).await;
    let key = profile(1);
    let facts = [fact("plan", "crm", 0, "crm"), fact("plan", "web", 1, "web"), fact("n", "crm", 0, 1)];
    client.commit(10, [merge(&key, facts.clone())]).await;
    assert_eq!(client.served(&key).await["plan"], "crm");
    drop(client);

    fixture.reopen(policy(2, &["web"])).await;
    let client = Client::of(&fixture);
    assert_eq!(client.served(&key).await["plan"], "crm", "a read resolves nothing");
    assert_eq!(client.commit(11, [merge(&key, facts.clone())]).await, [ItemOutcome::Updated(version(2))]);
    assert_eq!(client.served(&key).await["plan"], "web");
    let dump = fixture.dump().await;
    assert_eq!(client.commit(12, [merge(&key, facts.clone())]).await, [ItemOutcome::Unchanged(Some(version(2)))]);
    assert_eq!(fixture.dump().await, dump, "resolved once");
    let revision =
        |entity: Option<profile_domain::Entity>| entity.and_then(|entity| entity.living).map(|living| living.rules_revision);
    assert_eq!(revision(client.entity(&key).await), Some(2));
    drop(client);

    // An instance that still runs older rules, during a rolling change.
    fixture.reopen(policy(1, &["crm"])).await;
    let client = Client::of(&fixture);
    assert_eq!(client.commit(13, [merge(&key, facts.clone())]).await, [ItemOutcome::Unchanged(Some(version(2)))]);
    let other = [fact("n", "crm", 5, 2)];
    let write = profile_domain::EntityWrite { intent: Intent::Merge(other.to_vec()), ..merge(&key, []) };
    assert_eq!(client.commit(14, [write]).await, [ItemOutcome::Updated(version(3))]);
    assert_eq!(client.served(&key).await["plan"], "web", "older rules flip no field that the write doesn't touch");
}
