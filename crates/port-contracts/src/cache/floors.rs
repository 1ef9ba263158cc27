//! What changes leave behind.

use profile_ports::cache::{Change, Put};

use super::{
    CacheFixture, CacheLimits,
    tier::{AMPLE, SPANS, absent, begun, fresh, key, living},
};

/// An invalidation drops what is older and keeps it out, where there was an entry and where there was none.
pub async fn cache_floors_refuse_what_is_older<F: CacheFixture>() {
    let tier = begun::<F>(AMPLE).await;
    assert_eq!(tier.settled(&key(1), living(&key(1), 4)).await, Put::Stored);
    assert_eq!(tier.settled(&key(2), absent(Some(4))).await, Put::Stored);
    for number in [1, 2, 3] {
        let early = tier.ticket(&key(number)).await;
        tier.invalidate(&key(number), 5).await;
        tier.invalidate(&key(number), 3).await;
        assert_eq!(tier.state(&key(number)).await, None, "what was there is older");
        for older in [living(&key(number), 4), absent(Some(4)), absent(None)] {
            assert_eq!(tier.put(&key(number), early, fresh(older.clone())).await, Put::Older, "{older:?} below 5");
            assert_eq!(tier.state(&key(number)).await, None);
        }
        assert_eq!(tier.put(&key(number), early, fresh(living(&key(number), 5))).await, Put::Stored);
    }
}

/// A fresh state keeps out what is older, also when it is no longer there itself.
pub async fn cache_fresh_states_leave_a_floor<F: CacheFixture>() {
    let tier = begun::<F>(AMPLE).await;
    for (number, state) in [(1, living(&key(1), 5)), (2, absent(Some(5)))] {
        let early = tier.ticket(&key(number)).await;
        assert_eq!(tier.put(&key(number), early, fresh(state)).await, Put::Stored);
        tier.cache.remove(&tier.tenant, &key(number)).await.expect("a removal");
        tier.fixture.pass(SPANS.load / 2).await;
        assert_eq!(tier.put(&key(number), early, fresh(living(&key(number), 4))).await, Put::Older);
        assert_eq!(tier.put(&key(number), early, fresh(absent(None))).await, Put::Older);
        assert_eq!(tier.state(&key(number)).await, None);
    }
}

/// Once no load can come that saw less, a floor is no more: it isn't known for ever that a deleted entity was there, and others
/// have its room.
pub async fn cache_floors_end<F: CacheFixture>() {
    let tier = begun::<F>(CacheLimits { floors: 1, ..AMPLE }).await;
    let namespace = async || tier.mark(&key(1)).await.expect("a mark").namespace;
    let first = namespace().await;
    for number in 1..5 {
        tier.invalidate(&key(number), 5).await;
        assert_eq!(tier.settled(&key(number), absent(None)).await, Put::Older);
        tier.fixture.pass(SPANS.floor()).await;
        assert_eq!(tier.settled(&key(number), absent(None)).await, Put::Stored);
    }
    assert_eq!(namespace().await, first, "there was never more than one");
}

/// A remembered absence ends with the creation, whether it is written through or only invalidated; and one that was loaded
/// before doesn't come back.
pub async fn cache_absence_ends_with_creation<F: CacheFixture>() {
    let tier = begun::<F>(AMPLE).await;
    for number in [1, 2] {
        let early = tier.ticket(&key(number)).await;
        assert_eq!(tier.put(&key(number), early, fresh(absent(None))).await, Put::Stored);
        if number == 1 {
            assert_eq!(tier.put(&key(number), early, fresh(living(&key(number), 1))).await, Put::Stored);
        } else {
            tier.invalidate(&key(number), 1).await;
        }
        assert_ne!(tier.state(&key(number)).await, Some(absent(None)), "it was created");
        assert_eq!(tier.put(&key(number), early, fresh(absent(None))).await, Put::Older, "a load from before");
        assert_ne!(tier.state(&key(number)).await, Some(absent(None)), "it was created");
    }
}

/// Floors stay while entries come and go.
pub async fn cache_floors_outlive_evictions<F: CacheFixture>() {
    let tier = begun::<F>(CacheLimits { entries: 2, absences: 2, ..AMPLE }).await;
    let early = tier.ticket(&key(1)).await;
    assert_eq!(tier.put(&key(1), early, fresh(living(&key(1), 5))).await, Put::Stored);
    tier.invalidate(&key(2), 5).await;
    for other in 10..50 {
        assert_eq!(tier.settled(&key(other), living(&key(other), 1)).await, Put::Stored);
        assert_eq!(tier.settled(&key(other + 100), absent(None)).await, Put::Stored);
    }
    for number in [1, 2] {
        assert_eq!(tier.state(&key(number)).await, None, "others took its place");
        assert_eq!(tier.put(&key(number), early, fresh(living(&key(number), 4))).await, Put::Older);
        assert_eq!(tier.put(&key(number), early, fresh(absent(None))).await, Put::Older);
    }
}

/// One floor too many, by an invalidation or a step or a fresh state, and the part begins anew where it is: nothing of before
/// is given, nothing that a load of before brings is taken, and nothing at all while a load may still see less.
pub async fn cache_overflow_begins_anew<F: CacheFixture>() {
    const FLOORS: u32 = 5;
    let limits = CacheLimits { floors: FLOORS as usize, ..AMPLE };
    for way in ["invalidations", "a step", "fresh states"] {
        let tier = begun::<F>(limits).await;
        assert_eq!(tier.cache.parts(), 1, "so few floors aren't divided");
        assert_eq!(tier.settled(&key(1), living(&key(1), 1)).await, Put::Stored);
        assert_eq!(tier.settled(&key(2), absent(None)).await, Put::Stored);
        let before = tier.mark(&key(1)).await.expect("a mark");
        let early = before.ticket.expect("a ticket");
        let changes: Vec<Change> = (10..=10 + FLOORS).map(|number| tier.change(&key(number), 5)).collect();
        let (last, most) = changes.split_last().expect("a few");
        tier.cache.invalidate(most).await.expect("an invalidation");
        assert_eq!(tier.mark(&key(1)).await.map(|mark| mark.namespace), Some(before.namespace), "there is room for as many");
        tier.cache.invalidate(most).await.expect("an invalidation");
        assert_eq!(tier.state(&key(1)).await, Some(living(&key(1), 1)), "the same again are no more");
        let position = match way {
            "invalidations" => {
                tier.invalidate(&last.key, 5).await;
                0
            }
            "a step" => {
                tier.follow(0, 0, 9, &changes).await;
                9
            }
            _ => {
                assert_eq!(tier.put(&last.key, early, fresh(living(&last.key, 5))).await, Put::Late);
                0
            }
        };

        let after = tier.mark(&key(1)).await.expect("a mark");
        assert_ne!(after.namespace, before.namespace, "{way}");
        assert_eq!((after.position, after.ticket), (position, None), "{way}: it goes on where it is, and takes nothing yet");
        assert_eq!((tier.state(&key(1)).await, tier.state(&key(2)).await), (None, None), "{way}");
        assert_eq!(tier.put(&key(10), early, fresh(living(&key(10), 4))).await, Put::Late, "{way}");
        tier.fixture.pass(SPANS.lag).await;
        assert_eq!(tier.put(&key(10), early, fresh(living(&key(10), 4))).await, Put::Late, "{way}");
        assert_eq!(tier.settled(&key(10), living(&key(10), 5)).await, Put::Stored, "{way}");
    }
}
