//! Imports.

use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};

use crate::{
    bare, bulk, database,
    fixture::{Fixture, Kind, UNCACHED},
    processes::Store,
    report::{Row, Target},
    settings::Bench,
    statistics::{Measure, interleaved},
};

/// Lines in an import.
const LINES: u32 = 100_000;

pub(super) fn import_postgres(bench: &Bench) -> Result<Vec<Row>> {
    let lines = if bench.smoke { LINES / 100 } else { LINES };
    let mut again = Vec::new();
    let ours: Measure<'_> = Box::new(|| {
        let (first, second) = twice(bench, lines)?;
        eprintln!("    {first:>9.0} lines/s, again {second:.0} lines/s");
        again.push(second);
        Ok(first)
    });
    let by_hand: Measure<'_> = Box::new(|| {
        let rate = by_hand(bench, lines)?;
        eprintln!("    {rate:>9.0} lines/s by hand");
        Ok(rate)
    });
    let values = interleaved(bench.rounds, vec![ours, by_hand])?;
    let what = format!("import of {lines} lines, PostgreSQL");
    let against = "`COPY` to staging, then set-wise `INSERT`s of all the same rows, by hand";
    Ok(vec![
        Row::ratio(what, against, &values[0], &values[1], Target::AtLeast(0.50)),
        Row::ratio(
            "import of the same lines again, no row written",
            "the first import",
            &again,
            &values[0],
            Target::AtLeast(1.5),
        ),
    ])
}

/// Lines a second of an import into an empty store, and of the same import again.
fn twice(bench: &Bench, lines: u32) -> Result<(f64, f64)> {
    let mut fixture = Fixture::empty(bench, Kind::Postgres, "import")?;
    let server = fixture.service(UNCACHED)?;
    let timed = || -> Result<_> {
        let began = Instant::now();
        let summary = bulk::import(server, lines.into())?;
        Ok((summary, f64::from(lines) / began.elapsed().as_secs_f64()))
    };
    let (summary, first) = timed()?;
    ensure!(summary.created == u64::from(lines), "not all lines made a profile: {summary:?}");
    let written = state(&fixture.store)?;
    let (summary, second) = timed()?;
    ensure!(summary.unchanged == u64::from(lines), "an import that should change nothing: {summary:?}");
    ensure!(state(&fixture.store)? == written, "an import that should change nothing has written");
    Ok((first, second))
}

/// Changes with every row that is written: each new version of a row has a place of its own.
fn state(store: &Store) -> Result<String> {
    const STATE: &str = "SELECT format('%s %s %s', (SELECT sum(hashtext(ctid::text || xmin::text)::bigint) FROM entities),
        (SELECT sum(hashtext(ctid::text || xmin::text)::bigint) FROM entity_values),
        (SELECT sum(hashtext(ctid::text || xmin::text)::bigint) FROM feed))";
    let Store::Postgres(database) = store else { bail!("not a PostgreSQL store") };
    database::with_client(database, async |client| Ok(client.query_one(STATE, &[]).await?.get(0)))
}

/// Lines a second, parsed and inserted into a database that was empty.
fn by_hand(bench: &Bench, lines: u32) -> Result<f64> {
    let fixture = Fixture::empty(bench, Kind::Postgres, "import_bare")?;
    let Store::Postgres(database) = &fixture.store else { bail!("not a PostgreSQL store") };
    let began = Instant::now();
    database::with_client(database, async |client| bare::import_postgres(client, lines.into(), false).await)?;
    Ok(f64::from(lines) / began.elapsed().as_secs_f64())
}

pub(super) fn memory(bench: &Bench) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for kind in [Kind::Sqlite, Kind::Postgres] {
        let mut fixture = Fixture::empty(bench, kind, "memory_import")?;
        let server = fixture.service(&[])?;
        let began = Instant::now();
        let summary = bulk::import(server, bench.large)?;
        ensure!(summary.created == bench.large, "not all lines made a profile: {summary:?}");
        eprintln!("    imported in {:.1} s", began.elapsed().as_secs_f64());
        let resident = fixture.program().context("nothing runs")?.resident_mib()?;
        let what = format!("resident memory after an import of {}, {}", bench.large, kind.name());
        rows.push(Row::absolute(&what, "MiB", &[resident], Target::AtMost(256.0)));
    }
    Ok(rows)
}
