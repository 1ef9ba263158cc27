//! The contract of [`profile_ports::Secrets`].

use std::sync::Arc;

use tokio::{sync::Barrier, task::JoinSet};

use crate::{
    Fixture,
    build::{Client, deadline, start},
};

/// Of many callers that bring a candidate at once, all get the same key, which is one of the candidates; and so does who
/// comes later.
pub async fn secrets_made_once<F: Fixture>() {
    const CALLERS: u8 = 20;
    let (_fixture, client) = start::<F>().await;
    let barrier = Arc::new(Barrier::new(CALLERS.into()));
    let mut tasks = JoinSet::new();
    for candidate in 1..=CALLERS {
        let (client, barrier) = (client.clone(), Arc::clone(&barrier));
        tasks.spawn(async move {
            barrier.wait().await;
            client.store.secrets([candidate; 32], deadline()).await.expect("secrets")
        });
    }
    let answers = tasks.join_all().await;
    let first = answers[0].clone();
    assert_eq!(first.len(), 1, "one key is made");
    assert!((1..=CALLERS).any(|candidate| first[0].bytes == [candidate; 32]), "the key is one of the candidates");
    assert!(answers.iter().all(|answer| *answer == first), "all callers get the same key");
    assert_eq!(client.store.secrets([99; 32], deadline()).await.expect("secrets"), first, "a later candidate is not kept");
}

/// The next process finds the keys of the last.
pub async fn secrets_survive_reopening<F: Fixture>() {
    let (mut fixture, client) = start::<F>().await;
    client.store.secrets([1; 32], deadline()).await.expect("secrets");
    client.store.rotate_secrets([2; 32], deadline()).await.expect("a rotation");
    let before = client.store.secrets([3; 32], deadline()).await.expect("secrets");
    drop(client);
    fixture.reopen(profile_domain::Policy::default()).await;
    let after = Client::of(&fixture).store.secrets([4; 32], deadline()).await.expect("secrets");
    assert_eq!(after, before);
}

/// After a rotation the new key comes first and the one before stays; after another, the oldest is gone. No id is used twice.
pub async fn secrets_rotate_keeping_two<F: Fixture>() {
    let (_fixture, client) = start::<F>().await;
    let keys = async || client.store.secrets([9; 32], deadline()).await.expect("secrets");
    client.store.secrets([1; 32], deadline()).await.expect("secrets");
    let first = keys().await;
    client.store.rotate_secrets([2; 32], deadline()).await.expect("a rotation");
    let second = keys().await;
    client.store.rotate_secrets([3; 32], deadline()).await.expect("a rotation");
    let third = keys().await;

    assert_eq!(first.iter().map(|key| key.bytes[0]).collect::<Vec<_>>(), [1]);
    assert_eq!(second.iter().map(|key| key.bytes[0]).collect::<Vec<_>>(), [2, 1]);
    assert_eq!(second[1], first[0], "the key before stays as it was");
    assert_eq!(third.iter().map(|key| key.bytes[0]).collect::<Vec<_>>(), [3, 2]);
    assert_eq!(third[1], second[0], "the key before stays as it was");
    let ids = [first[0].id, second[0].id, third[0].id];
    assert!(ids[0] != ids[1] && ids[1] != ids[2] && ids[0] != ids[2], "ids are given once: {ids:?}");
}
