//! Reads of stores of ordinary size.

use anyhow::Result;

use super::throughput;
use crate::{
    check,
    fixture::{Fixture, Kind, UNCACHED, closed, path},
    http,
    load::{Load, scattered},
    report::{Row, Target},
    settings::{Bench, SMALL},
};

pub(super) fn get_sqlite(bench: &Bench) -> Result<Vec<Row>> {
    let against = "actix + rusqlite, a prepared read of ready JSON";
    get(bench, Kind::Sqlite, against, 0.70)
}

pub(super) fn get_postgres(bench: &Bench) -> Result<Vec<Row>> {
    let against = "actix + deadpool + tokio-postgres, a prepared read of ready JSON";
    get(bench, Kind::Postgres, against, 0.75)
}

fn get(bench: &Bench, kind: Kind, against: &str, least: f64) -> Result<Vec<Row>> {
    let mut fixture = Fixture::filled(bench, kind, "get", SMALL, true)?;
    let (ours, bare) = (fixture.service(UNCACHED)?, fixture.bare()?);
    for number in [0, 1, SMALL - 1] {
        check::same_bytes(&http::get(&path(number)), None, ours, bare)?;
    }
    let requests = fixture.gets();
    let (ours_next, bare_next) = (scattered(&requests), scattered(&requests));
    let values = throughput(bench, vec![closed(bench, Load::of(ours, &ours_next)), closed(bench, Load::of(bare, &bare_next))])?;
    let what = format!("`GET` one profile, {}, uncached", kind.name());
    Ok(vec![Row::ratio(what, against, &values[0], &values[1], Target::AtLeast(least))])
}

pub(super) fn list_sqlite(bench: &Bench) -> Result<Vec<Row>> {
    list(bench, Kind::Sqlite)
}

pub(super) fn list_postgres(bench: &Bench) -> Result<Vec<Row>> {
    list(bench, Kind::Postgres)
}

fn list(bench: &Bench, kind: Kind) -> Result<Vec<Row>> {
    let mut fixture = Fixture::filled(bench, kind, "list", SMALL, false)?;
    let (ours, bare) = (fixture.service(UNCACHED)?, fixture.bare()?);
    let request = http::get("/api/v1/profiles?limit=200");
    // Only the service gives a cursor.
    let least_body = check::same_bytes(&request, Some("],\"next_cursor\":"), ours, bare)?;
    let next = |out: &mut Vec<u8>| out.extend_from_slice(&request);
    let values = throughput(
        bench,
        vec![
            closed(bench, Load { least_body, ..Load::of(ours, &next) }),
            closed(bench, Load { least_body, ..Load::of(bare, &next) }),
        ],
    )?;
    let what = format!("200-item list, {}", kind.name());
    let against = "one prepared query + serde_json serialising the same bytes";
    Ok(vec![Row::ratio(what, against, &values[0], &values[1], Target::AtLeast(0.60))])
}
