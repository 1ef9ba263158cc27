//! Imports. What the service lacks so far is said, not left out.

use std::time::Instant;

use anyhow::{Result, bail};

use crate::{
    bare, database,
    fixture::{Fixture, Kind},
    http::{self, Blocking},
    processes::Store,
    report::{Row, Target},
    settings::Bench,
};

const IMPORT: &str = "/api/v1/profiles/import";

/// Lines in an import.
const LINES: u32 = 100_000;

pub(super) fn import_postgres(bench: &Bench) -> Result<Vec<Row>> {
    let built = is_built(bench)?;
    let against = "`COPY` to staging, then set-wise `INSERT`s of all the same rows, by hand";
    let rates = (0..bench.rounds).map(|_| by_hand(bench)).collect::<Result<Vec<_>>>()?;
    let what = "import of 100,000 lines, PostgreSQL";
    Ok(vec![
        Row::missing(what, against, Target::AtLeast(0.50), why(built)).with_theirs("/s", &rates),
        Row::missing("import of the same 100,000 again", "the first import", Target::AtLeast(1.5), why(built)),
    ])
}

pub(super) fn memory(bench: &Bench) -> Result<Vec<Row>> {
    let built = is_built(bench)?;
    Ok(vec![Row::missing("resident memory after an import of 1,000,000", "–", Target::AtMost(256.0), why(built))])
}

fn why(built: bool) -> &'static str {
    if built { "not measured yet" } else { "not built yet" }
}

/// Lines a second, parsed and inserted into a database that was empty.
fn by_hand(bench: &Bench) -> Result<f64> {
    let lines = if bench.smoke { LINES / 100 } else { LINES };
    let fixture = Fixture::empty(bench, Kind::Postgres, "import")?;
    let Store::Postgres(database) = &fixture.store else { bail!("not a PostgreSQL store") };
    let began = Instant::now();
    database::with_client(database, async |client| bare::import_postgres(client, lines.into(), false).await)?;
    Ok(f64::from(lines) / began.elapsed().as_secs_f64())
}

/// Whether the service has the route at all.
fn is_built(bench: &Bench) -> Result<bool> {
    let mut fixture = Fixture::empty(bench, Kind::Sqlite, "import")?;
    let mut connection = Blocking::connect(fixture.service()?.address)?;
    let (status, _) = connection.exchange(&http::send("POST", IMPORT, ""))?;
    Ok(!matches!(status, 404 | 405))
}
