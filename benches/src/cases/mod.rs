//! What is measured. Each case sets up its stores and programs, runs the sides by turns, and gives rows for the table.

mod hits;
mod import;
mod latency;
mod process;
mod reads;
mod scale;
mod tasks;
mod views;
mod writes;

use anyhow::Result;

use crate::{
    report::Row,
    settings::Bench,
    statistics::{Figure, Measure, interleaved},
};

/// One case, under the name that selects it.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) what: &'static str,
    pub(crate) run: fn(&Bench) -> Result<Vec<Row>>,
}

const fn case(name: &'static str, what: &'static str, run: fn(&Bench) -> Result<Vec<Row>>) -> Case {
    Case { name, what, run }
}

pub(crate) const CASES: &[Case] = &[
    case("get-sqlite", "GET one profile, SQLite", reads::get_sqlite),
    case("get-postgres", "GET one profile, PostgreSQL", reads::get_postgres),
    case("hit-memory", "GET one profile, from the cache in the process", hits::memory),
    case("hit-redis", "GET one profile, from Redis", hits::redis),
    case("zipf-postgres", "reads and some changes, with caches and without, PostgreSQL", hits::zipf_postgres),
    case("post-postgres", "POST, PostgreSQL", writes::post_postgres),
    case("post-sqlite", "POST, SQLite", writes::post_sqlite),
    case("feed-postgres", "POST while two instances number and tail the feed, PostgreSQL", writes::feed_postgres),
    case("put-sqlite", "PUT that changes nothing, SQLite", writes::put_sqlite),
    case("put-postgres", "PUT that changes nothing, PostgreSQL", writes::put_postgres),
    case("submit-postgres", "submit a task, PostgreSQL", tasks::submit_postgres),
    case("submit-sqlite", "submit a task, SQLite", tasks::submit_sqlite),
    case("dispatch-postgres", "tasks done beside very many for later, PostgreSQL", tasks::dispatch_postgres),
    case("import-postgres", "import of 100,000 lines and again, PostgreSQL", import::import_postgres),
    case("scale-sqlite", "GET and a filtered list in a large store, SQLite", scale::sqlite),
    case("scale-postgres", "GET and a filtered list in a large store, PostgreSQL", scale::postgres),
    case("list-sqlite", "200-item list, SQLite", reads::list_sqlite),
    case("list-postgres", "200-item list, PostgreSQL", reads::list_postgres),
    case("p99-postgres", "p99 of GET at half of peak, PostgreSQL", latency::p99_postgres),
    case("p99-hit-memory", "p99 of hits in the process at half of peak", hits::p99_memory),
    case("size-redis", "a profile as kept in Redis", hits::size_redis),
    case("view-uncached", "a view of four live sources that answer at once", views::uncached),
    case("view-cached", "the same from the cache in the process", views::cached),
    case("view-added", "what a view adds to the time of its sources", views::added),
    case("view-hanging", "a view of which one source hangs", views::hanging),
    case("start", "start of the embedded service to its first answer", process::start),
    case("memory-idle", "resident memory, idle", process::memory_idle),
    case("memory-import", "resident memory after an import of 1,000,000", import::memory),
];

/// Requests per second of the service and of what it is measured against.
fn throughput(bench: &Bench, sides: Vec<Measure<'_>>) -> Result<Vec<Vec<f64>>> {
    let values = interleaved(bench.rounds, sides)?;
    for side in &values {
        let figure = Figure::of(side.iter().copied());
        eprintln!("    {:>9.0} requests/s ({:.0}–{:.0})", figure.median, figure.lowest, figure.highest);
    }
    Ok(values)
}
