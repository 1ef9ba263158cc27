//! Exports: everything, in order, as of one moment.

use futures_util::{StreamExt as _, TryStreamExt as _};
use profile_domain::{Entity, EntityKey, EntityWrite, Expect};
use serde_json::json;

use crate::{
    Fixture,
    build::{Client, Vary, create, delete, everything, fact, merge, object, organization, patch, profile, start, update},
};

/// More than any store hands over or fetches ahead.
const MANY: u32 = 4_000;

fn some(numbers: impl IntoIterator<Item = u32>) -> Vec<EntityWrite> {
    let some = |number| json!({"name": "Some", "n": number, "text": "x".repeat(1_000)});
    numbers.into_iter().map(|number| update(&profile(number), some(number))).collect()
}

async fn fill(client: &Client) {
    client.commit(0, some((0..MANY).rev())).await;
    client.commit(1, (0..MANY).filter(|number| number % 3 == 0).map(|number| delete(&profile(number)))).await;
}

/// The living come in the order of their creation, whatever their keys, then tombstones in that of their references; each with
/// all that [`profile_ports::Entities::entity`] gives. Other types and tenants don't come.
pub async fn export_gives_everything_in_order<F: Fixture>() {
    let (_fixture, client) = start::<F>().await;
    assert_eq!(client.export().await, []);
    fill(&client).await;
    client.as_tenant("b").commit(0, some([1])).await;
    client.commit(2, [merge(&organization("x"), [fact("n", "crm", 0, 1)])]).await;
    // A revived one is the youngest. Some have facts that lost, and winners that say that there is nothing.
    client.commit(10, [merge(&profile(0), [fact("n", "crm", 9, 1)])]).await;
    client
        .commit(10, [merge(&profile(1), [fact("n", "crm", 9, 1), fact("n", "web", 8, 2), fact("n", "x", 9, json!(null))])])
        .await;
    // A large one among many small ones.
    client.commit(10, [patch(&profile(2), json!({"large": "x".repeat(60_000)}))]).await;

    let exported = client.export().await;
    let listed = client.keys(&everything(&profile(0))).await;
    let (living, tombstones): (Vec<_>, Vec<_>) = exported.iter().partition(|(_, entity)| entity.living.is_some());
    assert_eq!(living.iter().map(|(key, _)| key.clone()).collect::<Vec<_>>(), listed);
    assert_eq!(listed.last(), Some(&profile(0)));
    let gone: Vec<EntityKey> = (1..MANY).filter(|number| number % 3 == 0).map(profile).collect();
    assert_eq!(tombstones.iter().map(|(key, _)| key.clone()).collect::<Vec<_>>(), gone);
    assert!(exported[..living.len()].iter().all(|(_, entity)| entity.living.is_some()), "tombstones come last");
    for number in [0, 1, 2, 3, 4, MANY - 1] {
        let (_, entity) = exported.iter().find(|(key, _)| *key == profile(number)).expect("it was exported");
        assert_eq!(Some(entity), client.entity(&profile(number)).await.as_ref());
    }
}

/// What is written while an export is read doesn't show in it, and isn't held up by it; the next one has it.
pub async fn export_is_one_snapshot<F: Fixture>() {
    let (_fixture, client) = start::<F>().await;
    fill(&client).await;
    let before = client.export().await;

    let mut export = client.begin_export().await;
    let mut seen: Vec<(EntityKey, Entity)> = Vec::new();
    // Before the first, and again between two.
    for round in 0..2 {
        client.commit(10 + round, some([1 + MANY + u32::try_from(round).expect("few")])).await;
        let changed = (0..MANY).filter(|number| number % 3 == 1).map(|number| update(&profile(number), json!({"n": -1 - round})));
        client.commit(10 + round, changed).await;
        let deleted = (0..MANY).filter(|number| i64::from(number % 6) == 2 + 3 * round);
        client.commit(10 + round, deleted.map(|number| delete(&profile(number)).expecting(Expect::Any))).await;
        client.commit(100 + round, [update(&profile(3), json!({"name": "Back"}))]).await;
        seen.push(export.next().await.expect("more").expect("an entity"));
    }
    seen.extend(export.try_collect::<Vec<_>>().await.expect("the rest"));
    assert!(seen == before, "{} of {} as they were", seen.iter().zip(&before).filter(|(a, b)| a == b).count(), before.len());

    let after = client.export().await;
    assert_eq!(after.len(), before.len() + 2);
    let back = after.iter().find(|(key, _)| *key == profile(3)).and_then(|(_, entity)| entity.living.as_ref());
    assert_eq!(back.and_then(|living| living.value("name")), object(json!({"name": "Back"})).get("name"));
}

/// Exports that nobody reads to their end, dropped at the beginning or halfway, hold nothing back: others begin, and writing and
/// reading go on. So do those that are read at once.
pub async fn broken_off_exports_leave_room<F: Fixture>() {
    let (_fixture, client) = start::<F>().await;
    fill(&client).await;
    for round in 0..50 {
        let mut export = client.begin_export().await;
        if round % 2 == 0 {
            export.next().await.expect("more").expect("an entity");
        }
        drop(export);
    }
    let mut halves = [client.begin_export().await, client.begin_export().await];
    for half in &mut halves {
        half.next().await.expect("more").expect("an entity");
    }
    client.commit(2, [create(&profile(MANY), json!({"name": "Ada", "email": "ada@example.com"}))]).await;
    assert_eq!(client.served(&profile(MANY)).await["name"], "Ada");
    for half in halves {
        assert_eq!(half.count().await, MANY as usize - 1);
    }
}
