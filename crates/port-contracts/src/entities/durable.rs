//! What was acknowledged is there, for those who may see it.

use profile_domain::{ItemOutcome, Policy, Replay, search::Filter};
use serde_json::json;

use crate::{
    Fixture,
    build::{
        Client, changeset, create, delete, everything, fact, merge, once, organization, patch, profile, start, tenant, version,
        where_all,
    },
    scaled,
};

/// After the store was closed and opened again everything is as it was: entities, facts, lists, searches, addresses,
/// tombstones, the feed, idempotency keys.
pub async fn acknowledged_writes_survive_reopening<F: Fixture>() {
    let (mut fixture, client) = start::<F>().await;
    let ada = json!({"name": "Ada", "email": "ada@example.com", "plan": "pro"});
    let keyed = once("k", 1, changeset(0, [create(&profile(1), ada)]));
    let first = client.receipt(keyed.clone()).await;
    client.commit(1, [merge(&profile(1), [fact("plan", "crm", -5, "free"), fact("tags", "crm", 1, json!(["a", "b"]))])]).await;
    client.commit(2, [create(&profile(2), json!({"name": "Bea", "email": "bea@example.com"}))]).await;
    client.commit(3, [delete(&profile(2))]).await;
    client.commit(4, [merge(&organization("acc-12d"), [fact("name", "crm", 0, "Acme")])]).await;

    let search = where_all(&[Filter::attribute("plan", "pro")]);
    let look = async |client: &Client| {
        (
            client.entity(&profile(1)).await,
            client.entity(&profile(2)).await,
            client.view(&organization("acc-12d")).await,
            client.list(&everything(&profile(0))).await,
            client.list(&search).await,
        )
    };
    let (before, feed, dump) = (look(&client).await, fixture.feed(&client.tenant).await, fixture.dump().await);
    assert_eq!(before.4.len(), 1);
    drop(client);
    fixture.reopen(Policy::default()).await;

    let client = Client::of(&fixture);
    assert_eq!(look(&client).await, before);
    assert_eq!(fixture.feed(&client.tenant).await, feed);
    assert_eq!(fixture.dump().await, dump);
    let again = client.receipt(keyed).await;
    assert_eq!((again.outcomes, again.replay), (first.outcomes, Replay::Yes));
    let taken = client.refused(5, [create(&profile(3), json!({"name": "X", "email": "ADA@example.com"}))]).await;
    assert_eq!(taken.rejection.code(), "EMAIL_TAKEN");

    // Numbers go on where they were.
    client.commit(6, [create(&profile(4), json!({"name": "Dan", "email": "dan@example.com"}))]).await;
    assert_eq!(client.keys(&everything(&profile(0))).await, [profile(1), profile(4)]);
}

/// Whoever reads after a commit was acknowledged sees it, in every kind of read.
pub async fn reads_see_commits<F: Fixture>() {
    let (_fixture, client) = start::<F>().await;
    let key = profile(1);
    client.commit(0, [create(&key, json!({"name": "Ada", "email": "ada@example.com", "n": 0}))]).await;
    let search = |n: u32| where_all(&[Filter::attribute("n", &n.to_string())]);
    for n in 1..=scaled(400) {
        client.commit(i64::from(n), [patch(&key, json!({"n": n}))]).await;
        // From other tasks, so that readers on other threads and connections are asked, not the writer's own.
        let reads = [0, 1, 2].map(|_| {
            let (client, key, search) = (client.clone(), key.clone(), search(n));
            tokio::spawn(async move {
                let (view, entity) = (client.view(&key).await, client.entity(&key).await);
                let list = client.keys(&search).await;
                (view.and_then(|view| view.properties.get("n")), entity.map(|entity| entity.version), list)
            })
        });
        for read in reads {
            let seen = read.await.expect("a reader");
            assert_eq!(seen, (Some(json!(n)), Some(version(i64::from(n) + 1)), vec![key.clone()]));
        }
    }
}

/// What one tenant has is to another as if it had never existed: reads, lists, expectations, addresses, idempotency keys,
/// versions and the feed.
pub async fn tenants_are_apart<F: Fixture>() {
    let (fixture, a) = start::<F>().await;
    let b = a.as_tenant("b");
    let key = profile(1);
    let ada = json!({"name": "Ada", "email": "ada@example.com", "plan": "pro"});
    let keyed = once("k", 1, changeset(0, [create(&key, ada)]));
    a.receipt(keyed.clone()).await;
    a.commit(1, [create(&profile(2), json!({"name": "Bea", "email": "bea@example.com"}))]).await;
    a.commit(2, [delete(&profile(2))]).await;

    let search = where_all(&[Filter::attribute("plan", "pro")]);
    for id in [1, 2] {
        assert_eq!(b.view(&profile(id)).await, None);
        assert_eq!(b.entity(&profile(id)).await, None);
        assert_eq!(b.refused(3, [patch(&profile(id), json!({"n": 1}))]).await.rejection.code(), "NOT_FOUND");
    }
    assert_eq!(b.list(&everything(&key)).await, []);
    assert_eq!(b.list(&search).await, []);
    assert_eq!(fixture.feed(&b.tenant).await, []);

    // The same id, address and idempotency key, with another fingerprint, are all free.
    let eve = json!({"name": "Eve", "email": "ada@example.com", "plan": "pro"});
    let receipt = b.receipt(once("k", 2, changeset(4, [create(&key, eve.clone())]))).await;
    assert_eq!(receipt.outcomes[0].outcome, ItemOutcome::Created(version(1)));
    assert_eq!(b.commit(5, [merge(&profile(2), [fact("n", "crm", 0, 1)])]).await, [ItemOutcome::Created(version(1))]);
    assert_eq!(b.commit(6, [delete(&key)]).await, [ItemOutcome::Deleted(version(2))]);

    assert_eq!(a.receipt(keyed).await.replay, Replay::Yes, "b's delete made a's receipt forgotten");
    assert_eq!(a.served(&key).await, json!({"name": "Ada", "email": "ada@example.com", "plan": "pro"}));
    assert_eq!(a.keys(&search).await, std::slice::from_ref(&key));
    assert_eq!(b.list(&search).await, []);
    assert_eq!(a.refused(7, [create(&profile(3), eve)]).await.rejection.code(), "EMAIL_TAKEN");
    let feed = fixture.feed(&tenant("a")).await;
    assert_eq!(
        feed.iter().map(|row| (&row.key, row.version)).collect::<Vec<_>>(),
        [(&key, version(1)), (&profile(2), version(1)), (&profile(2), version(2))]
    );
    assert!(feed[0].changes.as_ref().is_some_and(|changes| changes.contains_key("plan")), "b's delete blanked a's feed");
}
