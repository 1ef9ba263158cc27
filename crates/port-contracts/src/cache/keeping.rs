//! What is put is given, to those it belongs to, for its time.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use profile_ports::cache::{Fill, Put, State};
use tokio::{sync::Barrier, task::JoinSet};

use super::{
    CacheFixture, Planted,
    tier::{AMPLE, LONG, SPANS, Tier, absent, begun, fresh, key, living, settled, tenant, version},
};
use crate::{
    random::{Random, seed},
    scaled,
};

/// Values and absences come back as they were, with what is left of their time and the mark of their part. Before anyone
/// began, there is neither a hit nor a ticket.
pub async fn cache_gives_what_was_put<F: CacheFixture>() {
    let empty = Tier::<F>::new(F::fresh(AMPLE).await);
    assert_eq!((empty.got(&key(1)).await.hit, empty.mark(&key(1)).await), (None, None), "nobody began");

    let tier = begun::<F>(AMPLE).await;
    let bytes = Bytes::from((0..=255).cycle().take(10_000).collect::<Vec<u8>>());
    let states = [State::Living { version: version(3), bytes }, absent(None), absent(Some(4))];
    for (number, state) in (1..).zip(states) {
        assert_eq!(tier.state(&key(number)).await, None);
        assert_eq!(tier.settled(&key(number), state.clone()).await, Put::Stored);
        let got = tier.got(&key(number)).await;
        let hit = got.hit.expect("a hit");
        assert_eq!(hit.state, state);
        assert!(hit.expires_in > LONG / 2 && hit.expires_in <= LONG, "{:?} are left", hit.expires_in);
        let (seen, mark) = (got.mark.expect("a mark"), tier.mark(&key(number)).await.expect("a mark"));
        assert_eq!((seen.namespace, seen.incarnation, seen.position), (mark.namespace, mark.incarnation, mark.position));
        assert!(seen.ticket.is_some(), "a read gives a ticket");
    }
    assert_eq!(tier.settled(&key(1), living(&key(1), 4)).await, Put::Stored, "a later version takes its place");
    assert_eq!(tier.state(&key(1)).await, Some(living(&key(1), 4)));
}

/// What one tenant has is neither given to another nor changed by them.
pub async fn cache_tenants_are_apart<F: CacheFixture>() {
    let mut tier = begun::<F>(AMPLE).await;
    if F::KEEPS {
        assert_eq!(tier.settled(&key(1), living(&key(1), 2)).await, Put::Stored);
    }
    let before = tier.state(&key(1)).await;
    let first = std::mem::replace(&mut tier.tenant, tenant("b"));
    assert_eq!(tier.state(&key(1)).await, None, "another tenant's");
    tier.invalidate(&key(1), 9).await;
    tier.cache.remove(&tier.tenant, &key(1)).await.expect("a removal");
    if F::KEEPS {
        assert_eq!(tier.settled(&key(1), absent(Some(9))).await, Put::Stored);
    }
    tier.tenant = first;
    assert_eq!(tier.state(&key(1)).await, before);
}

/// An entry is given until its time is over, and then no more.
pub async fn cache_entries_expire<F: CacheFixture>() {
    let tier = begun::<F>(AMPLE).await;
    for (number, state) in [(1, living(&key(1), 1)), (2, absent(None))] {
        let short = Fill { expires_in: SPANS.lag, ..settled(state) };
        assert_eq!(tier.put(&key(number), tier.ticket(&key(number)).await, short.clone()).await, Put::Stored);
        assert_eq!(tier.state(&key(number)).await, Some(short.state.clone()));
        tier.fixture.pass(SPANS.lag).await;
        assert_eq!(tier.state(&key(number)).await, None, "its time is over");
        assert_eq!(tier.put(&key(number), tier.ticket(&key(number)).await, short).await, Put::Stored, "it may come anew");
    }
}

/// Fills and invalidations of older versions change nothing; an invalidation of the version that is there neither.
pub async fn cache_newer_versions_stay<F: CacheFixture>() {
    let tier = begun::<F>(AMPLE).await;
    for (number, state) in [(1, living(&key(1), 5)), (2, absent(Some(5)))] {
        assert_eq!(tier.settled(&key(number), state.clone()).await, Put::Stored);
        for older in [living(&key(number), 4), absent(Some(4)), absent(None)] {
            assert_eq!(tier.settled(&key(number), older.clone()).await, Put::Older, "{older:?} after {state:?}");
        }
        tier.invalidate(&key(number), 5).await;
        assert_eq!(tier.state(&key(number)).await, Some(state));
    }
}

/// The same version again is stored with its new time and bytes.
pub async fn cache_equal_versions_are_refreshed<F: CacheFixture>() {
    let tier = begun::<F>(AMPLE).await;
    assert_eq!(
        tier.put(&key(1), tier.ticket(&key(1)).await, Fill { expires_in: SPANS.lag, ..settled(living(&key(1), 5)) }).await,
        Put::Stored
    );
    let rewritten = State::Living { version: version(5), bytes: Bytes::from_static(b"another form") };
    assert_eq!(tier.settled(&key(1), rewritten.clone()).await, Put::Stored);
    tier.fixture.pass(SPANS.lag).await;
    assert_eq!(tier.state(&key(1)).await, Some(rewritten));
}

/// Writers of all versions at once, and readers: the newest stays, and nobody sees a version fall.
pub async fn cache_races_keep_the_newest<F: CacheFixture>() {
    const WRITERS: u32 = 8;
    let seed = seed();
    eprintln!("to repeat this: TEST_SEED={seed}");
    let mut random = Random::new(seed);
    let tier = Arc::new(begun::<F>(AMPLE).await);
    for round in 1..=scaled(200) {
        let key = key(round);
        let ticket = tier.ticket(&key).await;
        let mut versions: Vec<u32> = (1..=WRITERS).collect();
        random.shuffle(&mut versions);
        let start = Arc::new(Barrier::new(versions.len() + 1));
        let mut tasks = JoinSet::new();
        for number in versions {
            let (tier, start, key) = (Arc::clone(&tier), Arc::clone(&start), key.clone());
            tasks.spawn(async move {
                start.wait().await;
                let state = living(&key, number);
                // What is fresh is also kept by its floor; what is settled, by comparing alone.
                tier.put(&key, ticket, if round % 2 == 0 { fresh(state) } else { settled(state) }).await;
            });
        }
        start.wait().await;
        let mut last = None;
        while !tasks.is_empty() {
            while tasks.try_join_next().is_some() {}
            let found = tier.state(&key).await.and_then(|state| state.version());
            assert!(found >= last, "{found:?} after {last:?}");
            last = found;
            tokio::task::yield_now().await;
        }
        assert_eq!(tier.state(&key).await, Some(living(&key, WRITERS)));
    }
}

/// A removal is of one entity, and forgets no floor.
pub async fn cache_removes_one<F: CacheFixture>() {
    let tier = begun::<F>(AMPLE).await;
    for number in [1, 2] {
        assert_eq!(tier.put(&key(number), tier.ticket(&key(number)).await, fresh(living(&key(number), 5))).await, Put::Stored);
    }
    tier.cache.remove(&tier.tenant, &key(1)).await.expect("a removal");
    assert_eq!(tier.state(&key(1)).await, None);
    assert_eq!(tier.state(&key(2)).await, Some(living(&key(2), 5)));
    assert_eq!(tier.settled(&key(1), living(&key(1), 4)).await, Put::Older);
    assert_eq!(tier.settled(&key(1), living(&key(1), 5)).await, Put::Stored);
}

/// Whatever lies under a key from behind is a miss, is counted, and is gone.
pub async fn cache_removes_what_does_not_fit<F: CacheFixture>() {
    let tier = begun::<F>(AMPLE).await;
    let kinds =
        [Planted::OtherSchema, Planted::OtherTenant(tenant("b")), Planted::OtherKey(key(2)), Planted::Garbage, Planted::Huge];
    let mut planted = 0;
    for kind in kinds {
        if !tier.fixture.plant(&tier.tenant, &key(1), kind.clone()).await {
            continue;
        }
        planted += 1;
        assert_eq!(tier.state(&key(1)).await, None, "{kind:?}");
        assert_eq!(tier.fixture.unfit().await, planted, "{kind:?} is counted");
        assert_eq!(tier.fixture.size().await.entries, 0, "{kind:?} is gone");
        tier.fixture.pass(Duration::from_millis(1)).await;
        assert!(tier.fixture.plant(&tier.tenant, &key(1), kind.clone()).await);
        assert_eq!(tier.settled(&key(1), living(&key(1), 1)).await, Put::Stored, "{kind:?} keeps nothing away");
        assert_eq!(tier.state(&key(1)).await, Some(living(&key(1), 1)));
        tier.cache.remove(&tier.tenant, &key(1)).await.expect("a removal");
    }
    assert!(planted >= 3, "an adapter can be given at least what belongs to others");
}
