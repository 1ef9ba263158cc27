//! The feed tells every real change, and forgets the deleted.

use profile_domain::plan::ChangeKind;
use serde_json::{Map, Value, json};

use crate::{
    Fixture,
    build::{changeset, create, delete, fact, merge, object, once, organization, patch, profile, start, version},
};

type Told = (i64, ChangeKind, Map<String, Value>);

async fn told<F: Fixture>(fixture: &F, key: &profile_domain::EntityKey) -> Vec<Told> {
    let rows = fixture.feed(&crate::build::tenant("a")).await;
    rows.into_iter()
        .filter(|row| row.key == *key)
        .map(|row| (row.version.get(), row.kind, row.changes.unwrap_or_default()))
        .collect()
}

/// One row for each real change, with the served values that differ: old and new, absent where there was or is none. A fact
/// that loses is a change without values.
pub async fn feed_tells_every_change<F: Fixture>() {
    let (fixture, client) = start::<F>().await;
    let key = profile(1);
    client.commit(0, [create(&key, json!({"name": "Ada", "email": "ada@example.com", "n": {"a": 1}}))]).await;
    client
        .commit(1, [patch(&key, json!({"n": {"b": 2}, "bio": "x"})), patch(&key, json!({"bio": null})), patch(&key, json!({}))])
        .await;
    client.commit(2, [merge(&key, [fact("bio", "crm", -5, "older"), fact("void", "crm", 0, Value::Null)])]).await;
    client.commit(2, [merge(&key, [fact("bio", "crm", -5, "older")])]).await;
    let expected: Vec<Told> = vec![
        (
            1,
            ChangeKind::Created,
            object(json!({"name": {"new": "Ada"}, "email": {"new": "ada@example.com"}, "n": {"new": {"a": 1}}})),
        ),
        (2, ChangeKind::Updated, object(json!({"n": {"old": {"a": 1}, "new": {"a": 1, "b": 2}}, "bio": {"new": "x"}}))),
        (3, ChangeKind::Updated, object(json!({"bio": {"old": "x"}}))),
        (4, ChangeKind::Updated, Map::new()),
    ];
    assert_eq!(told(&fixture, &key).await, expected);

    // Rows of several entities in one commit stay in the order of each entity's versions.
    let other = organization("acc");
    client
        .commit(
            3,
            [merge(&other, [fact("n", "crm", 0, 1)]), patch(&key, json!({"n": 1})), merge(&other, [fact("n", "crm", 1, 2)])],
        )
        .await;
    assert_eq!(
        told(&fixture, &other).await,
        [
            (1, ChangeKind::Created, object(json!({"n": {"new": 1}}))),
            (2, ChangeKind::Updated, object(json!({"n": {"old": 1, "new": 2}}))),
        ]
    );
    assert_eq!(
        told(&fixture, &key).await.last(),
        Some(&(5, ChangeKind::Updated, object(json!({"n": {"old": {"a": 1, "b": 2}, "new": 1}}))))
    );
}

/// After a deletion no value of the entity is anywhere in the store: feed rows keep version and kind alone. Another
/// entity's rows, and those of the next life, keep what they tell.
pub async fn deletion_blanks_the_feed<F: Fixture>() {
    let (fixture, client) = start::<F>().await;
    let key = profile(1);
    let secret = json!({"name": "Zaphod-Secret", "email": "Zaphod-Secret@example.com", "a": {"m": "zaphod-secret"}});
    client.receipt(once("k", 1, changeset(0, [create(&key, secret)]))).await;
    client.commit(1, [merge(&key, [fact("bio", "crm", 0, "zaphod-secret"), fact("a", "crm", -9, "zaphod-secret")])]).await;
    client.commit(2, [create(&profile(2), json!({"name": "Trillian", "email": "t@example.com"}))]).await;
    // Changed, deleted, and alive again within one commit.
    let again = create(&key, json!({"name": "Next", "email": "next@example.com"}));
    client.commit(3, [patch(&key, json!({"bio": "ZAPHOD-SECRET"})), delete(&key), again]).await;

    let expected: Vec<Told> = vec![
        (1, ChangeKind::Created, Map::new()),
        (2, ChangeKind::Updated, Map::new()),
        (3, ChangeKind::Updated, Map::new()),
        (4, ChangeKind::Deleted, Map::new()),
        (5, ChangeKind::Created, object(json!({"name": {"new": "Next"}, "email": {"new": "next@example.com"}}))),
    ];
    assert_eq!(told(&fixture, &key).await, expected);
    assert_eq!(told(&fixture, &profile(2)).await[0].2["name"], json!({"new": "Trillian"}));
    assert!(fixture.feed(&client.tenant).await[..2].iter().all(|row| row.changes.is_none()), "earlier rows are blanked");
    for (table, rows) in fixture.dump().await {
        for row in rows {
            assert!(!row.to_lowercase().contains("zaphod-secret"), "{table} still holds a value of the deleted: {row}");
        }
    }
    assert_eq!(client.view(&key).await.map(|view| view.version), Some(version(5)));

    client.commit(4, [delete(&key)]).await;
    assert!(told(&fixture, &key).await.iter().all(|(_, _, changes)| changes.is_empty()));
    assert_eq!(told(&fixture, &key).await.len(), 6);
}
