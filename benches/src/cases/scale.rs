//! The same reads in a store a hundred times as large.

use anyhow::Result;

use super::throughput;
use crate::{
    fixture::{Fixture, Kind, UNCACHED, closed},
    http,
    load::{Load, scattered},
    report::{Row, Target},
    sample::{SEGMENTS, segment_name},
    settings::{Bench, SMALL},
};

pub(super) fn sqlite(bench: &Bench) -> Result<Vec<Row>> {
    scale(bench, Kind::Sqlite)
}

pub(super) fn postgres(bench: &Bench) -> Result<Vec<Row>> {
    scale(bench, Kind::Postgres)
}

fn scale(bench: &Bench, kind: Kind) -> Result<Vec<Row>> {
    let mut small = Fixture::filled(bench, kind, "small", SMALL, false)?;
    let mut large = Fixture::filled(bench, kind, "large", bench.large, false)?;
    let (in_small, in_large) = (small.service(UNCACHED)?, large.service(UNCACHED)?);
    let (small_gets, large_gets) = (small.gets(), large.gets());
    let gets = [scattered(&large_gets), scattered(&small_gets)];
    // A full page of those that are in one segment: as many rows in both.
    let lists: Vec<Vec<u8>> =
        (0..SEGMENTS).map(|segment| http::get(&format!("/api/v1/profiles?attr.segment={}", segment_name(segment)))).collect();
    let lists = [scattered(&lists), scattered(&lists)];
    let got = throughput(bench, vec![closed(bench, Load::of(in_large, &gets[0])), closed(bench, Load::of(in_small, &gets[1]))])?;
    let listed = throughput(
        bench,
        vec![
            closed(bench, Load { least_body: 15_000, ..Load::of(in_large, &lists[0]) }),
            closed(bench, Load { least_body: 15_000, ..Load::of(in_small, &lists[1]) }),
        ],
    )?;
    let against = format!("the same at {SMALL}");
    let row = |what: &str, values: &[Vec<f64>]| {
        let what = format!("{what} at {} profiles, {}", bench.large, kind.name());
        Row::time_ratio(what, &against, &values[0], &values[1], Target::AtMost(1.3))
    };
    Ok(vec![row("`GET`", &got), row("filtered list (50 of 1 %)", &listed)])
}
