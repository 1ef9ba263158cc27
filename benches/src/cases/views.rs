//! Views of live sources, which answer in a fixed time on loopback.

use std::{fmt::Write, time::Instant};

use anyhow::{Result, ensure};

use super::throughput;
use crate::{
    bare::SOURCES,
    check,
    fixture::{Fixture, Kind, closed},
    http::{self, Blocking},
    load::{self, Load, scattered},
    processes::Server,
    report::{Row, Target},
    sample,
    settings::Bench,
    statistics::{Figure, Measure, interleaved},
};

/// Different ids: far more than requests at once, so that few share a flight.
const IDS: u64 = 10_000;
/// How long sources take where time counts, in microseconds.
const SLOW: u64 = 5_000;
/// Of the source that hangs, in milliseconds.
const TIMEOUT: f64 = 100.0;
/// Longer than any deadline, in microseconds.
const NEVER: u64 = 60_000_000;
/// Fewer outcomes than a breaker opens after.
const BEFORE_OPEN: usize = 9;

fn requests() -> Vec<Vec<u8>> {
    (0..IDS).map(|number| http::get(&format!("/profile/{}", sample::reference(number)))).collect()
}

fn load<'a>(server: Server, next: &'a load::Next<'a>) -> Load<'a> {
    Load { least_body: 70, ..Load::of(server, next) }
}

/// The service over sources that take so long, each in microseconds; kept for `cache`.
fn service(fixture: &mut Fixture, sources: Server, micros: [u64; 4], cache: &str) -> Result<Server> {
    let mut file = String::new();
    for (priority, (source, micros)) in SOURCES.iter().zip(micros).enumerate() {
        write!(
            file,
            "[sources.{source}]\nurl = \"http://{}/{source}/{micros}/{{id}}\"\nprivate_addresses = true\n\
             timeout = \"{TIMEOUT}ms\"\nconcurrency = 1000\npriority = {{ default = {priority} }}\n",
            sources.address
        )?;
    }
    write!(file, "[views.profile]\nsources = {SOURCES:?}\ncache = \"{cache}\"\n")?;
    fixture.service_with(&file)
}

pub(super) fn uncached(bench: &Bench) -> Result<Vec<Row>> {
    let mut fixture = Fixture::empty(bench, Kind::Sqlite, "views")?;
    let sources = fixture.bare_on("sources", "-")?;
    let ours = service(&mut fixture, sources, [0; 4], "0s")?;
    let bare = fixture.bare_on("joined", &sources.address.to_string())?;
    let requests = requests();
    check::same_bytes(&requests[0], None, ours, bare)?;
    let (ours_next, bare_next) = (scattered(&requests), scattered(&requests));
    let values = throughput(bench, vec![closed(bench, load(ours, &ours_next)), closed(bench, load(bare, &bare_next))])?;
    let against = "actix + reqwest, four joined calls and a JSON merge";
    Ok(vec![Row::ratio("view of four sources at 0 ms, uncached", against, &values[0], &values[1], Target::AtLeast(0.6))])
}

pub(super) fn cached(bench: &Bench) -> Result<Vec<Row>> {
    let mut fixture = Fixture::empty(bench, Kind::Sqlite, "views")?;
    let sources = fixture.bare_on("sources", "-")?;
    let ours = service(&mut fixture, sources, [0; 4], "4h")?;
    let bare = fixture.bare_on("kept", &IDS.to_string())?;
    let requests = requests();
    let mut connection = Blocking::connect(ours.address)?;
    // Once the cache is believed, what is read stays; sources then hang, for all that the load could tell.
    for request in requests.iter().chain(&requests) {
        ensure!(connection.exchange(request)?.0 == 200, "no view");
    }
    check::same_bytes(&requests[0], None, ours, bare)?;
    let (ours_next, bare_next) = (scattered(&requests), scattered(&requests));
    let values = throughput(bench, vec![closed(bench, load(ours, &ours_next)), closed(bench, load(bare, &bare_next))])?;
    let against = "actix serving the same bytes from a moka cache";
    Ok(vec![Row::ratio("view, cached", against, &values[0], &values[1], Target::AtLeast(0.6))])
}

pub(super) fn added(bench: &Bench) -> Result<Vec<Row>> {
    let mut fixture = Fixture::empty(bench, Kind::Sqlite, "views")?;
    let sources = fixture.bare_on("sources", "-")?;
    let ours = service(&mut fixture, sources, [SLOW; 4], "0s")?;
    let requests = requests();
    let next = scattered(&requests);
    let rate = load::closed(&load(ours, &next), bench.span())? / 2.0;
    let slowest = http::get(&format!("/d/{SLOW}/{}", sample::reference(0)));
    let slowest = |out: &mut Vec<u8>| out.extend_from_slice(&slowest);
    let alone = Load { least_body: 40, ..Load::of(sources, &slowest) };
    // Both of the same runs.
    let (mut ours_at, mut alone_at) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
    for _ in 0..bench.rounds {
        for (load, at) in [(&load(ours, &next), &mut ours_at), (&alone, &mut alone_at)] {
            let latencies = load::open(load, rate, bench.span())?;
            for (values, percent) in at.iter_mut().zip([50, 99]) {
                values.push(latencies[(latencies.len() * percent / 100).min(latencies.len() - 1)].as_secs_f64() * 1e3);
            }
        }
    }
    let row = |percent: &str, index: usize, most| {
        let what = format!("{percent} of a view of four sources at {} ms, at half of peak ({rate:.0}/s)", SLOW / 1_000);
        Row::added(what, "one of the sources by itself at the same rate", &ours_at[index], &alone_at[index], most)
    };
    Ok(vec![row("p50", 0, 1.0), row("p99", 1, 5.0)])
}

pub(super) fn hanging(bench: &Bench) -> Result<Vec<Row>> {
    let requests = requests();
    let mut before = Vec::new();
    let mut fixture = Fixture::empty(bench, Kind::Sqlite, "views")?;
    let sources = fixture.bare_on("sources", "-")?;
    for _ in 0..bench.rounds {
        let mut fixture = Fixture::empty(bench, Kind::Sqlite, "views")?;
        let fresh = service(&mut fixture, sources, [SLOW, SLOW, SLOW, NEVER], "0s")?;
        let mut connection = Blocking::connect(fresh.address)?;
        let mut longest = 0.0_f64;
        for request in &requests[..BEFORE_OPEN] {
            let began = Instant::now();
            ensure!(connection.exchange(request)?.0 == 200, "no view");
            longest = longest.max(began.elapsed().as_secs_f64() * 1e3);
        }
        before.push(longest);
    }
    let hanging = service(&mut fixture, sources, [SLOW, SLOW, SLOW, NEVER], "0s")?;
    let well = service(&mut fixture, sources, [SLOW; 4], "0s")?;
    let next = scattered(&requests);
    let rate = load::closed(&load(well, &next), bench.span())? / 2.0;
    // The breaker opens.
    load::closed(&load(hanging, &next), bench.span())?;
    let side = |server| -> Measure<'_> {
        let next = &next;
        Box::new(move || {
            let latencies = load::open(&load(server, next), rate, bench.span())?;
            Ok(latencies[(latencies.len() * 99 / 100).min(latencies.len() - 1)].as_secs_f64() * 1e3)
        })
    };
    let values = interleaved(bench.rounds, vec![side(hanging), side(well)])?;
    let what = format!("view while one of four sources hangs, its timeout {TIMEOUT} ms, before its breaker opens: longest");
    eprintln!("    {:.1} ms", Figure::of(before.iter().copied()).median);
    Ok(vec![
        Row::absolute(&what, "ms", &before, Target::AtMost(TIMEOUT + 20.0)),
        Row::added("the same after it opened, p99 at half of peak", "with no source hanging", &values[0], &values[1], 5.0),
    ])
}
