//! A changeset with an idempotency key happens once.

use profile_domain::{Changeset, EntityWrite, Expect, Idempotency, ItemOutcome, Receipt, Replay};
use profile_ports::CommitError;
use serde_json::{Value, json};

use crate::{
    Fixture,
    build::{Vary, at, changeset, create, delete, fact, merge, once, patch, profile, put, race, start, version},
    scaled,
};

fn person(email: &str) -> Value {
    json!({"name": "Someone", "email": email})
}

fn assert_replays(replay: &Receipt, first: &Receipt) {
    assert_eq!((&replay.outcomes, replay.at, replay.replay), (&first.outcomes, first.at, Replay::Yes));
    assert!(replay.states.is_empty(), "a replay knows no states");
}

/// The receipt of the first time comes back, whatever the repetition's clock and fresh id are and however the entity has
/// changed since, and nothing is written. Another fingerprint is refused; another route is another key.
pub async fn idempotency_replays<F: Fixture>() {
    let (fixture, client) = start::<F>().await;
    let first = client.receipt(once("k", 1, changeset(0, [create(&profile(1), person("a@example.com"))]))).await;
    assert_eq!((first.replay, first.at), (Replay::No, at(0)));
    client.commit(1, [patch(&profile(1), json!({"name": "Renamed", "email": "b@example.com"}))]).await;
    let before = fixture.dump().await;

    // A repeated POST brings another fresh id, and an address that its first time has taken.
    let again = once("k", 1, changeset(50, [create(&profile(2), person("a@example.com")).expecting(Expect::Fresh)]));
    for _ in 0..2 {
        assert_replays(&client.receipt(again.clone()).await, &first);
    }
    for other in [changeset(0, [create(&profile(1), person("a@example.com"))]), changeset(60, [delete(&profile(1))])] {
        let answer = client.try_commit(once("k", 2, other)).await;
        assert!(matches!(answer, Err(CommitError::KeyReused)), "{answer:?}");
    }
    assert_eq!(fixture.dump().await, before, "a replay wrote something");

    let elsewhere = Idempotency { route: "POST /api/v1/elsewhere", key: "k".into(), fingerprint: [2; 32] };
    let other_route = Changeset { idempotency: Some(elsewhere), ..changeset(60, [patch(&profile(1), json!({"n": 1}))]) };
    let receipt = client.receipt(other_route.clone()).await;
    assert_eq!((receipt.outcomes[0].outcome.clone(), receipt.replay), (ItemOutcome::Updated(version(3)), Replay::No));
    assert_replays(&client.receipt(other_route).await, &receipt);
    assert_replays(&client.receipt(again).await, &first);

    // Receipts of every outcome come back as they were.
    let several = || -> [EntityWrite; 4] {
        [
            put(&profile(1), json!({"name": "N", "email": "c@example.com"})),
            put(&profile(1), json!({"name": "N", "email": "c@example.com"})),
            create(&profile(5), person("e@example.com")),
            delete(&profile(6)).expecting(Expect::Any),
        ]
    };
    let receipt = client.receipt(once("several", 1, changeset(70, several()))).await;
    let outcomes: Vec<_> = receipt.outcomes.iter().map(|item| (item.key.clone(), item.outcome.clone())).collect();
    assert_eq!(
        outcomes,
        [
            (profile(1), ItemOutcome::Updated(version(4))),
            (profile(1), ItemOutcome::Unchanged(Some(version(4)))),
            (profile(5), ItemOutcome::Created(version(1))),
            (profile(6), ItemOutcome::Unchanged(None)),
        ]
    );
    assert_replays(&client.receipt(once("several", 1, changeset(71, several()))).await, &receipt);
}

/// Of a hundred at once under one key, each with a fresh id of its own, one creates and all get its receipt.
pub async fn idempotency_races_once<F: Fixture>() {
    const CALLERS: u32 = 100;
    let (fixture, client) = start::<F>().await;
    for round in 0..scaled(20) {
        let caller = |caller: u32| {
            let fresh = create(&profile(round * CALLERS + caller), person(&format!("round-{round}@example.com")));
            once(&format!("k{round}"), 1, changeset(caller.into(), [fresh.expecting(Expect::Fresh)]))
        };
        let answers = race(&client, (0..CALLERS).map(caller).collect()).await;
        let receipts: Vec<Receipt> =
            answers.into_iter().map(|answer| answer.unwrap_or_else(|error| panic!("round {round}: {error:?}"))).collect();
        let first: Vec<_> = receipts.iter().filter(|receipt| receipt.replay == Replay::No).collect();
        assert_eq!(first.len(), 1, "round {round}: one creates");
        assert_eq!(first[0].outcomes[0].outcome, ItemOutcome::Created(version(1)));
        for replay in receipts.iter().filter(|receipt| receipt.replay != Replay::No) {
            assert_replays(replay, first[0]);
        }
        assert_eq!(fixture.feed(&client.tenant).await.len(), round as usize + 1, "round {round}: one was created");
    }
}

/// Once the entity was deleted the receipt is gone and the key stays: a replay creates nothing, also after the entity has
/// come back, and another fingerprint is still refused.
pub async fn idempotency_forgets_the_deleted<F: Fixture>() {
    let (fixture, client) = start::<F>().await;
    let keyed = once("k", 1, changeset(0, [create(&profile(1), person("a@example.com"))]));
    let other = once("other", 1, changeset(0, [create(&profile(2), person("b@example.com"))]));
    let patched = once("patch", 1, changeset(1, [patch(&profile(1), json!({"n": 1}))]));
    client.receipt(keyed.clone()).await;
    let kept = client.receipt(other.clone()).await;
    client.receipt(patched.clone()).await;
    client.commit(2, [delete(&profile(1))]).await;

    for revived in [false, true] {
        if revived {
            client.commit(3, [merge(&profile(1), [fact("n", "crm", 3, 1)])]).await;
        }
        let before = fixture.dump().await;
        for forgotten in [&keyed, &patched] {
            let receipt = client.receipt(forgotten.clone()).await;
            assert_eq!((receipt.outcomes, receipt.states.len(), receipt.replay), (vec![], 0, Replay::Forgotten));
        }
        let reused = client.try_commit(once("k", 2, changeset(4, [merge(&profile(1), [])]))).await;
        assert!(matches!(reused, Err(CommitError::KeyReused)), "{reused:?}");
        assert_eq!(fixture.dump().await, before, "a forgotten receipt wrote something");
        assert_replays(&client.receipt(other.clone()).await, &kept);
    }
}

/// A changeset that was accepted and changed nothing still stores its key, and nothing else; later it replays what it said,
/// though it would change something now.
pub async fn unchanged_keeps_its_key<F: Fixture>() {
    let (fixture, client) = start::<F>().await;
    let key = profile(1);
    client.commit(0, [create(&key, person("a@example.com"))]).await;
    let before = fixture.dump().await;
    let keyed = once("k", 1, changeset(1, [put(&key, person("a@example.com"))]));
    let first = client.receipt(keyed.clone()).await;
    assert_eq!(first.outcomes[0].outcome, ItemOutcome::Unchanged(Some(version(1))));
    let after = fixture.dump().await;
    let changed: Vec<_> = after.iter().filter(|(table, rows)| before.get(*table) != Some(rows)).collect();
    assert_eq!(changed.len(), 1, "only the table of keys has changed: {changed:?}");

    client.commit(2, [patch(&key, json!({"name": "Renamed"}))]).await;
    assert_replays(&client.receipt(keyed).await, &first);
    assert_eq!(client.served(&key).await["name"], "Renamed");
    let reused = client.try_commit(once("k", 2, changeset(3, [put(&key, person("a@example.com"))]))).await;
    assert!(matches!(reused, Err(CommitError::KeyReused)), "{reused:?}");
}
