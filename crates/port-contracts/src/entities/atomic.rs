//! A changeset is written whole, item by item where items may fail, or not at all.

use profile_domain::{Changeset, Expect, ItemOutcome, Policy, Refusal, Rejection, changeset::MAX_ITEMS};
use profile_ports::CommitError;
use serde_json::json;

use crate::{
    Fixture,
    build::{Vary, at, changeset, create, delete, fact, merge, once, patch, profile, put, start, version},
    scaled,
};

/// A changeset with a required write that can't be applied leaves no row and no idempotency key, wherever in it that write
/// stands and whatever is wrong with it.
pub async fn refused_changeset_leaves_no_trace<F: Fixture>() {
    let (fixture, client) = start::<F>().await;
    client.commit(0, [create(&profile(1), json!({"name": "Ada", "email": "ada@example.com"}))]).await;
    let before = fixture.dump().await;

    let good = || create(&profile(2), json!({"name": "Bea", "email": "bea@example.com"}));
    let stale = patch(&profile(1), json!({"name": "B"})).expecting(Expect::Version(vec![version(7)]));
    for (bad, rejection) in [
        (patch(&profile(9), json!({"name": "X"})), Rejection::Absent),
        (delete(&profile(9)), Rejection::Absent),
        (create(&profile(1), json!({"name": "X", "email": "x@example.com"})), Rejection::Exists(version(1))),
        (stale, Rejection::VersionConflict { actual: version(1) }),
        (create(&profile(3), json!({"name": "C", "email": "ADA@example.com"})), Rejection::EmailTaken),
        (create(&profile(3), json!({"name": "C", "email": "ADA@example.com"})).expecting(Expect::Fresh), Rejection::EmailTaken),
    ] {
        for (index, writes) in [(0, vec![bad.clone(), good()]), (1, vec![good(), bad.clone()])] {
            let keyed = once("k", 1, changeset(1, writes));
            match client.try_commit(keyed).await {
                Err(CommitError::Refused(refusal)) => assert_eq!(refusal, Refusal { index, rejection: rejection.clone() }),
                other => panic!("{bad:?} should have been refused, but gave {other:?}"),
            }
            assert_eq!(fixture.dump().await, before, "{bad:?} left a trace");
        }
    }
    let invalid = client.refused(1, [good(), put(&profile(1), json!({"name": " ", "email": "ada@example.com"}))]).await;
    assert_eq!((invalid.index, invalid.rejection.code()), (1, "VALIDATION_FAILED"));
    assert_eq!(fixture.dump().await, before, "an invalid write left a trace");

    // The key is as free as if it had never been sent.
    let receipt = client.receipt(once("k", 2, changeset(2, [good()]))).await;
    assert_eq!(receipt.outcomes[0].outcome, ItemOutcome::Created(version(1)));
}

/// Writes that are not required are rejected one by one, with the reason, and everything else commits.
pub async fn rejected_items_harm_no_other<F: Fixture>() {
    let (_fixture, client) = start::<F>().await;
    client.commit(0, [create(&profile(1), json!({"name": "Ada", "email": "ada@example.com"}))]).await;
    let receipt = client
        .receipt(changeset(
            10,
            [
                create(&profile(2), json!({"name": "Bea", "email": "bea@example.com"})).optional(),
                patch(&profile(9), json!({"name": "X"})).optional(),
                patch(&profile(1), json!({"name": "X"})).expecting(Expect::Version(vec![version(2)])).optional(),
                create(&profile(1), json!({"name": "X", "email": "x@example.com"})).optional(),
                create(&profile(3), json!({"name": "Cleo", "email": "Ada@Example.com"})).optional(),
                merge(&profile(4), [fact("name", "crm", 0, 7)]),
                merge(&profile(5), [fact("plan", "crm", 311, "pro")]),
                merge(&profile(5), [fact("plan", "crm", 310, "pro")]),
                patch(&profile(1), json!({"bio": "first"})),
            ],
        ))
        .await;
    let outcomes: Vec<_> = receipt
        .outcomes
        .iter()
        .map(|item| match &item.outcome {
            ItemOutcome::Rejected(rejection) => Err(rejection.code()),
            outcome => Ok(outcome.clone()),
        })
        .collect();
    assert_eq!(
        outcomes,
        [
            Ok(ItemOutcome::Created(version(1))),
            Err("NOT_FOUND"),
            Err("VERSION_CONFLICT"),
            Err("ALREADY_EXISTS"),
            Err("EMAIL_TAKEN"),
            Err("VALIDATION_FAILED"),
            Err("DATED_AHEAD"),
            Ok(ItemOutcome::Created(version(1))),
            Ok(ItemOutcome::Updated(version(2))),
        ]
    );
    assert_eq!(receipt.at, at(10));
    assert_eq!(receipt.outcomes[4].key, profile(3), "an item of a receipt names its entity");
    assert_eq!(client.served(&profile(1)).await, json!({"name": "Ada", "email": "ada@example.com", "bio": "first"}));
    assert_eq!(client.served(&profile(2)).await, json!({"name": "Bea", "email": "bea@example.com"}));
    assert_eq!(client.served(&profile(5)).await, json!({"plan": "pro"}));
    for absent in [3, 4, 9] {
        assert_eq!(client.entity(&profile(absent)).await, None, "profile {absent} was rejected");
    }
    for (key, state) in &receipt.states {
        assert_eq!(client.entity(key).await.as_ref(), Some(state), "the receipt gives the state as it is now");
    }
    assert_eq!(receipt.states.len(), 3);
}

/// A write sees what an earlier one of its changeset did, also that it began or ended a life.
pub async fn writes_see_earlier_ones<F: Fixture>() {
    let (_fixture, client) = start::<F>().await;
    let key = profile(1);
    let outcomes = client
        .commit(
            0,
            [
                create(&key, json!({"name": "Ada", "email": "ada@example.com", "n": 1})),
                patch(&key, json!({"n": 2})).expecting(Expect::Version(vec![version(1)])),
                patch(&key, json!({"n": 2})),
                create(&key, json!({"name": "X", "email": "x@example.com"})).optional(),
                delete(&key),
                patch(&key, json!({"n": 3})).optional(),
                create(&key, json!({"name": "Eve", "email": "ada@example.com"})),
                create(&profile(2), json!({"name": "Eve", "email": "ADA@example.com"})).optional(),
            ],
        )
        .await;
    assert_eq!(
        outcomes,
        [
            ItemOutcome::Created(version(1)),
            ItemOutcome::Updated(version(2)),
            ItemOutcome::Unchanged(Some(version(2))),
            ItemOutcome::Rejected(Rejection::Exists(version(2))),
            ItemOutcome::Deleted(version(3)),
            ItemOutcome::Rejected(Rejection::Absent),
            ItemOutcome::Created(version(4)),
            ItemOutcome::Rejected(Rejection::EmailTaken),
        ]
    );
    assert_eq!(client.served(&key).await, json!({"name": "Eve", "email": "ada@example.com"}));
    let view = client.view(&key).await.expect("it lives");
    assert_eq!((view.version, view.created_at, view.updated_at), (version(4), at(0), at(0)));

    // A life that begins and ends within one changeset leaves a tombstone.
    let brief =
        client.commit(1, [create(&profile(3), json!({"name": "C", "email": "c@example.com"})), delete(&profile(3))]).await;
    assert_eq!(brief, [ItemOutcome::Created(version(1)), ItemOutcome::Deleted(version(2))]);
    assert_eq!(client.view(&profile(3)).await, None);
    assert_eq!(client.entity(&profile(3)).await.map(|entity| entity.version), Some(version(2)));
}

/// One write more than the limit is refused before anything is written; as many as the limit are taken.
pub async fn too_large_a_changeset_is_refused<F: Fixture>() {
    let (fixture, client) = start::<F>().await;
    let writes = |count: usize| -> Changeset {
        let number = |index: usize| u32::try_from(index).expect("a small number");
        changeset(0, (0..count).map(|index| merge(&profile(number(index)), [fact("n", "crm", 0, index)])))
    };
    let before = fixture.dump().await;
    let answer = client.try_commit(writes(MAX_ITEMS + 1)).await;
    assert!(matches!(answer, Err(CommitError::TooLarge)), "{answer:?}");
    assert_eq!(fixture.dump().await, before);
    let receipt = client.receipt(writes(MAX_ITEMS)).await;
    assert!(receipt.outcomes.iter().all(|item| item.outcome == ItemOutcome::Created(version(1))));
    assert_eq!(receipt.outcomes.len(), MAX_ITEMS);
    assert_eq!(client.served(&profile(4_999)).await, json!({"n": 4999}));
}

/// A future that is dropped at any moment leaves all of its changeset or nothing of it, and nothing locked.
pub async fn dropped_commit_is_whole<F: Fixture>() {
    let fixture = F::fresh(Policy::default()).await;
    let client = crate::build::Client::of(&fixture);
    for round in 0..scaled(400) {
        let keys = [profile(round * 3), profile(round * 3 + 1), profile(round * 3 + 2)];
        let doomed = changeset(0, keys.iter().map(|key| merge(key, [fact("doomed", "crm", 0, round)])));
        // Dropped after a time that grows from nothing to about what a commit takes. This cuts it; it waits for nothing.
        let cut = std::time::Duration::from_micros(u64::from(round % 40) * 100);
        let _ = tokio::time::timeout(cut, client.try_commit(doomed)).await;

        // This one waits for the locks of the first, so its receipt shows what the first left.
        let receipt = client.receipt(changeset(1, keys.iter().map(|key| merge(key, [fact("next", "crm", 0, round)])))).await;
        let doomed: Vec<bool> =
            keys.iter().map(|key| receipt.states[key].living.as_ref().expect("it lives").value("doomed").is_some()).collect();
        assert!(doomed.iter().all(|there| *there == doomed[0]), "round {round} left half a changeset: {doomed:?}");
    }
}
