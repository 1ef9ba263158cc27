//! What the process costs by itself.

use std::{thread, time::Duration};

use anyhow::{Context, Result};

use crate::{
    fixture::{Fixture, Kind},
    http, processes,
    processes::Store,
    report::{Row, Target},
    settings::Bench,
};

pub(super) fn start(bench: &Bench) -> Result<Vec<Row>> {
    let mut fresh = Vec::new();
    let mut again = Vec::new();
    for _ in 0..bench.rounds {
        let folder = bench.folder()?;
        let store = Store::Sqlite(folder.path().to_owned());
        for times in [&mut fresh, &mut again] {
            let program = processes::service(&store, folder.path(), &[])?;
            times.push(program.started_in.as_secs_f64() * 1e3);
        }
    }
    let row = |what: &str, times: &[f64]| Row::absolute(what, "ms", times, Target::AtMost(300.0));
    Ok(vec![
        row("start of the embedded service to its first answer, nothing there yet", &fresh),
        row("the same, in a folder with data", &again),
    ])
}

/// After a little work, so that what is made when first needed is there.
pub(super) fn memory_idle(bench: &Bench) -> Result<Vec<Row>> {
    const REQUESTS: usize = 100;
    let mut rows = Vec::new();
    for kind in [Kind::Sqlite, Kind::Postgres] {
        let mut resident = Vec::new();
        for _ in 0..bench.rounds.min(3) {
            let mut fixture = Fixture::filled(bench, kind, "memory", 1_000, false)?;
            let server = fixture.service(&[])?;
            for request in fixture.gets().iter().take(REQUESTS) {
                http::once(server.address, request, 200)?;
            }
            thread::sleep(Duration::from_secs(1));
            resident.push(fixture.program().context("nothing runs")?.resident_mib()?);
        }
        let what = format!("resident memory, idle, {}", kind.name());
        rows.push(Row::absolute(&what, "MiB", &resident, Target::AtMost(40.0)));
    }
    Ok(rows)
}
