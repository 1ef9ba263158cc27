//! Latency under a constant rate.

use anyhow::Result;

use crate::{
    fixture::{Fixture, Kind},
    load::{self, Load, Next, scattered},
    processes::Server,
    report::{Row, Target},
    settings::{Bench, SMALL},
    statistics::{Figure, Measure, interleaved},
};

pub(super) fn p99_postgres(bench: &Bench) -> Result<Vec<Row>> {
    let mut fixture = Fixture::filled(bench, Kind::Postgres, "p99", SMALL, true)?;
    let (ours, bare) = (fixture.service()?, fixture.bare()?);
    let requests = fixture.gets();
    let next = scattered(&requests);
    let load = |server| Load { server, next: &next, status: 200, least_body: 300 };
    let peaks = (0..bench.rounds.min(3)).map(|_| load::closed(&load(ours), bench.span())).collect::<Result<Vec<_>>>()?;
    let rate = Figure::of(peaks).median / 2.0;
    let values = interleaved(bench.rounds, vec![side(bench, ours, &next, rate), side(bench, bare, &next, rate)])?;
    let what = format!("p99 of `GET` at half of peak ({rate:.0}/s), PostgreSQL");
    Ok(vec![Row::latency(what, "the bare program at the same rate", &values[0], &values[1], Target::AtMost(1.5))])
}

/// The 99th percentile, in milliseconds.
fn side<'a>(bench: &'a Bench, server: Server, next: &'a Next<'a>, rate: f64) -> Measure<'a> {
    Box::new(move || {
        let latencies = load::open(&Load { server, next, status: 200, least_body: 300 }, rate, bench.span())?;
        let at = |percent: usize| latencies[(latencies.len() * percent / 100).min(latencies.len() - 1)].as_secs_f64() * 1e3;
        eprintln!("    p50 {:.2} ms, p99 {:.2} ms of {}", at(50), at(99), latencies.len());
        Ok(at(99))
    })
}
