//! Random schedules of loads, fills, writes, deletions, invalidations, expiry and eviction.

use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use profile_domain::{EntityKey, TenantId, Version};
use profile_port_contracts::{Random, scaled, seed};
use tokio::task::JoinHandle;

use super::world::{World, key, read, settle};
use crate::reads::{Freshness, MAX_STALENESS};

const KEYS: u32 = 3;
const INSTANCES: usize = 2;
const STEPS: u32 = 60;

#[derive(Debug)]
struct Reader {
    key: EntityKey,
    instance: usize,
    began: Instant,
    freshness: Freshness,
    /// What was committed up to the place that it names.
    after: Option<i64>,
    /// What had been acknowledged by this instance when it began.
    acknowledged: i64,
    /// What another reader had been shown by then, where this instance remembers what it shows.
    shown: Option<i64>,
}

/// What readers were shown, by instance and key.
type Shown = HashMap<(usize, EntityKey), i64>;

/// Nothing older than promised, nothing older than a token says, nothing older than this instance acknowledged or showed.
#[tokio::test]
async fn no_read_goes_back() {
    let seed = seed();
    for round in 0..u64::from(scaled(10_000)) {
        let seed = seed.wrapping_add(round);
        schedule(seed).await;
    }
}

async fn schedule(seed: u64) {
    let mut random = Random::new(seed);
    let mut world = World::new(INSTANCES, 2);
    if random.percent(70) {
        world.warm_up().await;
    }
    *world.store.held.lock() = Some(Vec::new());
    let mut readers: Vec<(Reader, JoinHandle<i64>)> = Vec::new();
    let mut shown = Shown::new();
    let mut acknowledged = vec![vec![0_i64; KEYS as usize]; INSTANCES];
    for _ in 0..STEPS {
        let number = random.below(KEYS);
        let (key, instance) = (key(number.into()), random.below(2) as usize);
        match random.below(100) {
            0..40 => {
                let newest = world.store.newest(&key);
                let freshness = match newest {
                    Some(newest) if random.percent(15) => Freshness::AtLeast(newest.version, Some(world.store.place())),
                    Some(_) if random.percent(5) => Freshness::After(world.store.place()),
                    _ => Freshness::Recent,
                };
                let reads = Arc::clone(&world.instances[instance].reads);
                let began = world.clock.now();
                let after = matches!(freshness, Freshness::After(_)).then(|| newest.map_or(0, |newest| newest.version.get()));
                let acknowledged = acknowledged[instance][number as usize];
                let remembers = remembers(&world, instance, &key).await;
                let shown = remembers.then(|| shown.get(&(instance, key.clone())).copied().unwrap_or_default());
                let handle = tokio::spawn({
                    let key = key.clone();
                    async move { read(reads, key, freshness).await.expect("the store is there") }
                });
                readers.push((Reader { key, instance, began, freshness, after, acknowledged, shown }, handle));
            }
            40..62 => {
                let held = world.store.held.lock().as_ref().map_or(0, Vec::len);
                if held > 0 {
                    world.store.release(random.below(u32::try_from(held).unwrap()) as usize);
                }
            }
            62..74 => {
                let version = world.write(instance, &key, !random.percent(20)).await;
                acknowledged[instance][number as usize] = version.get();
            }
            74..76 => {
                // By somebody whose client has gone, or another program.
                world.store.write(&key, true);
            }
            76..92 => world.follow(instance).await,
            92..95 => {
                let lag = random.percent(80).then(|| u64::from(random.below(1_000)));
                *world.store.replica.lock() = lag;
            }
            95..98 => world.clock.pass(Duration::from_millis(u64::from(random.below(400)))),
            98 => world.clock.pass(Duration::from_millis(u64::from(random.below(9_000)))),
            _ => match random.below(5) {
                0 => world.shared.empty(),
                1 => world.shared.fails.store(true, Ordering::Relaxed),
                2 => world.shared.fails.store(false, Ordering::Relaxed),
                3 => world.store.stuck.store(true, Ordering::Relaxed),
                _ => world.store.stuck.store(false, Ordering::Relaxed),
            },
        }
        if random.percent(70) {
            settle().await;
        }
        check(&world, &mut readers, &mut shown, seed).await;
    }
    *world.store.held.lock() = None;
    while !readers.is_empty() {
        settle().await;
        check(&world, &mut readers, &mut shown, seed).await;
    }
}

/// Whether what is read on an instance is remembered there.
async fn remembers(world: &World, instance: usize, key: &EntityKey) -> bool {
    let reads = &world.instances[instance].reads;
    let takes = reads.tiers[0].ticket(&TenantId::default_tenant(), key, world.clock.now()).await.is_some();
    takes && reads.tiers()[0].1
}

async fn check(world: &World, readers: &mut Vec<(Reader, JoinHandle<i64>)>, known: &mut Shown, seed: u64) {
    for (reader, read) in std::mem::take(readers) {
        if !read.is_finished() {
            readers.push((reader, read));
            continue;
        }
        let shown = read.await.expect("it doesn't panic");
        // An answer of nothing stands for the last deletion, if there was one.
        let deleted = || world.store.deletions(&reader.key).map_or(0, Version::get);
        let (lives, shown) = (shown > 0, if shown == 0 { deleted() } else { shown });
        let promised = world.store.as_of(&reader.key, reader.began.checked_sub(MAX_STALENESS).expect("the clock began late"));
        let promised = promised.map_or(0, |commit| commit.version.get());
        let promised = match reader.freshness {
            Freshness::AtLeast(version, _) => promised.max(version.get()),
            Freshness::After(_) => promised.max(reader.after.unwrap_or_default()),
            _ => promised.max(reader.shown.map_or(0, |_| reader.acknowledged)),
        };
        let remembered = remembers(world, reader.instance, &reader.key).await;
        let promised = promised.max(reader.shown.filter(|_| remembered).unwrap_or_default());
        assert!(shown >= promised, "seed {seed}: {reader:?} showed {shown} instead of {promised}");
        // Nothing may also be what was before anything, and then says less than the last deletion.
        if lives && remembered && reader.shown.is_some() {
            let known = known.entry((reader.instance, reader.key)).or_default();
            *known = shown.max(*known);
        }
    }
}
