//! Deletion leaves a tombstone; what it knew stays out, what is newer begins a new life.

use profile_domain::{Expect, ItemOutcome, search::Filter};
use serde_json::{Value, json};

use crate::{
    Fixture,
    build::{
        Vary, at, create, delete, everything, fact, merge, organization, patch, profile, put, race, start, version, where_all,
    },
    scaled,
};

/// Versions rise by one on every real change, over deletes and revivals, in turn and in a race; the feed has each once.
pub async fn versions_never_repeat<F: Fixture>() {
    let (fixture, client) = start::<F>().await;
    let key = profile(1);
    let ada = json!({"name": "Ada", "email": "ada@example.com"});
    let mut expected = 0;
    for life in 0..3 {
        let base = life * 10;
        assert_eq!(client.commit(base, [create(&key, ada.clone())]).await, [ItemOutcome::Created(version(expected + 1))]);
        assert_eq!(client.commit(base + 1, [patch(&key, json!({"n": 1}))]).await, [ItemOutcome::Updated(version(expected + 2))]);
        assert_eq!(
            client.commit(base + 2, [patch(&key, json!({"n": 1}))]).await,
            [ItemOutcome::Unchanged(Some(version(expected + 2)))]
        );
        assert_eq!(client.commit(base + 3, [delete(&key)]).await, [ItemOutcome::Deleted(version(expected + 3))]);
        let unchanged = client.commit(base + 4, [delete(&key).expecting(Expect::Any)]).await;
        assert_eq!(unchanged, [ItemOutcome::Unchanged(Some(version(expected + 3)))]);
        expected += 3;
    }
    for round in 0..scaled(100) {
        let now = 100 + i64::from(round);
        let racers = (0..6).map(|racer| {
            let write = match racer % 3 {
                0 => delete(&key).expecting(Expect::Any),
                1 => merge(&key, [fact("n", "crm", now, racer)]),
                _ => put(&key, ada.clone()).expecting(Expect::Any),
            };
            crate::build::changeset(now, [write])
        });
        for answer in race(&client, racers.collect()).await {
            answer.unwrap_or_else(|error| panic!("round {round}: {error:?}"));
        }
    }
    let versions: Vec<i64> = fixture.feed(&client.tenant).await.into_iter().map(|row| row.version.get()).collect();
    let last = client.entity(&key).await.expect("an entity").version.get();
    assert_eq!(versions, (1..=last).collect::<Vec<_>>(), "each version once, in order");
}

/// A tombstone is absent from view, list and search, and to expectations; it keeps its version and date, nothing else: no search
/// row, no address.
pub async fn deleted_is_absent<F: Fixture>() {
    let (fixture, client) = start::<F>().await;
    let key = profile(1);
    client.commit(0, [create(&key, json!({"name": "Ada", "email": "ada@example.com", "plan": "pro"}))]).await;
    client.commit(1, [merge(&key, [fact("plan", "crm", -5, "free")])]).await;
    client.commit(2, [merge(&organization("acc"), [fact("plan", "crm", 0, "pro")])]).await;
    client.commit(5, [delete(&key), delete(&organization("acc"))]).await;

    assert_eq!(client.view(&key).await, None);
    assert_eq!(client.view(&organization("acc")).await, None);
    assert_eq!(client.list(&everything(&key)).await, []);
    assert_eq!(client.list(&everything(&organization("acc"))).await, []);
    assert_eq!(client.list(&where_all(&[Filter::attribute("plan", "pro")])).await, []);
    let tombstone = client.entity(&key).await.expect("a tombstone");
    assert_eq!((tombstone.version, tombstone.floor, tombstone.living), (version(3), Some(at(5)), None));
    let dump = fixture.dump().await;
    for table in ["entity_values", "profile_emails"] {
        assert!(dump.get(table).is_none_or(Vec::is_empty), "{table} has rows of the deleted");
    }
    for write in [
        delete(&key),
        put(&key, json!({"name": "Ada", "email": "ada@example.com"})),
        patch(&key, json!({"n": 1})).expecting(Expect::Version(vec![version(3)])),
    ] {
        assert_eq!(client.refused(6, [write]).await.rejection.code(), "NOT_FOUND");
    }
}

/// Facts that were there at the deletion, also those dated ahead of `now`, change nothing when they come again: neither
/// before a revival nor after it, nor one by one.
pub async fn deleted_facts_stay_out<F: Fixture>() {
    let (fixture, client) = start::<F>().await;
    let key = profile(1);
    let facts = [
        fact("name", "crm", -100, "Ada"),
        fact("email", "crm", 0, "ada@example.com"),
        fact("plan", "crm", 240, "ahead"),
        fact("plan", "web", 10, "pro"),
        fact("gone", "web", 10, Value::Null),
    ];
    client.commit(0, [merge(&key, facts.clone())]).await;
    client.commit(20, [delete(&key)]).await;
    assert_eq!(client.entity(&key).await.and_then(|tombstone| tombstone.floor), Some(at(240)), "dated by what it found");

    let redeliver = async |now: i64, at_version: i64| {
        let before = fixture.dump().await;
        let unchanged = [ItemOutcome::Unchanged(Some(version(at_version)))];
        assert_eq!(client.commit(now, [merge(&key, facts.clone())]).await, unchanged);
        for fact in facts.clone() {
            assert_eq!(client.commit(now, [merge(&key, [fact.clone()])]).await, unchanged, "{fact:?}");
        }
        let equal_date = merge(&key, [fact("other", "crm", 240, "as old as the deletion")]);
        assert_eq!(client.commit(now, [equal_date]).await, unchanged);
        assert_eq!(fixture.dump().await, before, "redelivered facts wrote something");
    };
    redeliver(30, 2).await;
    // The first that is later, by a second here, revives it.
    assert_eq!(client.commit(241, [merge(&key, [fact("plan", "crm", 241, "new")])]).await, [ItemOutcome::Created(version(3))]);
    redeliver(250, 3).await;
    assert_eq!(client.served(&key).await, json!({"plan": "new"}));
    // The floor outlives a second deletion, and never sinks.
    client.commit(242, [delete(&key)]).await;
    redeliver(1_000, 4).await;
    assert_eq!(client.entity(&key).await.and_then(|tombstone| tombstone.floor), Some(at(242)));
}

/// A revived entity has the next version and nothing else of its past: no value, no fact, no search row, no address, no
/// place in the order of creation.
pub async fn revival_has_no_past<F: Fixture>() {
    let (_fixture, client) = start::<F>().await;
    let key = profile(1);
    let ada = json!({"name": "Ada", "email": "ada@example.com", "plan": "pro", "kept": "no"});
    client.commit(0, [create(&key, ada)]).await;
    let old = client.view(&key).await.expect("it lives");
    client.commit(1, [create(&profile(2), json!({"name": "Bea", "email": "bea@example.com"}))]).await;
    client.commit(10, [delete(&key)]).await;
    client.commit(11, [merge(&key, [fact("plan", "crm", 11, "free")])]).await;

    let view = client.view(&key).await.expect("it lives again");
    assert_eq!(view.properties.as_str(), r#"{"plan":"free"}"#);
    assert_eq!((view.version, view.created_at, view.updated_at), (version(3), at(11), at(11)));
    assert!(view.id > old.id, "a life has a number of its own");
    let entity = client.entity(&key).await.expect("an entity");
    assert_eq!(entity.floor, Some(at(10)));
    assert_eq!(entity.living.expect("it lives").fields.keys().map(|name| name.as_str().to_owned()).collect::<Vec<_>>(), ["plan"]);
    assert_eq!(client.keys(&everything(&key)).await, [profile(2), key.clone()], "created after the other");
    for (filter, found) in [("pro", vec![]), ("free", vec![key.clone()])] {
        assert_eq!(client.keys(&where_all(&[Filter::attribute("plan", filter)])).await, found);
    }
    assert_eq!(client.keys(&where_all(&[Filter::attribute("kept", "no")])).await, []);
    let heir = create(&profile(3), json!({"name": "Heir", "email": "ADA@example.com"}));
    assert_eq!(client.commit(12, [heir]).await, [ItemOutcome::Created(version(1))], "the address was given up");

    // A REST write revives too, dated after the deletion though its clock is behind.
    client.commit(20, [delete(&profile(2))]).await;
    let again = create(&profile(2), json!({"name": "Bea II", "email": "bea@example.com"}));
    assert_eq!(client.commit(15, [again]).await, [ItemOutcome::Created(version(3))]);
    assert_eq!(client.served(&profile(2)).await, json!({"name": "Bea II", "email": "bea@example.com"}));
}
