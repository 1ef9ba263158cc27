//! Tenants, and walks for maintenance.

use profile_domain::{EntityKey, Policy, Rules};
use serde_json::json;

use crate::{
    Fixture,
    build::{Client, create, deadline, delete, fact, merge, organization, patch, profile, start, start_with, tenant, update},
};

/// A tenant is empty until its first entity, and never again: a tombstone is a history, too. Others don't count, and a
/// changeset that changed nothing leaves it empty.
pub async fn emptiness_counts_tombstones<F: Fixture>() {
    let (_fixture, client) = start::<F>().await;
    let is_empty = async |client: &Client| client.store.is_empty(&client.tenant, deadline()).await.expect("an answer");
    assert!(is_empty(&client).await);
    client.commit(0, [merge(&profile(1), [])]).await;
    assert!(is_empty(&client).await, "nothing was written");
    client.commit(1, [create(&profile(1), json!({"name": "Ada", "email": "ada@example.com"}))]).await;
    assert!(!is_empty(&client).await);
    client.commit(2, [delete(&profile(1))]).await;
    assert!(!is_empty(&client).await, "a tombstone is left");
    assert!(is_empty(&client.as_tenant("b")).await);
    assert!(is_empty(&client.as_tenant("0")).await);
    client.as_tenant("c").commit(3, [merge(&organization("x"), [fact("n", "crm", 0, 1)])]).await;
    assert!(!is_empty(&client.as_tenant("c")).await, "entities of any type");
}

/// Every tenant with an entity of any type or a tombstone, by bytes of the name, each once.
pub async fn tenants_are_listed<F: Fixture>() {
    let (_fixture, client) = start::<F>().await;
    let tenants = async || client.store.tenants(deadline()).await.expect("tenants");
    assert_eq!(tenants().await, []);
    let names = ["b", "a-b", "a", "0", "ab", "z9"];
    for (index, name) in (0..).zip(names) {
        let writes = (0..=index).map(|number| update(&profile(number), json!({"n": 1})));
        client.as_tenant(name).commit(0, writes).await;
    }
    client.as_tenant("gone").commit(0, [update(&profile(1), json!({"n": 1}))]).await;
    client.as_tenant("gone").commit(1, [delete(&profile(1))]).await;
    client.as_tenant("organizations").commit(0, [merge(&organization("x"), [fact("n", "crm", 0, 1)])]).await;
    client.as_tenant("nothing").commit(0, [merge(&profile(1), [])]).await;
    let expected = ["0", "a", "a-b", "ab", "b", "gone", "organizations", "z9"];
    assert_eq!(tenants().await, expected.map(tenant));
}

fn revision(revision: i32) -> Policy {
    Policy { rules: Rules { revision, ..Rules::default() }, ..Policy::default() }
}

/// A walk meets every living entity of a lower revision once, by key, whatever is resolved or created while it goes; not
/// those of the same revision or a higher one, tombstones, or other tenants'.
pub async fn outdated_are_walked_once<F: Fixture>() {
    let (mut fixture, client) = start_with::<F>(revision(1)).await;
    let mut old: Vec<EntityKey> = (1..=20).map(profile).chain(["x", "y"].map(organization)).collect();
    client.commit(0, old.iter().rev().map(|key| merge(key, [fact("n", "crm", 0, 1)]))).await;
    client.as_tenant("b").commit(0, [update(&profile(1), json!({"n": 1}))]).await;
    drop(client);

    fixture.reopen(revision(5)).await;
    let client = Client::of(&fixture);
    client.commit(1, [update(&profile(30), json!({"n": 1})), delete(&profile(3)), patch(&profile(4), json!({"n": 2}))]).await;
    old.retain(|key| ![profile(3), profile(4)].contains(key));
    old.sort();
    let step = async |revision, after: Option<&EntityKey>, limit| {
        client.store.outdated(&client.tenant, revision, after, limit, deadline()).await.expect("keys")
    };
    assert_eq!(step(5, None, 1_000).await, old);
    assert_eq!(step(1, None, 1_000).await, []);
    assert_eq!(step(6, None, 1_000).await.len(), old.len() + 2, "all that live");
    assert_eq!(step(5, old.last(), 1_000).await, []);

    let mut walked = Vec::new();
    for round in 0.. {
        let page = step(5, walked.last(), 4).await;
        // Some of what was met is resolved, some not yet met is too, and more comes.
        if let Some(first) = page.first() {
            client.commit(10 + round, [patch(first, json!({"n": 3}))]).await;
            client.commit(10 + round, [update(&profile(100 + u32::try_from(round).expect("few")), json!({"n": 1}))]).await;
        }
        let short = page.len() < 4;
        walked.extend(page);
        if short {
            break;
        }
    }
    assert_eq!(walked, old);
    assert!(step(5, None, 1_000).await.len() < old.len(), "what was resolved is not met again");
}
