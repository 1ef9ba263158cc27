//! Restores: an export taken back.

use std::collections::BTreeMap;

use profile_domain::{
    Entity, EntityKey, Expect, ItemOutcome, Policy, Rule, Rules, json, line,
    plan::ChangeKind,
    search::{Filter, ListQuery, Order},
};
use serde_json::{Value, json};

use crate::{
    Fixture,
    build::{
        Client, Vary, changeset, create, delete, everything, fact, field, merge, patch, profile, put, restore, source,
        start_with, version, where_all,
    },
};

/// Whatever an export may hold: three sources and more, nulls that win and that lose, a tombstone, a revived profile that keeps
/// its floor, an address that is held though another is served, and one that is served though nobody holds it. The keys descend
/// while the lives ascend.
async fn fill(client: &Client) {
    let person = |name: &str| json!({"name": name, "email": format!("{name}@example.com"), "plan": "pro", "n": 1.5});
    client.commit(0, [create(&profile(9), person("Ada")), create(&profile(8), person("Bea"))]).await;
    client.commit(1, [create(&profile(7), person("Cid")), create(&profile(6), person("Dan"))]).await;
    client
        .commit(
            2,
            [
                merge(
                    &profile(9),
                    [
                        fact("plan", "crm", 5, "free"),
                        fact("plan", "web", 6, Value::Null),
                        fact("plan", "billing", 1, json!({"of": [1, null, {"deep": "ü"}]})),
                        fact("n", "crm", 9, Value::Null),
                        fact("city", "web", -1, Value::Null),
                    ],
                ),
                merge(&profile(5), [fact("email", "crm", 5, "Ada@example.com"), fact("name", "web", 5, "Eve")]),
                merge(&profile(8), [fact("email", "crm", 50, "served@example.com")]),
            ],
        )
        .await;
    client.commit(3, [delete(&profile(7)), delete(&profile(6)), patch(&profile(9), json!({"bio": "x", "large": 1e300}))]).await;
    client.commit(60, [merge(&profile(6), [fact("n", "crm", 30, 18_446_744_073_709_551_615_u64), fact("n", "old", 2, 1)])]).await;
    client.commit(61, [put(&profile(6), json!({"name": "Dan", "email": "dan@example.com"}))]).await;
}

fn lines(exported: &[(EntityKey, Entity)]) -> Vec<String> {
    exported.iter().map(|(key, entity)| line::export(key, entity)).collect()
}

fn policy() -> Policy {
    let plan = Rule::Priority(["billing", "crm"].map(source).to_vec());
    Policy {
        rules: Rules { revision: 3, fields: BTreeMap::from([(field("plan"), plan)]), ..Rules::default() },
        ..Policy::default()
    }
}

fn read(lines: &[String]) -> Vec<(EntityKey, Entity)> {
    let read = |line: &String| {
        let (id, entity) = line::parse_export(&json::parse(line.as_bytes()).expect("JSON")).expect("a line of an export");
        (EntityKey::profile(id), entity)
    };
    lines.iter().map(read).collect()
}

/// Exported, restored elsewhere and exported again: equal lines in equal order. What is restored is found and listed like any
/// other, holds its address, and goes on from its version and its facts. The feed tells of it.
pub async fn restore_is_exact<F: Fixture>() {
    let (fixture, client) = start_with::<F>(policy()).await;
    fill(&client).await;
    let exported = lines(&client.export().await);
    assert_eq!(exported.len(), 5);
    let there = client.as_tenant("there");
    for part in read(&exported).chunks(3) {
        there.commit(1_000, part.iter().map(|(key, entity)| restore(key, entity.clone()))).await;
    }
    assert_eq!(lines(&there.export().await), exported);

    for key in (5..=9).map(profile) {
        assert_eq!(there.entity(&key).await, client.entity(&key).await);
        assert_eq!(there.served(&key).await, client.served(&key).await);
    }
    let queries = [
        everything(&profile(0)),
        ListQuery { order: Order::Name, ..everything(&profile(0)) },
        where_all(&[Filter::attribute("plan", "pro")]),
        where_all(&[Filter::attribute("n", "1.5")]),
    ];
    for query in queries {
        assert_eq!(there.keys(&query).await, client.keys(&query).await, "{query:?}");
    }
    let feed: Vec<_> = fixture.feed(&there.tenant).await.into_iter().map(|row| (row.key, row.version, row.kind)).collect();
    assert_eq!(feed.len(), 5);
    assert!(feed.contains(&(profile(7), version(2), ChangeKind::Deleted)), "{feed:?}");
    assert!(feed.contains(&(profile(6), version(4), ChangeKind::Created)), "{feed:?}");

    for (name, is_taken) in [("Ada", true), ("BEA", true), ("dan", true), ("cid", false), ("served", false)] {
        let new = create(&profile(100), json!({"name": "X", "email": format!("{name}@example.com")}));
        let outcomes = there.commit(1_001, [new.optional()]).await;
        assert_eq!(matches!(outcomes[..], [ItemOutcome::Rejected(_)]), is_taken, "{name}: {outcomes:?}");
        there.commit(1_002, [delete(&profile(100)).expecting(Expect::Any)]).await;
    }
    // Facts that the floor keeps out, of a tombstone and of a revived one, and one that it doesn't.
    let late = |key, seconds| merge(key, [fact("late", "web", seconds, 1)]);
    let outcomes = there.commit(1_003, [late(&profile(6), 3), late(&profile(7), 3), late(&profile(7), 4)]).await;
    let unchanged = |number| ItemOutcome::Unchanged(Some(version(number)));
    assert_eq!(outcomes, [unchanged(4), unchanged(2), ItemOutcome::Created(version(3))]);
    assert_eq!(there.commit(1_004, [patch(&profile(9), json!({"n": 2}))]).await, [ItemOutcome::Updated(version(4))]);
}

/// Where anything is known of an entity, be it a tombstone, a restore of it is refused, and with it its changeset. One alone, of
/// an id that is said to be fresh, is no exception, and is restored as exactly.
pub async fn restore_is_refused_where_anything_is_known<F: Fixture>() {
    let (fixture, client) = start_with::<F>(policy()).await;
    fill(&client).await;
    let exported = client.export().await;
    let before = fixture.dump().await;
    for (key, entity) in &exported {
        for expect in [Expect::Absent, Expect::Any] {
            let again = restore(key, entity.clone()).expecting(expect);
            assert_eq!(client.refused(1_000, [again]).await.rejection.code(), "ALREADY_EXISTS", "{key:?}");
        }
    }
    let free = restore(&profile(50), exported[0].1.clone());
    let refusal = client.refused(1_000, [free.clone(), restore(&exported[4].0, exported[4].1.clone())]).await;
    assert_eq!((refusal.index, refusal.rejection.code()), (1, "ALREADY_EXISTS"));
    let refusal = client.refused(1_000, [free]).await;
    assert_eq!(refusal.rejection.code(), "EMAIL_TAKEN", "its address has another holder");
    assert_eq!(fixture.dump().await, before);

    let there = client.as_tenant("there");
    for (key, entity) in &exported {
        let receipt = there.receipt(changeset(1_000, [restore(key, entity.clone()).expecting(Expect::Fresh)])).await;
        assert_eq!(receipt.states.get(key), Some(entity));
    }
    assert_eq!(lines(&there.export().await), lines(&exported));
}
