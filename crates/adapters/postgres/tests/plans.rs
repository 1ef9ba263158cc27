//! How the server goes about statements whose plans are kept for as long as their connection, or that the planner misjudges.

mod support;

use std::time::Duration;

use profile_domain::{FeedPosition, Policy};
use profile_ports::{Deadline, Feed as _};
use tokio_postgres::{Client, SimpleQueryMessage, types::Type};

use crate::support::Database;

/// What finds one row, or those of one entity, beside the tenant.
const KEYS: &[&[&str]] = &[&["type", "reference"], &["key", "entity"], &["email_key"], &["route", "key"], &["entity"]];

/// Lines of the plan of a statement, as it would be made now in a transaction that writes.
async fn plan(look: &Client, limits: &str, (sql, types): (&str, &[Type])) -> Vec<String> {
    let names: Vec<&str> = types.iter().map(Type::name).collect();
    let values = vec!["NULL"; types.len()].join(", ");
    look.batch_execute("BEGIN").await.expect("a transaction begins");
    look.query(limits, &[&"0", &"0"]).await.expect("the limits are set");
    look.batch_execute(&format!("PREPARE it ({}) AS {sql}", names.join(", "))).await.expect("the statement is prepared");
    let lines = look.simple_query(&format!("EXPLAIN (COSTS OFF) EXECUTE it ({values})")).await;
    let lines = lines.expect("the statement is explained");
    look.batch_execute("ROLLBACK; DEALLOCATE it").await.expect("the statement is forgotten");
    let text = |line| match line {
        SimpleQueryMessage::Row(row) => row.get(0).map(|line| line.trim().to_owned()),
        _ => None,
    };
    lines.into_iter().filter_map(text).collect()
}

/// What is written is looked up by whole keys, whatever was known of the tables when the plan was made: plans are kept for as long
/// as their connection, and tables grow.
#[tokio::test(flavor = "multi_thread")]
async fn writes_read_no_more_than_they_name() {
    let database = Database::create().await;
    drop(database.store(Policy::default()).await);
    let look = database.look().await;
    let (limits, statements) = profile_postgres::explain_writes();
    let fill = "INSERT INTO entity_values SELECT 'default', n % 50, n FROM generate_series(1, 50000) AS n";
    for (case, sql) in [("nothing known", ""), ("grown since", fill), ("known to be full", "ANALYZE entity_values")] {
        look.batch_execute(sql).await.expect("the case is made");
        for statement in &statements {
            let lines = plan(&look, limits, *statement).await;
            assert!(!lines.iter().any(|line| line.contains("Seq Scan")), "{case}: {lines:#?}");
            let conditions: Vec<&String> = lines.iter().filter(|line| line.starts_with("Index Cond:")).collect();
            assert!(!conditions.is_empty(), "{case}: {lines:#?}");
            for condition in conditions {
                let whole = KEYS.iter().any(|key| key.iter().all(|column| condition.contains(&format!("({column} = "))));
                assert!(whole, "{case}: {condition} of {lines:#?}");
            }
        }
    }
}

/// Backends of the store that have loaded the server's compiler.
async fn compiling(look: &Client, application: &str) -> i64 {
    let sql = "SELECT count(*) FROM pg_stat_activity
        WHERE datname = current_database() AND application_name = $1
            AND pg_read_file(format('/proc/%s/maps', pid)) LIKE '%llvmjit%'";
    look.query_one(sql, &[&application]).await.expect("a server on Linux").get(0)
}

/// Following the feed compiles nothing, whatever the planner expects: it took ten seconds at a time, beyond cancelling.
#[tokio::test(flavor = "multi_thread")]
async fn following_is_not_compiled_after_much_was_written() {
    let database = Database::create().await;
    let store = database.store(Policy::default()).await;
    let look = database.look().await;
    look.batch_execute(
        "INSERT INTO feed (tenant, type, reference, entity, version, kind, at)
        SELECT 'default', 'thing', n::text, 1, 1, 'created', now() FROM generate_series(1, 100000) AS n;
        ANALYZE feed",
    )
    .await
    .expect("changes are written");
    let patient = || Deadline::within(Duration::from_mins(1));
    let head = loop {
        let numbered = store.number_feed(patient()).await.expect("changes are numbered");
        if numbered.complete {
            break numbered.state.head;
        }
    };
    assert_eq!(head, FeedPosition(100_000));
    for after in [0, 50_000, 99_999, 100_000] {
        store.feed_after(FeedPosition(after), 1_000, patient()).await.expect("changes are read");
    }
    assert_eq!(compiling(&look, "profile-service").await, 0);

    // It would be seen.
    look.batch_execute("SET jit = on; SET jit_above_cost = 0; SELECT sum(id) FROM feed").await.expect("something is compiled");
    assert_eq!(compiling(&look, "test").await, 1, "the server has a compiler");
}
