//! What happens to one key.

use std::{sync::atomic::Ordering, time::Duration};

use super::world::{World, key, read, settle};
use crate::reads::{Freshness, Origin};
use profile_domain::TenantId;
use profile_ports::Deadline;

async fn origin(world: &World, instance: usize, number: u128) -> Origin {
    let reads = &world.instances[instance].reads;
    let deadline = Deadline::within(Duration::from_mins(1));
    let found = reads.profile(&TenantId::default_tenant(), &key(number), Freshness::Recent, deadline).await;
    found.unwrap().origin
}

/// A world in which somebody else has written key 1 long ago.
async fn world() -> World {
    let mut world = World::new(2, 1_000);
    world.store.write(&key(1), true);
    world.warm_up().await;
    world
}

#[tokio::test]
async fn a_thousand_readers_are_one_load_for_each_instance() {
    let world = world().await;
    *world.store.held.lock() = Some(Vec::new());
    let reader = |instance: usize| tokio::spawn(read(world.instances[instance].reads.clone(), key(1), Freshness::Recent));
    let readers: Vec<_> = (0..1_000).map(|_| reader(0)).collect();
    settle().await;
    assert_eq!(world.store.loads.load(Ordering::Relaxed), 1);
    *world.store.held.lock() = None;
    for reader in readers {
        assert_eq!(reader.await.unwrap().unwrap(), 1);
    }
    assert_eq!(world.store.loads.load(Ordering::Relaxed), 1);
    // The other instance finds it in what they share.
    assert!(matches!(origin(&world, 1, 1).await, Origin::Cache { tier: "shared", .. }));
    assert!(matches!(origin(&world, 1, 1).await, Origin::Cache { tier: "first", .. }));
    assert_eq!(world.store.loads.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_cancelled_leader_leaves_one_more_load() {
    let world = world().await;
    *world.store.held.lock() = Some(Vec::new());
    let reader = || tokio::spawn(read(world.instances[0].reads.clone(), key(1), Freshness::Recent));
    let leader = reader();
    settle().await;
    let followers: Vec<_> = (0..100).map(|_| reader()).collect();
    settle().await;
    leader.abort();
    settle().await;
    assert_eq!(world.store.loads.load(Ordering::Relaxed), 2);
    *world.store.held.lock() = None;
    for follower in followers {
        assert_eq!(follower.await.unwrap().unwrap(), 1);
    }
    assert_eq!(world.store.loads.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn an_error_is_told_to_all_and_kept_by_none() {
    let world = world().await;
    world.store.away.store(true, Ordering::Relaxed);
    assert!(world.read(0, &key(1), Freshness::Recent).await.is_err());
    world.store.away.store(false, Ordering::Relaxed);
    assert_eq!(world.read(0, &key(1), Freshness::Recent).await.unwrap(), 1);
}

#[tokio::test]
async fn a_cached_profile_outlives_its_store_for_a_while() {
    let mut world = world().await;
    assert_eq!(world.read(0, &key(1), Freshness::Recent).await.unwrap(), 1);
    world.store.away.store(true, Ordering::Relaxed);
    world.follow(0).await;
    assert!(matches!(origin(&world, 0, 1).await, Origin::Cache { tier: "first", .. }));
    world.clock.pass(Duration::from_secs(10));
    assert!(matches!(origin(&world, 0, 1).await, Origin::Stale { tier: "first", .. }));
    let version = world.store.newest(&key(1)).unwrap().version;
    let with_token = world.read(0, &key(1), Freshness::Current).await;
    assert!(with_token.is_err(), "what is stale is not shown to who insists on {version:?}");
    world.clock.pass(Duration::from_mins(1));
    assert!(world.read(0, &key(1), Freshness::Recent).await.is_err());
    world.store.away.store(false, Ordering::Relaxed);
    world.follow(0).await;
    assert!(matches!(origin(&world, 0, 1).await, Origin::Cache { tier: "first", .. }));
}

#[tokio::test]
async fn a_part_that_fails_is_not_asked_until_it_answers_again() {
    let mut world = world().await;
    world.shared.fails.store(true, Ordering::Relaxed);
    for number in 1..100 {
        assert!(world.read(0, &key(number), Freshness::Recent).await.is_ok());
    }
    let open = || world.instances[0].reads.tiers[1].tally(world.clock.now()).0;
    assert!(open() > 0, "the breaker is open");
    world.follow(0).await;
    world.shared.fails.store(false, Ordering::Relaxed);
    world.follow(0).await;
    let (open, believed) = world.instances[0].reads.tiers[1].tally(world.clock.now());
    assert_eq!((open, believed), (0, world.instances[0].reads.tiers[1].parts.len()));
}

/// A store that was taken back to an older backup looks the same but for its head.
#[tokio::test]
async fn nothing_is_shown_from_a_future_that_was_lost() {
    let mut world = world().await;
    for _ in 0..3 {
        world.write(0, &key(1), true).await;
        settle().await;
    }
    world.follow(0).await;
    world.follow(1).await;
    assert_eq!(world.read(1, &key(1), Freshness::Recent).await.unwrap(), 4);
    world.store.take_back(1);
    // It was away for longer than anything is believed.
    world.clock.pass(Duration::from_secs(2));
    assert_eq!(world.read(1, &key(1), Freshness::Recent).await.unwrap(), 1);
    for _ in 0..3 {
        world.follow(1).await;
        world.follow(0).await;
        for instance in 0..2 {
            assert_eq!(world.read(instance, &key(1), Freshness::Recent).await.unwrap(), 1);
        }
    }
    world.clock.pass(Duration::from_secs(4));
    world.follow(0).await;
    assert_eq!(world.read(0, &key(1), Freshness::Recent).await.unwrap(), 1);
    assert!(matches!(origin(&world, 0, 1).await, Origin::Cache { tier: "first", .. }));
}

/// Taken back while it didn't run, and ahead again of where it had been before anybody looked: positions tell nothing then.
#[tokio::test]
async fn what_is_written_after_a_loss_does_not_hide_it() {
    let mut world = world().await;
    for _ in 0..2 {
        world.write(0, &key(1), true).await;
        settle().await;
    }
    world.follow(0).await;
    world.follow(1).await;
    assert_eq!(world.read(1, &key(1), Freshness::Recent).await.unwrap(), 3);
    world.store.take_back(1);
    world.store.run.fetch_add(1, Ordering::Relaxed);
    for number in 2..9 {
        world.store.write(&key(number), true);
    }
    world.clock.pass(Duration::from_secs(2));
    for _ in 0..3 {
        world.follow(1).await;
        world.follow(0).await;
        for instance in 0..2 {
            assert_eq!(world.read(instance, &key(1), Freshness::Recent).await.unwrap(), 1);
        }
    }
}

#[tokio::test]
async fn loads_are_bounded() {
    let world = World::new(1, 1_000);
    *world.store.held.lock() = Some(Vec::new());
    let readers: Vec<_> =
        (0..200).map(|number| tokio::spawn(read(world.instances[0].reads.clone(), key(number), Freshness::Recent))).collect();
    settle().await;
    *world.store.held.lock() = None;
    for reader in readers {
        assert_eq!(reader.await.unwrap().unwrap(), 0);
    }
    assert_eq!(world.store.most_loading.load(Ordering::Relaxed), 64);
}

/// What was written through is there before its part has followed so far, and a position that is lost shows in other parts only.
#[tokio::test]
async fn nothing_that_was_written_through_outlives_a_store_that_was_taken_back() {
    let mut world = world().await;
    let tier = &world.instances[0].reads.tiers[0];
    let tenant = TenantId::default_tenant();
    let part = |number| tier.cache.part_of(&tenant, &key(number));
    let other = (2..999).find(|number| part(*number) != part(1)).unwrap();
    world.store.write(&key(other), true);
    world.follow(0).await;
    world.write(0, &key(1), true).await;
    settle().await;
    assert_eq!(world.read(0, &key(1), Freshness::Recent).await.unwrap(), 2);
    world.store.take_back(1);
    for _ in 0..3 {
        world.follow(0).await;
    }
    assert_eq!(world.read(0, &key(1), Freshness::Recent).await.unwrap(), 1);
}

#[tokio::test]
async fn a_part_is_believed_though_others_commit_all_the_time() {
    let mut world = World::new(1, 1_000);
    world.store.restless.store(true, Ordering::Relaxed);
    for _ in 0..2 {
        world.follow(0).await;
    }
    let tiers = world.instances[0].reads.tiers();
    assert_eq!(tiers, [("first", true), ("shared", true)]);
}
