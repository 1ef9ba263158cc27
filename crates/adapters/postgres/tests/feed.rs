//! The feed where commits take their time, or never come.

#![allow(clippy::unwrap_used, reason = "a test says by panicking what went wrong")]

mod support;

use std::{sync::Arc, task::Poll, time::Duration};

use futures_util::{
    FutureExt as _,
    future::{BoxFuture, poll_fn},
};
use profile_domain::{Expect, FeedPosition, Moment, Policy};
use profile_ports::{Detail, Entities as _, Feed as _, FeedState, Numbered, StoreError};
use profile_postgres::PostgresStore;
use tokio::{task::JoinSet, time::timeout};
use tokio_postgres::{Client, SimpleQueryMessage};

use crate::support::{Database, PrivateServer, connect, deadline, open, profile, replace, server, tenant};

/// How long others may be held up by one that is stuck; four times over.
const SOON: Duration = Duration::from_secs(10);

async fn number(store: &PostgresStore) -> FeedState {
    timeout(SOON, async {
        loop {
            let numbered = store.number_feed(deadline()).await.unwrap();
            if numbered.complete {
                return numbered.state;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .expect("places are given, whoever else is at it")
}

async fn write(store: &PostgresStore, number: u128) {
    store.commit(&tenant(), replace(&profile(number), Expect::Fresh, "Ada"), deadline()).await.unwrap();
}

/// References in the order of their places.
async fn read(store: &PostgresStore) -> Vec<String> {
    let (mut after, mut read) = (FeedPosition(0), Vec::new());
    loop {
        let page = store.feed_after(after, 7, Detail::Values, deadline()).await.unwrap();
        let Some(last) = page.changes.last() else { return read };
        after = last.position;
        assert_eq!(after.0, i64::try_from(read.len() + page.changes.len()).unwrap(), "places have no gaps");
        read.extend(page.changes.into_iter().map(|change| change.key.reference.to_string()));
    }
}

/// A row of the feed as a commit writes it.
async fn append(client: &Client, reference: &str) {
    let sql = "INSERT INTO feed (tenant, type, reference, entity, version, kind, at) VALUES ('default', 'thing', $1, 1, 1, 'created', now())";
    client.execute(sql, &[&reference]).await.unwrap();
}

/// Rows with lower ids and transaction numbers than those that were read already come later, and nowhere else.
#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_takes_long_comes_later() {
    let database = Database::create().await;
    let store = database.store(Policy::default()).await;
    let (slow, slower, undone) = (database.look().await, database.look().await, database.look().await);
    for (client, reference) in [(&slow, "slow"), (&slower, "slower"), (&undone, "undone")] {
        begin(client, reference).await;
    }
    for round in 0..5 {
        write(&store, round).await;
        assert_eq!(number(&store).await.head.0, i64::try_from(round).unwrap() + 1);
    }
    let first = read(&store).await;
    append(&slow, "slow too").await;
    slow.batch_execute("COMMIT").await.unwrap();
    undone.batch_execute("ROLLBACK").await.unwrap();
    write(&store, 5).await;
    number(&store).await;
    let second = read(&store).await;
    slower.batch_execute("COMMIT").await.unwrap();
    number(&store).await;
    write(&store, 6).await;
    number(&store).await;
    let third = read(&store).await;

    assert_eq!(second[..5], first[..]);
    let fifth = profile(5).reference.to_string();
    let mut of_round: Vec<&str> = second[5..].iter().map(String::as_str).collect();
    of_round.sort_unstable();
    let mut expected = [fifth.as_str(), "slow", "slow too"];
    expected.sort_unstable();
    assert_eq!(of_round, expected);
    assert_eq!(third[..8], second[..]);
    assert_eq!(third[8..], ["slower".to_owned(), profile(6).reference.to_string()]);
}

/// Transactions of other databases, and those that write nothing here, hold nothing up.
#[tokio::test(flavor = "multi_thread")]
async fn strangers_hold_nothing_up() {
    let (database, other) = (Database::create().await, Database::create().await);
    let store = database.store(Policy::default()).await;
    let (stranger, idler) = (other.look().await, database.look().await);
    stranger.batch_execute("BEGIN; CREATE TABLE something (id integer); INSERT INTO something VALUES (1)").await.unwrap();
    idler.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; CREATE TABLE something (id integer)").await.unwrap();
    for round in 0..3 {
        write(&store, round).await;
        assert_eq!(number(&store).await.head.0, i64::try_from(round).unwrap() + 1);
    }
    assert_eq!(read(&store).await.len(), 3);
}

/// Whoever stops in the middle of a round loses its turn, and what it did.
#[tokio::test(flavor = "multi_thread")]
async fn a_round_that_is_stuck_ends() {
    for place in [HAS_ITS_TURN, HAS_WRITTEN] {
        let database = Database::create().await;
        let (store, stuck) = (database.store(Policy::default()).await, open(&database.settings(), Policy::default()));
        let look = database.look().await;
        write(&store, 0).await;
        let (round, written) = stop(&stuck, &store, &look, place).await;
        assert!(!store.number_feed(deadline()).await.unwrap().complete, "it isn't its turn");
        assert_eq!(number(&store).await.head, FeedPosition(written));
        drop(round);
        write(&store, 1_000).await;
        assert_eq!(number(&stuck).await.head, FeedPosition(written + 1));
        assert_eq!(read(&store).await.len(), usize::try_from(written).unwrap() + 1);
    }
}

/// Of whoever is killed in the middle of a round nothing is left, at once.
#[tokio::test(flavor = "multi_thread")]
async fn a_round_that_is_killed_ends() {
    for place in [HAS_ITS_TURN, HAS_WRITTEN] {
        let database = Database::create().await;
        let (store, killed) = (database.store(Policy::default()).await, open(&database.settings(), Policy::default()));
        let look = database.look().await;
        write(&store, 0).await;
        let (round, written) = stop(&killed, &store, &look, place).await;
        assert_eq!(
            look.query(&format!("SELECT pg_terminate_backend(pid, 10000) FROM ({place}) AS it"), &[]).await.unwrap().len(),
            1
        );
        let numbered = store.number_feed(deadline()).await.unwrap();
        assert!(numbered.complete && numbered.state.head == FeedPosition(written), "{numbered:?}");
        timeout(SOON, round).await.unwrap().unwrap_err();
        assert_eq!(number(&killed).await, numbered.state);
        assert_eq!(read(&store).await.len(), usize::try_from(written).unwrap());
    }
}

/// Processes of the server that are in the middle of a round: before it, and with it written but not committed.
const HAS_ITS_TURN: &str = "SELECT turn.pid FROM pg_locks AS turn
    JOIN pg_stat_activity AS it ON it.pid = turn.pid AND it.state = 'idle in transaction'
    WHERE turn.locktype = 'advisory' AND turn.granted AND it.datname = current_database()";
const HAS_WRITTEN: &str = "SELECT turn.pid FROM pg_locks AS turn
    JOIN pg_stat_activity AS it ON it.pid = turn.pid AND it.state = 'idle in transaction'
    JOIN pg_locks AS writing ON writing.pid = turn.pid AND writing.locktype = 'transactionid' AND writing.granted
    WHERE turn.locktype = 'advisory' AND turn.granted AND it.datname = current_database()";

type Round<'a> = BoxFuture<'a, Result<Numbered, StoreError>>;

/// A round driven up to a place, and never again while others wait, with the number of changes that were written.
async fn stop<'a>(stuck: &'a PostgresStore, store: &PostgresStore, look: &Client, place: &str) -> (Round<'a>, i64) {
    let mut written = 1;
    loop {
        let mut round = stuck.number_feed(deadline()).boxed();
        let is_over = timeout(SOON, async {
            loop {
                let now = poll_fn(|context| Poll::Ready(round.poll_unpin(context))).await;
                if now.is_ready() {
                    return true;
                }
                let is_there = async || look.query(place, &[]).await.unwrap().len() == 1;
                if is_there().await {
                    // Unless the next statement was on its way already.
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    if is_there().await {
                        return false;
                    }
                }
            }
        });
        if !is_over.await.unwrap() {
            return (round, written);
        }
        // It went past the place between two looks: once more.
        write(store, u128::try_from(written).unwrap()).await;
        written += 1;
    }
}

/// Writers at the SQL level who hold their rows for different times and undo every fifth, and three who give places meanwhile, of
/// whom now and then one is killed.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_is_missed_among_slow_writers() {
    let database = Database::create().await;
    drop(database.store(Policy::default()).await);
    let stores: Vec<Arc<PostgresStore>> = (0..3).map(|_| open(&database.settings(), Policy::default())).collect();
    let mut writers = JoinSet::new();
    for writer in 0..8_u32 {
        let client = database.look().await;
        writers.spawn(async move {
            let mut written = Vec::new();
            for round in 0..profile_port_contracts::scaled(400) {
                client.batch_execute("BEGIN").await.unwrap();
                for row in 0..2 {
                    append(&client, &format!("{writer}-{round:05}-{row}")).await;
                    tokio::time::sleep(Duration::from_millis(u64::from((writer * 7 + round * 3 + row) % 11))).await;
                }
                if round % 5 == 4 {
                    client.batch_execute("ROLLBACK").await.unwrap();
                } else {
                    client.batch_execute("COMMIT").await.unwrap();
                    written.extend((0..2).map(|row| format!("{writer}-{round:05}-{row}")));
                }
            }
            written
        });
    }
    let mut numbering = JoinSet::new();
    for store in &stores {
        let store = Arc::clone(store);
        numbering.spawn(async move {
            loop {
                // It fails where it is killed.
                let _ = store.number_feed(deadline()).await;
                tokio::time::sleep(Duration::from_millis(3)).await;
            }
        });
    }
    let killer = tokio::spawn({
        let look = database.look().await;
        async move {
            let mut killed = 0;
            loop {
                let sql = format!("SELECT pg_terminate_backend(pid, 10000) FROM ({HAS_ITS_TURN}) AS it");
                killed += look.query(&sql, &[]).await.unwrap().len();
                // Not so often that nobody gets to an end.
                tokio::time::sleep(Duration::from_millis(if killed % 2 == 0 { 20 } else { 50 })).await;
            }
        }
    });
    // A reader who is never behind: what it has read must not change.
    let reader = tokio::spawn({
        let store = Arc::clone(&stores[0]);
        async move {
            let mut seen: Vec<String> = Vec::new();
            loop {
                let now = read(&store).await;
                assert!(now.starts_with(&seen), "what was read has changed");
                seen = now;
                tokio::task::yield_now().await;
            }
        }
    });
    let mut written: Vec<String> = writers.join_all().await.into_iter().flatten().collect();
    numbering.abort_all();
    killer.abort();
    assert!(!reader.is_finished(), "the reader found something wrong");
    reader.abort();
    number(&stores[1]).await;
    let found = read(&stores[2]).await;
    for writer in 0..8 {
        let of_it = |all: &[String]| all.iter().filter(|row| row.starts_with(&format!("{writer}-"))).cloned().collect::<Vec<_>>();
        assert_eq!(of_it(&found), of_it(&written), "each writer's in their order, and all of them");
    }
    written.sort();
    let mut found = found;
    found.sort();
    assert_eq!(found, written);
}

/// Rows that come with a dump have transaction numbers of another database, which may be far ahead: a new feed begins, and nobody
/// who saw it before that believes that nothing was missed.
#[tokio::test(flavor = "multi_thread")]
async fn a_dump_begins_a_new_feed() {
    let original = Database::create().await;
    let store = original.store(Policy::default()).await;
    let look = original.look().await;
    write(&store, 1).await;
    let before = number(&store).await;
    write(&store, 2).await;
    look.batch_execute("UPDATE feed SET xid = '9000000000'; UPDATE feed_rounds SET seen = '9000000001:9000000001:'")
        .await
        .unwrap();

    let restored = Database::restored_from(&original).await;
    let store = restored.store(Policy::default()).await;
    let found = store.feed_after(FeedPosition(0), 10, Detail::Values, deadline()).await.unwrap();
    assert_eq!((found.state.trimmed, found.state.head), (FeedPosition(0), FeedPosition(0)), "what others counted doesn't count");
    assert_ne!(found.state.incarnation, before.incarnation);
    assert_eq!(found.changes, []);
    write(&store, 3).await;
    let page = store.feed_after(FeedPosition(0), 10, Detail::Values, deadline()).await.unwrap();
    assert!(page.unread.is_some() && page.changes.is_empty(), "something was committed: {page:?}");
    let begun = number(&store).await;
    assert_eq!(
        begun.head,
        FeedPosition(0),
        "what came from elsewhere is forgotten, and what was written before that was noticed"
    );
    assert!(
        begun.incarnation != found.state.incarnation && begun.incarnation != before.incarnation,
        "so whoever saw it begins anew"
    );
    write(&store, 4).await;
    let after = number(&store).await;
    assert_eq!(after, FeedState { head: FeedPosition(1), ..begun });
    assert_eq!(read(&store).await, [profile(4).reference.to_string()]);
}

/// A dump that is brought into a database that has its tables already doesn't make its feed one with the one that is there.
#[tokio::test(flavor = "multi_thread")]
async fn a_life_too_many_begins_a_new_feed() {
    let database = Database::create().await;
    let store = database.store(Policy::default()).await;
    write(&store, 1).await;
    let before = number(&store).await;
    let look = database.look().await;
    look.batch_execute("INSERT INTO feed_lives VALUES ('elsewhere', gen_random_uuid())").await.unwrap();
    let after = number(&store).await;
    assert_ne!(after.incarnation, before.incarnation);
    assert_eq!(after.head, FeedPosition(0));
    assert_eq!(number(&store).await, after, "once");
}

/// The tables of a copy are the same, and so are its transaction numbers; but it goes its own way.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_begins_a_new_feed() {
    let original = Database::create().await;
    let store = original.store(Policy::default()).await;
    write(&store, 1).await;
    let before = number(&store).await;
    store.close().await;
    until_nobody_is_connected(&original).await;
    let copy = Database::copy_of(&original).await;
    let copied = copy.store(Policy::default()).await;
    let found = copied.feed_after(FeedPosition(0), 10, Detail::Values, deadline()).await.unwrap();
    assert_ne!(found.state.incarnation, before.incarnation);
    assert_ne!(number(&copied).await.incarnation, before.incarnation);
    write(&copied, 2).await;
    number(&copied).await;
    assert_eq!(read(&copied).await, [profile(2).reference.to_string()]);
    assert_eq!(number(&open(&original.settings(), Policy::default())).await, before);
}

/// The server notices a little later that a client has gone.
async fn until_nobody_is_connected(database: &Database) {
    let (server, name) = (connect(&server()).await, database.settings().database);
    let sql = "SELECT count(*) FROM pg_stat_activity WHERE datname = $1";
    let gone = async {
        while server.query_one(sql, &[&name]).await.unwrap().get::<_, i64>(0) > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(SOON, gone).await.expect("connections end");
}

/// Where there is nothing new, not even a transaction number is used up.
#[tokio::test(flavor = "multi_thread")]
async fn idle_numbering_uses_no_transaction_numbers() {
    let server = PrivateServer::start();
    connect(&server.config).await.batch_execute("ALTER SYSTEM SET autovacuum = off").await.unwrap();
    connect(&server.config).await.batch_execute("SELECT pg_reload_conf()").await.unwrap();
    let database = Database::create_on(server.config.clone()).await;
    let store = database.store(Policy::default()).await;
    let look = database.look().await;
    let next =
        async || look.query_one("SELECT pg_snapshot_xmax(pg_current_snapshot())::text", &[]).await.unwrap().get::<_, String>(0);
    write(&store, 1).await;
    number(&store).await;
    // Rows that aren't committed, and those of a transaction that was undone, are nothing new either.
    let (open, undone) = (database.look().await, database.look().await);
    for client in [&open, &undone] {
        begin(client, "x").await;
    }
    undone.batch_execute("ROLLBACK").await.unwrap();
    let before = next().await;
    for _ in 0..20 {
        assert_eq!(number(&store).await.head, FeedPosition(1));
    }
    assert_eq!(next().await, before);
}

/// A transaction that appends a row and stays open.
async fn begin(client: &Client, reference: &str) {
    client.batch_execute("BEGIN").await.unwrap();
    append(client, reference).await;
}

/// A server that was stopped may have had its files put back.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_named_by_the_start_of_the_server() {
    let database = Database::create().await;
    let store = database.store(Policy::default()).await;
    let sql = "SELECT (extract(epoch FROM pg_postmaster_start_time()) * 1000000)::bigint";
    let started: i64 = database.look().await.query_one(sql, &[]).await.unwrap().get(0);
    let page = store.feed_after(FeedPosition(0), 1, Detail::Values, deadline()).await.unwrap();
    assert_eq!([number(&store).await.run, page.state.run], [started.cast_unsigned(); 2]);
}

/// Rows of the feed as one commit writes them.
async fn append_many(client: &Client, count: i64) {
    let sql = "INSERT INTO feed (tenant, type, reference, entity, version, kind, at)
        SELECT 'default', 'thing', lpad(n::text, 9, '0'), 1, 1, 'created', now() FROM generate_series(1, $1::bigint) AS n";
    client.execute(sql, &[&count]).await.unwrap();
}

/// However much was committed at once, no page is found by way of all of it: it is of several rounds, which are read, and trimmed,
/// one after the other.
#[tokio::test(flavor = "multi_thread")]
async fn much_at_once_is_several_rounds() {
    let database = Database::create().await;
    let store = database.store(Policy::default()).await;
    let look = database.look().await;
    // In the middle of which there is a transaction that is still open.
    let slow = database.look().await;
    begin(&slow, "slow").await;
    append_many(&look, 25_000).await;
    assert_eq!(number(&store).await.head, FeedPosition(25_000));
    slow.batch_execute("COMMIT").await.unwrap();
    append_many(&look, 3).await;
    number(&store).await;
    let sizes = look.query_one("SELECT array_agg(size ORDER BY first) FROM feed_rounds", &[]).await.unwrap();
    assert_eq!(sizes.get::<_, Vec<i64>>(0), [10_000, 10_000, 5_000, 4]);

    let all = |from: i64| {
        let store = Arc::clone(&store);
        async move {
            let (mut after, mut all) = (FeedPosition(from), Vec::new());
            loop {
                let page = store.feed_after(after, 7_000, Detail::Values, deadline()).await.unwrap();
                let Some(last) = page.changes.last() else { return all };
                assert_eq!(page.changes[0].position.0, after.0 + 1);
                after = last.position;
                all.extend(page.changes.into_iter().map(|change| change.key.reference.to_string()));
            }
        }
    };
    let read = all(0).await;
    let expected: Vec<String> = (1..=25_000).map(|n| format!("{n:09}")).collect();
    assert_eq!(read[..25_000], expected);
    assert_eq!(read.len(), 25_004);

    for (trimmed, kept) in [(10_000, 15_004), (20_000, 5_004), (25_000, 4), (25_000, 4)] {
        let state = store.trim_feed(Moment::MAX, deadline()).await.unwrap();
        assert_eq!((state.trimmed, state.head), (FeedPosition(trimmed), FeedPosition(25_004)));
        assert_eq!(look.query_one("SELECT count(*) FROM feed", &[]).await.unwrap().get::<_, i64>(0), kept);
        assert_eq!(all(trimmed).await, read[usize::try_from(trimmed).unwrap()..]);
    }
    // Those whose place was in between when they were read.
    let page = store.feed_after(FeedPosition(24_999), 10, Detail::Values, deadline()).await.unwrap();
    assert!(page.changes.is_empty() && !page.state.covers(FeedPosition(24_999)), "{page:?}");
}

/// What got its place before a moment goes, and nothing that got it later.
#[tokio::test(flavor = "multi_thread")]
async fn trimming_goes_by_rounds() {
    let database = Database::create().await;
    let store = database.store(Policy::default()).await;
    let look = database.look().await;
    let slow = database.look().await;
    begin(&slow, "slow").await;
    for _ in 0..4 {
        append_many(&look, 2).await;
        number(&store).await;
    }
    slow.batch_execute("COMMIT").await.unwrap();
    number(&store).await;
    let at: jiff::Timestamp =
        look.query_one("SELECT at FROM feed_rounds ORDER BY first OFFSET 2 LIMIT 1", &[]).await.unwrap().get(0);
    let before = read(&store).await;
    let state = store.trim_feed(at.into(), deadline()).await.unwrap();
    assert_eq!((state.trimmed, state.head), (FeedPosition(4), FeedPosition(9)));
    let rest = store.feed_after(FeedPosition(4), 10, Detail::Values, deadline()).await.unwrap().changes;
    assert_eq!(rest.iter().map(|change| change.key.reference.to_string()).collect::<Vec<_>>(), before[4..6]);
    let last = store.feed_after(FeedPosition(8), 10, Detail::Values, deadline()).await.unwrap().changes;
    assert_eq!(last[0].key.reference.to_string(), "slow", "which was there before those that went");
    assert_eq!(look.query_one("SELECT count(*) FROM feed", &[]).await.unwrap().get::<_, i64>(0), 5);
}

/// What follows and feeds on the feed looks at what is new, however long the feed is.
#[tokio::test(flavor = "multi_thread")]
async fn a_long_feed_is_not_scanned() {
    let database = Database::create().await;
    let store = database.store(Policy::default()).await;
    let look = database.look().await;
    for _ in 0..5 {
        append_many(&look, 10_000).await;
        number(&store).await;
    }
    look.batch_execute("ANALYZE").await.unwrap();
    let statements = [
        ("", include_str!("../src/sql/feed_state.sql"), ""),
        ("(bigint)", include_str!("../src/sql/feed_round.sql"), "(10000)"),
        ("(bigint, bigint, boolean)", include_str!("../src/sql/feed_after.sql"), "(50000, 100, true)"),
        ("(timestamptz, bigint)", include_str!("../src/sql/trim_feed.sql"), "('-infinity', 10000)"),
    ];
    for (types, sql, values) in statements {
        for mode in ["force_generic_plan", "force_custom_plan"] {
            look.batch_execute(&format!("SET plan_cache_mode = {mode}; PREPARE it {types} AS {sql}")).await.unwrap();
            let plan = look.simple_query(&format!("EXPLAIN EXECUTE it {values}")).await.unwrap();
            look.batch_execute("DEALLOCATE it").await.unwrap();
            let lines = plan.iter().filter_map(|line| match line {
                SimpleQueryMessage::Row(row) => row.get(0),
                _ => None,
            });
            for line in lines {
                assert!(!line.contains("Seq Scan on feed "), "{line} in the plan of\n{sql}");
            }
        }
    }
}

/// A change that has no place counts from when it was written, however long ago the last round was; one in a transaction that is
/// still open doesn't.
#[tokio::test(flavor = "multi_thread")]
async fn ages_are_those_of_commits() {
    let database = Database::create().await;
    let store = database.store(Policy::default()).await;
    let (look, slow) = (database.look().await, database.look().await);
    let unread = async |after| store.feed_after(FeedPosition(after), 10, Detail::Values, deadline()).await.unwrap().unread;
    // Rounds and rows of long ago, by the server's clock.
    let age = async || {
        let sql = "UPDATE feed SET written = written - interval '1 hour';
            UPDATE feed_rounds SET at = at - interval '1 hour', oldest = oldest - interval '1 hour'";
        look.batch_execute(sql).await.unwrap();
    };
    let (hour, minute) = (Duration::from_hours(1), Duration::from_mins(1));
    append(&look, "first").await;
    number(&store).await;
    age().await;
    begin(&slow, "slow").await;
    slow.batch_execute("UPDATE feed SET written = written - interval '1 hour' WHERE reference = 'slow'").await.unwrap();
    assert_eq!(unread(1).await, None, "nothing else is committed");
    append(&look, "second").await;
    assert!(unread(1).await.unwrap() < minute, "it came long after the round");
    age().await;
    assert!(unread(1).await.unwrap() >= hour, "long ago");
    number(&store).await;
    assert!(unread(1).await.is_none(), "it is read");
    slow.batch_execute("COMMIT").await.unwrap();
    let slow = unread(2).await.unwrap();
    assert!(slow < minute, "written long ago, perhaps, but not committed before the last round: {slow:?}");
    number(&store).await;
    assert_eq!(unread(2).await, None);
}

/// The feeds of two databases are two.
#[tokio::test(flavor = "multi_thread")]
async fn each_database_has_a_feed_of_its_own() {
    let (one, two) = (Database::create().await, Database::create().await);
    let (one, two) = (one.store(Policy::default()).await, two.store(Policy::default()).await);
    assert_ne!(number(&one).await.incarnation, number(&two).await.incarnation);
}
