//! Which fills are too late.

use std::time::Duration;

use profile_ports::cache::{Namespace, Put, Ticket};

use super::{
    CacheFixture,
    tier::{AMPLE, SPANS, begun, fresh, key, living},
};

/// A ticket is worth nothing once its part began anew, nor is one that was never given.
pub async fn cache_tickets_end_with_their_namespace<F: CacheFixture>() {
    let tier = begun::<F>(AMPLE).await;
    let early = tier.ticket(&key(1)).await;
    tier.begin(tier.cache.part_of(&tier.tenant, &key(1)), 0, Duration::ZERO).await;
    let current = tier.ticket(&key(1)).await;
    assert_ne!(current.namespace, early.namespace);
    let foreign = Ticket { namespace: Namespace(u128::MAX), ..current };
    for void in [early, foreign] {
        assert_eq!(tier.put(&key(1), void, fresh(living(&key(1), 1))).await, Put::Late);
        assert_eq!(tier.state(&key(1)).await, None);
    }
    assert_eq!(tier.put(&key(1), current, fresh(living(&key(1), 1))).await, Put::Stored);
}

/// A fill that comes later than the longest load is refused: its floor may be gone.
pub async fn cache_tickets_end_with_the_longest_load<F: CacheFixture>() {
    let tier = begun::<F>(AMPLE).await;
    let early = tier.ticket(&key(1)).await;
    tier.fixture.pass(SPANS.load / 2).await;
    assert_eq!(tier.put(&key(1), early, fresh(living(&key(1), 1))).await, Put::Stored);
    tier.fixture.pass(SPANS.load / 2 + Duration::from_millis(1)).await;
    assert_eq!(tier.put(&key(1), early, fresh(living(&key(1), 2))).await, Put::Late);
    assert_eq!(tier.state(&key(1)).await, Some(living(&key(1), 1)));
}
