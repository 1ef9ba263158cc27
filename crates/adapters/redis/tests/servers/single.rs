//! One server: what the contract doesn't ask.

use std::{
    sync::{Arc, Barrier},
    time::Duration,
};

use bytes::Bytes;
use profile_domain::TenantId;
use profile_port_contracts::redis::RedisServer;
use profile_ports::{
    Cache as _, CacheError,
    cache::{Change, Fill, Put, Standing, State},
};
use profile_redis::{Mode, RedisCache, RedisSettings};
use prometheus::Registry;
use serde_json::Value;

use crate::support::{Opened, begin_all, count, key, living, opened, patient, put, version};

/// A profile with thirty attributes, as the service serialises it: 1.3 KiB.
const PROFILE: &str = include_str!("profile.json");

/// Its key is counted where the dictionary knows the names of its attributes, and not where it knows none of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_profile_takes_at_most_three_fifths() {
    let Opened { server, cache, tenant, .. } = opened().await;
    let mut foreign: Value = serde_json::from_str(PROFILE).expect("JSON");
    let attributes = foreign["attributes"].as_object_mut().expect("attributes");
    let turned = |name: String| name.chars().rev().collect::<String>();
    *attributes = std::mem::take(attributes).into_iter().map(|(name, value)| (turned(name), value)).collect();
    for (number, profile, with_key) in [(1, PROFILE.trim_end().to_owned(), true), (2, foreign.to_string(), false)] {
        let profile = Bytes::from(profile);
        assert!((1_300..1_400).contains(&profile.len()), "{} bytes", profile.len());
        let mark = cache.mark(cache.part_of(&tenant, &key(number))).await.expect("a mark").expect("begun");
        let state = State::Living { version: version(1), bytes: profile.clone() };
        let fill = Fill { state: state.clone(), expires_in: Duration::from_mins(1), standing: Standing::Settled };
        assert_eq!(cache.put(&tenant, &key(number), mark.ticket.expect("a ticket"), fill).await.expect("a put"), Put::Stored);
        let (entry, _) = cache.keys(&tenant, &key(number)).await.expect("keys");
        let kept: usize = server.tell(&["STRLEN", &entry]).await.parse().expect("a length");
        let (of, key_length) = (profile.len(), entry.len());
        eprintln!("{kept} bytes and a key of {key_length} for {of}");
        let counted = kept + if with_key { key_length } else { 0 };
        assert!(counted * 10 <= of * 6, "{kept} bytes and a key of {key_length} for {of}");
        let got = cache.get(&tenant, &key(number)).await.expect("a get");
        assert_eq!(got.hit.expect("a hit").state, state);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_of_another_type_is_removed() {
    let Opened { server, cache, registry, tenant } = opened().await;
    let (entry, part) = cache.keys(&tenant, &key(1)).await.expect("keys");
    server.tell(&["LPUSH", &entry, "x"]).await;
    assert_eq!(cache.get(&tenant, &key(1)).await.expect("a get").hit, None);
    assert_eq!(count(&registry, "cache_unfit_total"), 1);
    assert_eq!(server.tell(&["EXISTS", &entry]).await, "0");
    server.tell(&["LPUSH", &entry, "x"]).await;
    assert_eq!(put(&cache, &tenant, &key(1), 1).await.expect("a put"), Put::Stored, "it keeps nothing away");

    for planted in [&["SET", &part, "x"][..], &["HSET", &part, "h", "x"]] {
        server.tell(&["DEL", &part]).await;
        server.tell(planted).await;
        let got = cache.get(&tenant, &key(1)).await.expect("a get");
        assert_eq!((got.hit, got.mark), (None, None), "there is no state that says something");
        assert_eq!(cache.mark(cache.part_of(&tenant, &key(1))).await.expect("a mark"), None);
        begin_all(&cache).await;
        assert_eq!(put(&cache, &tenant, &key(1), 1).await.expect("a put"), Put::Stored);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_too_large_leaves_nothing_older() {
    let server = RedisServer::start().await;
    let settings = RedisSettings { entry_bytes: 1_000, ..patient(Mode::Single, &[server.port]) };
    let cache = RedisCache::new(&settings, &Registry::new()).expect("settings that work");
    let tenant = TenantId::default_tenant();
    begin_all(&cache).await;
    assert_eq!(put(&cache, &tenant, &key(1), 1).await.expect("a put"), Put::Stored);
    let mark = cache.mark(cache.part_of(&tenant, &key(1))).await.expect("a mark").expect("begun");
    let ticket = mark.ticket.expect("a ticket");
    let fill = |state, standing| Fill { state, expires_in: Duration::from_mins(1), standing };
    let large = |number| State::Living { version: version(number), bytes: Bytes::from(vec![b'x'; 1_001]) };
    let got = async || cache.get(&tenant, &key(1)).await.expect("a get").hit.map(|hit| hit.state);
    assert_eq!(cache.put(&tenant, &key(1), ticket, fill(large(2), Standing::Fresh)).await.expect("a put"), Put::TooLarge);
    assert_eq!(got().await, None, "it was older");
    let older = fill(living(&key(1), 1), Standing::Settled);
    assert_eq!(cache.put(&tenant, &key(1), ticket, older).await.expect("a put"), Put::Older);
    assert_eq!(put(&cache, &tenant, &key(1), 3).await.expect("a put"), Put::Stored);
    assert_eq!(cache.put(&tenant, &key(1), ticket, fill(large(2), Standing::Fresh)).await.expect("a put"), Put::Older);
    assert_eq!(got().await, Some(living(&key(1), 3)));
}

/// A hot key leaves one floor, however often it changes, and all floors of the past go.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn floors_take_no_more_room_than_they_need() {
    let Opened { server, cache, tenant, .. } = opened().await;
    let (_, part) = cache.keys(&tenant, &key(1)).await.expect("keys");
    for number in 1..200 {
        let change = Change { tenant: tenant.clone(), key: key(1), version: version(number) };
        cache.invalidate(&[change]).await.expect("an invalidation");
    }
    assert_eq!(server.tell(&["HLEN", &part]).await, "4", "h, m, the floor and its turn");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn threads_have_connections_of_their_own() {
    let Opened { server, cache, tenant, .. } = opened().await;
    let cache = Arc::new(cache);
    for _ in 0..20 {
        cache.get(&tenant, &key(1)).await.expect("a get");
    }
    let before = server.tell(&["CLIENT", "LIST"]).await.lines().count();
    assert!(before <= 3, "those who share have two, and one asks: {before}");
    let (ready, done) = (Arc::new(Barrier::new(4)), Arc::new(Barrier::new(4)));
    let threads: Vec<_> = (0..3)
        .map(|_| {
            let (cache, tenant) = (Arc::clone(&cache), tenant.clone());
            let (ready, done) = (Arc::clone(&ready), Arc::clone(&done));
            std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
                runtime.block_on(async {
                    for _ in 0..20 {
                        cache.get(&tenant, &key(1)).await.expect("a get");
                    }
                });
                ready.wait();
                done.wait();
            })
        })
        .collect();
    tokio::task::spawn_blocking(move || ready.wait()).await.expect("three are ready");
    assert_eq!(server.tell(&["CLIENT", "LIST"]).await.lines().count(), before + 3, "one for each thread");
    tokio::task::spawn_blocking(move || done.wait()).await.expect("three are done");
    for thread in threads {
        thread.join().expect("a thread");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_opens() {
    let server = RedisServer::start_with(&["--requirepass", "open sesame"]).await;
    let with = |password: Option<&str>| {
        let password = password.map(|password| password.to_owned().into());
        let settings = RedisSettings { password, ..patient(Mode::Single, &[server.port]) };
        RedisCache::new(&settings, &Registry::new()).expect("settings that work")
    };
    assert_eq!(with(Some("open sesame")).mark(0).await.expect("a mark"), None);
    for wrong in [None, Some("open barley")] {
        let error = with(wrong).mark(0).await.expect_err("a refusal");
        assert!(matches!(error, CacheError::Unavailable(_)), "{wrong:?}: {error:?}");
    }
}

/// Of two who count parts differently none sees the other's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_numbers_of_parts_are_apart() {
    let Opened { server, cache, tenant, .. } = opened().await;
    let settings = RedisSettings { floors: 1_024, ..patient(Mode::Single, &[server.port]) };
    let other = RedisCache::new(&settings, &Registry::new()).expect("settings that work");
    assert_ne!(other.parts(), cache.parts());
    assert_eq!(put(&cache, &tenant, &key(1), 1).await.expect("a put"), Put::Stored);
    assert_eq!(other.mark(0).await.expect("a mark"), None);
    begin_all(&other).await;
    assert_eq!(other.get(&tenant, &key(1)).await.expect("a get").hit, None);
}

/// What one instance makes overflow is gone for another that remembers the namespace of before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_another_begins_is_begun_for_all() {
    let server = RedisServer::start().await;
    let settings = RedisSettings { floors: 2, ..patient(Mode::Single, &[server.port]) };
    let [cache, other] = [(); 2].map(|()| RedisCache::new(&settings, &Registry::new()).expect("settings that work"));
    let tenant = TenantId::default_tenant();
    begin_all(&cache).await;
    assert_eq!(put(&cache, &tenant, &key(1), 1).await.expect("a put"), Put::Stored);
    let before = cache.mark(0).await.expect("a mark").expect("begun").namespace;
    let change = |number| Change { tenant: tenant.clone(), key: key(number), version: version(1) };
    other.invalidate(&[2, 3, 4].map(change)).await.expect("an invalidation");
    let got = cache.get(&tenant, &key(1)).await.expect("a get");
    let begun = other.mark(0).await.expect("a mark").expect("begun").namespace;
    assert_ne!(begun, before);
    assert_eq!((got.hit, got.mark.map(|mark| mark.namespace)), (None, Some(begun)));
}
