//! Tasks: submitted, and found when they are due.

use std::{cell::Cell, time::Instant};

use anyhow::{Result, bail, ensure};

use super::throughput;
use crate::{
    database,
    fixture::{Fixture, Kind, UNCACHED, closed},
    http,
    load::Load,
    processes::{Database, Server, Store},
    report::{Row, Target},
    settings::Bench,
    statistics::Measure,
};

const SUBMIT: &str = "/api/v1/tasks/delayed";
/// Due at a time, so many that it takes a while.
const DUE: u32 = 5_000;
/// Few that are for later.
const FEW: u64 = 1_000;

pub(super) fn submit_postgres(bench: &Bench) -> Result<Vec<Row>> {
    submit(bench, Kind::Postgres, "actix + one hand-written statement that inserts the same row")
}

pub(super) fn submit_sqlite(bench: &Bench) -> Result<Vec<Row>> {
    submit(bench, Kind::Sqlite, "actix + one bare rusqlite writer of the same row that commits in groups, `synchronous=FULL`")
}

/// For later, so that nothing is done but to write them down.
fn submit(bench: &Bench, kind: Kind, against: &str) -> Result<Vec<Row>> {
    let mut fixture = Fixture::empty(bench, kind, "submit")?;
    let mut bare_fixture = Fixture::empty(bench, kind, "submit_bare")?;
    let (ours, bare) = (fixture.service(UNCACHED)?, bare_fixture.bare()?);
    let nexts = [submissions(), submissions()];
    let accepted = |server, next| Load { status: 202, ..Load::of(server, next) };
    let values = throughput(bench, vec![closed(bench, accepted(ours, &nexts[0])), closed(bench, accepted(bare, &nexts[1]))])?;
    let what = format!("submit a task, {}", kind.name());
    Ok(vec![Row::ratio(what, against, &values[0], &values[1], Target::AtLeast(0.60))])
}

fn submissions() -> impl Fn(&mut Vec<u8>) {
    let number = Cell::new(0_u64);
    move |out| {
        number.set(number.get() + 1);
        let body = format!(r#"{{"type":"echo","payload":{{"message":"number {}"}},"delay":"1d"}}"#, number.get());
        out.extend(http::send("POST", SUBMIT, &body));
    }
}

/// How fast what is due is done, with very many that are for later beside it, and with few.
pub(super) fn dispatch_postgres(bench: &Bench) -> Result<Vec<Row>> {
    let mut large = Fixture::empty(bench, Kind::Postgres, "dispatch_large")?;
    let mut small = Fixture::empty(bench, Kind::Postgres, "dispatch_small")?;
    let (in_large, in_small) = (for_later(&large, bench.large)?, for_later(&small, FEW)?);
    let (large_server, small_server) = (large.service(UNCACHED)?, small.service(UNCACHED)?);
    let values = throughput(bench, vec![done(&in_large, large_server), done(&in_small, small_server)])?;
    let what = format!("`echo` tasks done with {} that are for later, PostgreSQL", bench.large);
    let against = format!("the same with {FEW}");
    Ok(vec![Row::time_ratio(what, &against, &values[0], &values[1], Target::AtMost(1.3))])
}

fn for_later(fixture: &Fixture, count: u64) -> Result<Database> {
    let Store::Postgres(database) = &fixture.store else { bail!("this store is on PostgreSQL") };
    let rows = rows("default", "now() + interval '1 day' + n * interval '1 ms'", count);
    database::run(database, &format!("{rows}; ANALYZE tasks"))?;
    Ok(database.clone())
}

fn rows(tenant: &str, run_at: &str, count: u64) -> String {
    format!(
        "INSERT INTO tasks (tenant, id, type, status, payload, run_at, created_at, max_attempts, last_attempt)
         SELECT '{tenant}', gen_random_uuid(), 'echo', 'scheduled', '{{}}', {run_at}, now(), 5, 5
         FROM generate_series(1, {count}) AS n"
    )
}

/// Tasks per second, from when the worker hears that something is due until all are done.
fn done(database: &Database, server: Server) -> Measure<'_> {
    Box::new(move || {
        database::run(database, &rows("due", "now()", DUE.into()))?;
        let began = Instant::now();
        http::once(server.address, &http::send("POST", SUBMIT, r#"{"type":"echo"}"#), 202)?;
        let waiting = "SELECT count(*) FROM tasks WHERE tenant = 'due'
            AND status IN ('scheduled', 'queued', 'retrying', 'running')";
        loop {
            let left: i64 = database::with_client(database, async |client| Ok(client.query_one(waiting, &[]).await?.get(0)))?;
            if left == 0 {
                return Ok(f64::from(DUE) / began.elapsed().as_secs_f64());
            }
            ensure!(began.elapsed().as_secs() < 120, "{left} tasks are not done");
        }
    })
}
