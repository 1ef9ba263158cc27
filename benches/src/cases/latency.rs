//! Latency under a constant rate.

use anyhow::Result;

use crate::{
    fixture::{Fixture, Kind, UNCACHED},
    load::{self, Load, scattered},
    report::{Row, Target},
    settings::{Bench, SMALL},
    statistics::{Figure, Measure, interleaved},
};

pub(super) fn p99_postgres(bench: &Bench) -> Result<Vec<Row>> {
    let mut fixture = Fixture::filled(bench, Kind::Postgres, "p99", SMALL, true)?;
    let (ours, bare) = (fixture.service(UNCACHED)?, fixture.bare()?);
    let requests = fixture.gets();
    let next = scattered(&requests);
    let load = |server| Load::of(server, &next);
    let peaks = (0..bench.rounds.min(3)).map(|_| load::closed(&load(ours), bench.span())).collect::<Result<Vec<_>>>()?;
    let rate = Figure::of(peaks).median / 2.0;
    let values = p99s(bench, rate, [load(ours), load(bare)])?;
    let what = format!("p99 of `GET` at half of peak ({rate:.0}/s), PostgreSQL");
    Ok(vec![Row::latency(what, "the bare program at the same rate", &values[0], &values[1], Target::AtMost(1.5))])
}

/// The 99th percentiles of each side at this rate, in milliseconds.
pub(super) fn p99s(bench: &Bench, rate: f64, sides: [Load<'_>; 2]) -> Result<Vec<Vec<f64>>> {
    interleaved(bench.rounds, sides.into_iter().map(|load| side(bench, load, rate)).collect())
}

fn side<'a>(bench: &'a Bench, load: Load<'a>, rate: f64) -> Measure<'a> {
    Box::new(move || {
        let latencies = load::open(&load, rate, bench.span())?;
        let at = |percent: usize| latencies[(latencies.len() * percent / 100).min(latencies.len() - 1)].as_secs_f64() * 1e3;
        eprintln!("    p50 {:.2} ms, p99 {:.2} ms of {}", at(50), at(99), latencies.len());
        Ok(at(99))
    })
}
