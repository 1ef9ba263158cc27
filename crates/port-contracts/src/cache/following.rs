//! Along the feed.

use std::{sync::Arc, time::Duration};

use profile_domain::Incarnation;
use profile_ports::cache::{Begin, Put, Step};
use tokio::{sync::Barrier, task::JoinSet};

use super::{
    CacheFixture,
    tier::{AMPLE, INCARNATION, SPANS, absent, begun, fresh, key, living},
};

/// A step that begins at or before the mark and ends after it invalidates and advances. One that would leave a gap, one that
/// was made already and one of another feed change nothing.
pub async fn cache_steps_leave_no_gap<F: CacheFixture>() {
    let tier = begun::<F>(AMPLE).await;
    let part = tier.cache.part_of(&tier.tenant, &key(1));
    let position = async || tier.part_mark(part).await.expect("a mark").position;
    assert_eq!(tier.settled(&key(1), living(&key(1), 1)).await, Put::Stored);
    let second = [tier.change(&key(1), 2)];
    let third = [tier.change(&key(1), 3)];

    let mark = tier.follow(part, 1, 5, &second).await.expect("a mark");
    assert_eq!(mark.position, 0, "a gap");
    let foreign = Step { incarnation: Incarnation(INCARNATION.0 + 1), from: 0, to: 5, changes: &second };
    let mark = tier.cache.follow(part, &foreign).await.expect("a step").expect("a mark");
    assert_eq!((mark.position, mark.incarnation), (0, INCARNATION), "another feed");
    assert_eq!(tier.state(&key(1)).await, Some(living(&key(1), 1)), "nothing was applied");

    let mark = tier.follow(part, 0, 5, &second).await.expect("a mark");
    assert_eq!((mark.position, position().await), (5, 5));
    assert_eq!(tier.state(&key(1)).await, None);
    assert_eq!(tier.settled(&key(1), living(&key(1), 1)).await, Put::Older);
    assert_eq!(tier.settled(&key(1), living(&key(1), 2)).await, Put::Stored);

    assert_eq!(tier.follow(part, 2, 5, &third).await.expect("a mark").position, 5, "made already");
    assert_eq!(tier.state(&key(1)).await, Some(living(&key(1), 2)), "and not again");
    assert_eq!(tier.follow(part, 3, 8, &third).await.expect("a mark").position, 8, "they may overlap");
    assert_eq!(tier.state(&key(1)).await, None);
    for other in (0..tier.cache.parts()).filter(|other| *other != part) {
        assert_eq!(tier.part_mark(other).await.expect("a mark").position, 0, "another part follows for itself");
    }
}

/// Entries, absences and floors are gone.
pub async fn cache_beginning_drops_everything<F: CacheFixture>() {
    let tier = begun::<F>(AMPLE).await;
    assert_eq!(tier.put(&key(1), tier.ticket(&key(1)).await, fresh(living(&key(1), 5))).await, Put::Stored);
    assert_eq!(tier.settled(&key(2), absent(None)).await, Put::Stored);
    for part in 0..tier.cache.parts() {
        let mark = tier.begin(part, 40, Duration::ZERO).await.expect("a mark");
        assert_eq!((mark.position, mark.incarnation), (40, INCARNATION));
    }
    assert_eq!((tier.state(&key(1)).await, tier.state(&key(2)).await), (None, None));
    assert_eq!(tier.settled(&key(1), living(&key(1), 4)).await, Put::Stored, "no floor is left of what is another store's");
}

/// For the time named nobody gets a ticket.
pub async fn cache_beginning_is_quiet<F: CacheFixture>() {
    let tier = begun::<F>(AMPLE).await;
    let part = tier.cache.part_of(&tier.tenant, &key(1));
    assert_eq!(tier.begin(part, 0, SPANS.lag).await.expect("a mark").ticket, None);
    assert_eq!(tier.got(&key(1)).await.mark.expect("a mark").ticket, None);
    tier.fixture.pass(SPANS.lag).await;
    assert!(tier.got(&key(1)).await.mark.expect("a mark").ticket.is_some());
}

/// Of many who see that a namespace must end, one ends it; the others find what that one began.
pub async fn cache_begins_once<F: CacheFixture>() {
    const CALLERS: i64 = 10;
    let tier = begun::<F>(AMPLE).await;
    let before = tier.part_mark(0).await.expect("a mark");
    let start = Arc::new(Barrier::new(usize::try_from(CALLERS).expect("a few")));
    let mut tasks = JoinSet::new();
    for position in 1..=CALLERS {
        let (cache, start) = (Arc::clone(&tier.cache), Arc::clone(&start));
        let begin = Begin { instead_of: Some(before.namespace), incarnation: INCARNATION, position, quiet: Duration::ZERO };
        tasks.spawn(async move {
            start.wait().await;
            cache.begin(0, &begin).await.expect("a beginning").expect("a mark")
        });
    }
    let marks = tasks.join_all().await;
    let namespace = tier.part_mark(0).await.expect("a mark").namespace;
    assert_ne!(namespace, before.namespace);
    assert!(marks.iter().all(|mark| mark.namespace == namespace), "{marks:?}");
    let nothing = Begin { instead_of: None, incarnation: INCARNATION, position: 99, quiet: Duration::ZERO };
    let mark = tier.cache.begin(0, &nothing).await.expect("a beginning").expect("a mark");
    assert_eq!(mark.namespace, namespace, "something was begun");
}
