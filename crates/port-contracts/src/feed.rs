//! The contract of [`profile_ports::Feed`].

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use profile_domain::{EntityKey, FeedChange, FeedPosition, ItemOutcome, Moment, TenantId, plan::ChangeKind};
use profile_ports::{Detail, FeedPage, FeedState};
use serde_json::json;
use tokio::task::JoinSet;

use crate::{
    Fixture,
    build::{Client, create, deadline, delete, fact, merge, organization, patch, profile, start},
    scaled,
};

impl Client {
    /// Until everything that is committed has a place.
    async fn number(&self) -> FeedState {
        loop {
            let numbered = self.store.number_feed(deadline()).await.expect("places are given");
            if numbered.complete {
                return numbered.state;
            }
            tokio::task::yield_now().await;
        }
    }

    async fn page(&self, after: FeedPosition, limit: usize) -> FeedPage {
        let page = self.store.feed_after(after, limit, Detail::Values, deadline()).await.expect("the feed can be read");
        assert!(page.changes.len() <= limit, "{} changes where {limit} were asked for", page.changes.len());
        assert!(page.state.trimmed <= page.state.head, "{:?}", page.state);
        for (change, place) in page.changes.iter().zip((after.0..).skip(1)) {
            assert_eq!(change.position.0, place, "places have no gaps");
        }
        page
    }

    /// All that has a place after this one.
    async fn tail(&self, mut after: FeedPosition, limit: usize) -> Vec<FeedChange> {
        let mut all = Vec::new();
        loop {
            let page = self.page(after, limit).await;
            let Some(last) = page.changes.last() else {
                assert_eq!(after, page.state.head.max(after), "nothing follows only at the head");
                return all;
            };
            after = last.position;
            all.extend(page.changes);
            assert!(all.len() < 1_000_000, "a feed without end");
        }
    }
}

/// What a reader has found. Every entity's versions are one after the other, so that a change that comes twice, or before its
/// time, is noticed at once.
#[derive(Default)]
struct Found {
    changes: Vec<FeedChange>,
    versions: HashMap<(TenantId, EntityKey), i64>,
}

impl Found {
    fn take(&mut self, changes: Vec<FeedChange>) {
        for change in changes {
            let version = self.versions.entry((change.tenant.clone(), change.key.clone())).or_insert(0);
            *version += 1;
            assert_eq!(change.version.get(), *version, "{change:?}");
            self.changes.push(change);
        }
    }

    fn position(&self) -> FeedPosition {
        self.changes.last().map_or(FeedPosition(0), |change| change.position)
    }
}

/// Writers, and readers who follow them from the beginning and give places themselves: each reader finds every change once,
/// both find the same order, and that of an entity is the order of its versions.
pub async fn readers_miss_nothing<F: Fixture>() {
    const WRITERS: u32 = 6;
    let (_fixture, client) = start::<F>().await;
    let done = Arc::new(AtomicBool::new(false));
    let mut readers = JoinSet::new();
    for limit in [3, 100] {
        let (client, done) = (client.clone(), Arc::clone(&done));
        readers.spawn(async move {
            let mut found = Found::default();
            loop {
                // Before the look, so that what it finds is all.
                let last = done.load(Ordering::Acquire);
                if last {
                    client.number().await;
                } else {
                    client.store.number_feed(deadline()).await.expect("places are given");
                }
                found.take(client.tail(found.position(), limit).await);
                if last {
                    return found.changes;
                }
                // A store that never waits would leave no room for the writers, nor they for us.
                tokio::task::yield_now().await;
            }
        });
    }
    let mut writing = JoinSet::new();
    for writer in 0..WRITERS {
        let client = client.as_tenant(["a", "b"][writer as usize % 2]);
        writing.spawn(async move {
            let mut changes = 0;
            for round in 0..scaled(1_000) {
                // One entity of its own, one that it shares, and sometimes many at once.
                let (own, shared) = (organization(&format!("own-{writer}")), organization("shared"));
                let mut writes = vec![
                    merge(&own, [fact("n", "crm", i64::from(round), round)]),
                    merge(&shared, [fact(&format!("n{writer}"), "crm", i64::from(round), round)]),
                ];
                if round % 10 == 0 {
                    writes
                        .extend((0..50).map(|many| {
                            merge(&organization(&format!("many-{writer}-{round}-{many}")), [fact("n", "crm", 0, 1)])
                        }));
                }
                let outcomes = client.commit(i64::from(round), writes).await;
                changes += outcomes.iter().filter(|outcome| !matches!(outcome, ItemOutcome::Unchanged(_))).count();
                tokio::task::yield_now().await;
            }
            changes
        });
    }
    let written: usize = writing.join_all().await.into_iter().sum();
    done.store(true, Ordering::Release);
    let read = readers.join_all().await;
    assert_eq!(read[0], read[1], "all readers find the same");
    assert_eq!(read[0].len(), written, "every change is there once");
}

/// What has a place keeps it, whatever happens to the entity, through a restart, and however late something else comes.
pub async fn places_are_for_good<F: Fixture>() {
    let (mut fixture, client) = start::<F>().await;
    let key = profile(1);
    let empty = client.number().await;
    assert_eq!((empty.trimmed, empty.head), (FeedPosition(0), FeedPosition(0)));
    client.commit(0, [create(&key, json!({"name": "Ada", "email": "ada@example.com"}))]).await;
    client.number().await;
    client.commit(1, [merge(&organization("acc"), [fact("n", "crm", 0, 1)]), patch(&key, json!({"bio": "x"}))]).await;
    client.number().await;
    let before = client.tail(FeedPosition(0), 10).await;
    let told = |change: &FeedChange| (change.position.0, change.key.clone(), change.version.get(), change.kind);
    assert_eq!(before.len(), 3);
    assert_eq!(told(&before[0]), (1, key.clone(), 1, ChangeKind::Created));
    assert_eq!(before[0].changes.as_ref().expect("what changed")["name"], json!({"new": "Ada"}));
    assert_eq!(before[0].tenant, client.tenant);

    let which = client.store.feed_after(FeedPosition(0), 10, Detail::Which, deadline()).await.expect("the feed can be read");
    let without = |change: &FeedChange| FeedChange { changes: None, ..change.clone() };
    assert!(!which.changes.is_empty(), "the first, at least");
    assert_eq!(which.changes, before[..which.changes.len()].iter().map(without).collect::<Vec<_>>());
    // One that sorts before.
    client.as_tenant("0").commit(2, [create(&key, json!({"name": "Bob", "email": "bob@example.com"}))]).await;
    client.commit(2, [delete(&key)]).await;
    let state = client.number().await;
    assert_eq!((state.head, state.incarnation), (FeedPosition(5), empty.incarnation));
    let nothing = client.page(FeedPosition(i64::MAX), 10).await;
    assert_eq!((nothing.changes, nothing.state), (Vec::new(), state), "after the last position there could be");
    drop(client);
    fixture.reopen(profile_domain::Policy::default()).await;
    let client = Client::of(&fixture);
    let reopened = client.number().await;
    assert_eq!(FeedState { run: state.run, ..reopened }, state);
    let after = client.tail(FeedPosition(0), 2).await;
    assert_eq!(after[..3].iter().map(told).collect::<Vec<_>>(), before.iter().map(told).collect::<Vec<_>>());
    let of_it =
        after.iter().filter(|change| change.tenant == client.tenant && change.key == key && change.kind != ChangeKind::Deleted);
    assert!(
        of_it.clone().count() == 2 && of_it.clone().all(|change| change.changes.is_none()),
        "it tells nothing of the deleted"
    );
    assert_eq!(after[1..4].iter().filter(|change| change.changes.is_some()).count(), 2, "and all of the others");
}

/// Many at once give each change one place.
pub async fn numbering_may_be_done_by_all<F: Fixture>() {
    let (_fixture, client) = start::<F>().await;
    for round in 0..scaled(200) {
        client.commit(0, [merge(&organization(&format!("acc-{round}")), [fact("n", "crm", 0, 1)])]).await;
        let mut all = JoinSet::new();
        for _ in 0..8 {
            let client = client.clone();
            all.spawn(async move { client.number().await });
        }
        for state in all.join_all().await {
            assert_eq!(state.head.0, i64::from(round) + 1);
        }
    }
    assert_eq!(client.number().await, client.page(FeedPosition(0), 1).await.state, "both say how it stands");
}

/// What is old goes, nothing else does, and whoever asks for it is told.
pub async fn trimming_leaves_the_rest<F: Fixture>() {
    let (_fixture, client) = start::<F>().await;
    let write = async |name: &str| {
        client.commit(0, [merge(&organization(name), [fact("n", "crm", 0, 1)])]).await;
        client.number().await
    };
    for number in 0..5 {
        write(&format!("acc-{number}")).await;
    }
    let all = client.tail(FeedPosition(0), 10).await;
    let trim = async |before| client.store.trim_feed(before, deadline()).await.expect("old changes go");
    let state = trim(Moment::MIN).await;
    assert_eq!((state.trimmed, state.head), (FeedPosition(0), FeedPosition(5)));
    assert_eq!(client.tail(FeedPosition(0), 10).await, all, "none is old");

    let state = trim(Moment::MAX).await;
    assert!(state.trimmed >= FeedPosition(4) && state.head == FeedPosition(5), "{state:?}");
    let page = client.page(FeedPosition(0), 10).await;
    assert_eq!(page.changes, [], "it can't be read from there");
    assert!(!page.state.covers(FeedPosition(0)) && page.state.covers(state.trimmed), "and that is said: {page:?}");
    let next = write("later").await;
    assert_eq!((next.head, next.incarnation), (FeedPosition(6), state.incarnation), "places go on");
    let rest = client.tail(next.trimmed, 10).await;
    assert_eq!(rest.last().map(|change| change.position), Some(FeedPosition(6)));
    let page = client.page(FeedPosition(7), 10).await;
    assert_eq!(page.changes, [], "ahead of the head");
    assert!(!page.state.covers(FeedPosition(7)) && page.state.covers(FeedPosition(6)), "and that is said: {page:?}");
}

/// Giving places where there is nothing to give one to leaves no trace.
pub async fn idle_numbering_writes_nothing<F: Fixture>() {
    let (fixture, client) = start::<F>().await;
    for round in 0..2 {
        client.number().await;
        let before = fixture.dump().await;
        for _ in 0..3 {
            client.number().await;
        }
        assert_eq!(fixture.dump().await, before);
        client.commit(round, [merge(&organization("acc"), [fact("n", "crm", round, round)])]).await;
    }
}

/// A reader learns for how long the next change has been there, whether it has a place or not, and when there is none.
pub async fn unread_changes_tell_their_age<F: Fixture>() {
    // Times by two clocks, one of which may count in milliseconds.
    const SLACK: Duration = Duration::from_millis(20);
    let (_fixture, client) = start::<F>().await;
    let write = async |name: &str| {
        let began = Instant::now();
        client.commit(0, [merge(&organization(name), [fact("n", "crm", 0, 1)])]).await;
        let done = Instant::now();
        // So that there is an age to tell.
        tokio::time::sleep(5 * SLACK).await;
        (began, done)
    };
    // What is known of the change that follows a page.
    let check = |page: &FeedPage, asked: Instant, (began, done): (Instant, Instant)| {
        let age = page.unread.expect("something follows");
        assert!(age + SLACK >= asked - done, "{age:?}, but acknowledged {:?} before", asked - done);
        assert!(age <= began.elapsed() + SLACK, "{age:?}, but begun {:?} before", began.elapsed());
    };
    assert_eq!(client.page(FeedPosition(0), 10).await.unread, None, "there is nothing");
    let first = write("first").await;
    let asked = Instant::now();
    let page = client.page(FeedPosition(0), 10).await;
    if page.changes.is_empty() {
        check(&page, asked, first);
    } else {
        assert_eq!(page.unread, None, "it is read as soon as it is there");
    }
    client.number().await;
    assert_eq!(client.page(FeedPosition(0), 10).await.unread, None, "it was read");
    let second = write("second").await;
    client.number().await;
    let third = write("third").await;
    let asked = Instant::now();
    check(&client.page(FeedPosition(0), 1).await, asked, second);
    let page = client.page(FeedPosition(1), 1).await;
    check(&page, asked, third);
    client.number().await;
    check(&client.page(FeedPosition(1), 1).await, asked, third);
    assert_eq!(client.page(FeedPosition(2), 1).await.unread, None);
    let head = client.page(FeedPosition(3), 1).await;
    assert_eq!((head.unread, head.changes), (None, Vec::new()));
}

/// Then everything has its place still, of another feed.
pub async fn renewing_begins_another_incarnation<F: Fixture>() {
    let (mut fixture, client) = start::<F>().await;
    client.commit(0, [merge(&organization("acc"), [fact("n", "crm", 0, 1)])]).await;
    let before = client.number().await;
    let changes = client.tail(FeedPosition(0), 10).await;
    client.store.renew_feed(deadline()).await.expect("another incarnation");
    let after = client.number().await;
    assert_ne!(after.incarnation, before.incarnation);
    assert_eq!(after, FeedState { incarnation: after.incarnation, ..before });
    assert_eq!(client.tail(FeedPosition(0), 10).await, changes);
    drop(client);
    fixture.reopen(profile_domain::Policy::default()).await;
    let reopened = Client::of(&fixture).number().await;
    assert_eq!(FeedState { run: after.run, ..reopened }, after, "for good");
}
