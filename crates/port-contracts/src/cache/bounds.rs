//! How much a cache holds that bounds itself.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use bytes::Bytes;
use profile_ports::cache::{Put, State};
use tokio::task::JoinSet;

use super::{
    CacheFixture, CacheLimits,
    tier::{AMPLE, Tier, absent, begun, fresh, key, living, settled, version},
};
use crate::scaled;

/// Many fill at once while someone looks: there is never one more than allowed, and in the end the size is what can be found.
pub async fn cache_entries_are_bounded<F: CacheFixture>() {
    const ENTRIES: usize = 10;
    let tier = Arc::new(begun::<F>(CacheLimits { entries: ENTRIES, absences: ENTRIES, floors: 100_000, ..AMPLE }).await);
    let keys = scaled(4_000);
    let done = Arc::new(AtomicBool::new(false));
    let mut fillers = JoinSet::new();
    for filler in 0..4 {
        let tier = Arc::clone(&tier);
        fillers.spawn(async move {
            for number in 0..keys {
                let key = key((number * (filler + 1)) % keys);
                let state = if number % 5 == filler { absent(None) } else { living(&key, number + 1) };
                tier.put(&key, tier.ticket(&key).await, settled(state)).await;
                tokio::task::yield_now().await;
            }
        });
    }
    let watcher = tokio::spawn({
        let (tier, done) = (Arc::clone(&tier), Arc::clone(&done));
        async move {
            let mut most = (0, 0);
            while !done.load(Ordering::Relaxed) {
                let size = tier.fixture.size().await;
                most = (most.0.max(size.entries), most.1.max(size.absences));
                tokio::task::yield_now().await;
            }
            most
        }
    });
    fillers.join_all().await;
    done.store(true, Ordering::Relaxed);
    let most = watcher.await.expect("a watcher");
    assert!(most.0 <= ENTRIES && most.1 <= ENTRIES, "{most:?} entries and absences, of {ENTRIES}");
    let size = tier.fixture.size().await;
    assert_eq!((size.entries, size.absences), found(&tier, keys).await, "the size is exact");
    assert!(size.entries > ENTRIES / 2, "and what is allowed is used");
}

/// How many keys are known as living, and how many as absent.
async fn found<F: CacheFixture>(tier: &Tier<F>, keys: u32) -> (usize, usize) {
    let mut found = (0, 0);
    for number in 0..keys {
        match tier.state(&key(number)).await {
            Some(State::Living { .. }) => found.0 += 1,
            Some(State::Absent { .. }) => found.1 += 1,
            None => {}
        }
    }
    found
}

/// Bytes have a bound of their own, small and large ones mixed.
pub async fn cache_bytes_are_bounded<F: CacheFixture>() {
    const BYTES: usize = 64 * 1024;
    let tier = begun::<F>(CacheLimits { bytes: BYTES, ..AMPLE }).await;
    let mut held = 0;
    for number in 1..500_u32 {
        let length = if number % 7 == 0 { 20_000 } else { 500 };
        let state = State::Living { version: version(1), bytes: Bytes::from(vec![b'x'; length]) };
        assert_eq!(tier.settled(&key(number), state).await, Put::Stored);
        let size = tier.fixture.size().await;
        assert!(size.bytes <= BYTES, "{} bytes of {BYTES}", size.bytes);
        held = held.max(size.bytes);
    }
    assert!(held > BYTES / 2, "and what is allowed is used");
}

/// What can have no room displaces what is older of the same entity, and nothing else.
pub async fn cache_too_large_leaves_nothing_older<F: CacheFixture>() {
    const BYTES: usize = 64 * 1024;
    let tier = begun::<F>(CacheLimits { bytes: BYTES, ..AMPLE }).await;
    for number in [1, 2] {
        assert_eq!(tier.settled(&key(number), living(&key(number), 1)).await, Put::Stored);
    }
    let early = tier.ticket(&key(1)).await;
    let large = State::Living { version: version(2), bytes: Bytes::from(vec![b'x'; BYTES]) };
    assert_eq!(tier.put(&key(1), early, fresh(large)).await, Put::TooLarge);
    assert_eq!(tier.state(&key(1)).await, None, "it was older");
    assert_eq!(tier.put(&key(1), early, fresh(living(&key(1), 1))).await, Put::Older);
    assert_eq!(tier.state(&key(2)).await, Some(living(&key(2), 1)));
}

/// Asking for ids that nobody has fills the bound of absences and displaces no value.
pub async fn cache_absences_displace_nothing<F: CacheFixture>() {
    const ENTRIES: usize = 10;
    let tier = begun::<F>(CacheLimits { entries: ENTRIES, absences: ENTRIES, ..AMPLE }).await;
    for number in 0..10 {
        assert_eq!(tier.settled(&key(number), living(&key(number), 1)).await, Put::Stored);
    }
    for number in 100..scaled(100_000) + 100 {
        assert_eq!(tier.settled(&key(number), absent(None)).await, Put::Stored);
        let size = tier.fixture.size().await;
        assert!(size.absences <= ENTRIES, "{} absences of {ENTRIES}", size.absences);
    }
    for number in 0..10 {
        assert_eq!(tier.state(&key(number)).await, Some(living(&key(number), 1)));
    }
}
