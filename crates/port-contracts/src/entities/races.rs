//! Writers of one entity at once.

use profile_domain::{Expect, ItemOutcome, Refusal, Rejection};
use profile_ports::CommitError;
use serde_json::json;

use crate::{
    Fixture,
    build::{Vary, changeset, create, fact, merge, organization, patch, profile, race, start, version},
    scaled,
};

/// Of many writers that expect the same version one is let through, and the others are told the version that it made.
pub async fn one_of_many_versions_wins<F: Fixture>() {
    const WRITERS: u32 = 50;
    let (_fixture, client) = start::<F>().await;
    let key = profile(1);
    client.commit(0, [create(&key, json!({"name": "Ada", "email": "ada@example.com", "n": 0}))]).await;
    for round in 1..=i64::from(scaled(100)) {
        let increment = |writer| {
            let write = patch(&key, json!({"n": round, "by": writer})).expecting(Expect::Version(vec![version(round)]));
            changeset(round, [write])
        };
        let answers = race(&client, (0..WRITERS).map(increment).collect()).await;
        let mut winners = 0;
        for answer in answers {
            match answer {
                Ok(receipt) => {
                    assert_eq!(receipt.outcomes[0].outcome, ItemOutcome::Updated(version(round + 1)));
                    winners += 1;
                }
                Err(CommitError::Refused(refusal)) => {
                    let rejection = Rejection::VersionConflict { actual: version(round + 1) };
                    assert_eq!(refusal, Refusal { index: 0, rejection });
                }
                Err(error) => panic!("round {round}: {error:?}"),
            }
        }
        assert_eq!(winners, 1, "round {round}");
        assert_eq!(client.served(&key).await["n"], round);
    }
}

/// Two sources that report the same unknown entity at once: both facts are kept, and one of them is its first version.
pub async fn first_writers_keep_both_facts<F: Fixture>() {
    let (_fixture, client) = start::<F>().await;
    for round in 0..scaled(1_000) {
        let key = organization(&format!("acc-{round}"));
        let from = |source: &str, seconds| {
            // Beside it, entities that others also write, so that locks are taken in more than one order if they are.
            let shared = merge(&organization("shared"), [fact(source, source, i64::from(round), round)]);
            let own = merge(&key, [fact("plan", source, seconds, source)]);
            changeset(i64::from(round), if source == "crm" { [shared, own] } else { [own, shared] })
        };
        let answers = race(&client, vec![from("crm", 0), from("web", -1)]).await;
        let mut versions: Vec<_> = answers
            .into_iter()
            .map(|answer| {
                let receipt = answer.unwrap_or_else(|error| panic!("round {round}: {error:?}"));
                let own = receipt.outcomes.into_iter().find(|item| item.key == key).expect("an outcome");
                match own.outcome {
                    ItemOutcome::Created(version) => (version.get(), "created"),
                    ItemOutcome::Updated(version) => (version.get(), "updated"),
                    other => panic!("round {round}: {other:?}"),
                }
            })
            .collect();
        versions.sort_unstable();
        assert_eq!(versions, [(1, "created"), (2, "updated")], "round {round}");
        let plan = client.entity(&key).await.and_then(|entity| entity.living).expect("it lives").fields.remove("plan");
        let facts: Vec<_> = plan.expect("a plan").iter().map(|fact| fact.value.clone()).collect();
        assert_eq!(facts, [json!("crm"), json!("web")], "round {round}");
    }
}
