//! Writes.

use std::cell::Cell;

use anyhow::{Result, bail, ensure};

use super::throughput;
use crate::{
    bare, check, database,
    fixture::{Fixture, Kind, UNCACHED, closed, path},
    http,
    load::{self, Load, scattered},
    processes::Store,
    report::{Row, Target},
    sample::{self, NEW},
    settings::{Bench, SMALL},
};

const POST: &str = "/api/v1/profiles";
const CACHED: &[(&str, &str)] = &[("CACHE", "on")];
const NUMBERED: &str = "SELECT coalesce(sum(size), 0)::bigint FROM feed_rounds";

pub(super) fn post_postgres(bench: &Bench) -> Result<Vec<Row>> {
    let mut fixture = Fixture::empty(bench, Kind::Postgres, "post")?;
    let mut bare_fixture = Fixture::empty(bench, Kind::Postgres, "post_bare")?;
    if let Store::Postgres(database) = &bare_fixture.store {
        database::with_client(database, async |client| bare::create_plain(client).await)?;
    }
    let (ours, bare) = (fixture.service(UNCACHED)?, bare_fixture.bare()?);
    check::same_rows((ours, &fixture.store), (bare, &bare_fixture.store))?;
    let nexts = [creations(POST), creations(POST), creations("/plain")];
    let values = throughput(
        bench,
        vec![
            closed(bench, Load::of_creations(ours, &nexts[0])),
            closed(bench, Load::of_creations(bare, &nexts[1])),
            closed(bench, Load::of_creations(bare, &nexts[2])),
        ],
    )?;
    let (same, plain) = (
        "actix + one hand-written statement that inserts the same rows",
        "actix + one prepared `INSERT` of the profile alone, into a table of its own",
    );
    Ok(vec![
        Row::ratio("`POST`, PostgreSQL", same, &values[0], &values[1], Target::AtLeast(0.70)),
        Row::ratio("`POST`, PostgreSQL", plain, &values[0], &values[2], Target::AtLeast(0.33)),
    ])
}

pub(super) fn post_sqlite(bench: &Bench) -> Result<Vec<Row>> {
    let mut fixture = Fixture::empty(bench, Kind::Sqlite, "post")?;
    let mut bare_fixture = Fixture::empty(bench, Kind::Sqlite, "post_bare")?;
    let (ours, bare) = (fixture.service(UNCACHED)?, bare_fixture.bare()?);
    check::same_rows((ours, &fixture.store), (bare, &bare_fixture.store))?;
    let nexts = [creations(POST), creations(POST)];
    let values = throughput(
        bench,
        vec![closed(bench, Load::of_creations(ours, &nexts[0])), closed(bench, Load::of_creations(bare, &nexts[1]))],
    )?;
    let against = "actix + one bare rusqlite writer of the same rows that commits in groups, `synchronous=FULL`";
    Ok(vec![Row::ratio("`POST`, SQLite", against, &values[0], &values[1], Target::AtLeast(0.60))])
}

/// What the feed costs commits: one instance takes them, another does nothing but follow, as both do for their caches. Against a
/// store without the index that numbering needs, whose feed nobody numbers or follows.
pub(super) fn feed_postgres(bench: &Bench) -> Result<Vec<Row>> {
    let fixture = Fixture::empty(bench, Kind::Postgres, "feed")?;
    let bare_fixture = Fixture::empty(bench, Kind::Postgres, "feed_bare")?;
    let (Store::Postgres(database), Store::Postgres(bare_database)) = (&fixture.store, &bare_fixture.store) else {
        bail!("these stores are on PostgreSQL");
    };
    database::run(bare_database, "DROP INDEX feed_by_xid")?;
    let nexts = [creations(POST), creations(POST)];
    // For each round anew: they would look at their feed while the other side is measured.
    let followed = || {
        let (taking, _following) = (fixture.start(CACHED)?, fixture.start(CACHED)?);
        load::closed(&Load::of_creations(taking.server(), &nexts[0]), bench.span())
    };
    let alone = || {
        let taking = bare_fixture.start(UNCACHED)?;
        load::closed(&Load::of_creations(taking.server(), &nexts[1]), bench.span())
    };
    let values = throughput(bench, vec![Box::new(followed), Box::new(alone)])?;
    let numbered = |database| database::with_client(database, async |client| Ok(client.query_one(NUMBERED, &[]).await?.get(0)));
    let (ours, theirs): (i64, i64) = (numbered(database)?, numbered(bare_database)?);
    ensure!(ours > 0 && theirs == 0, "{ours} and {theirs} changes were numbered");
    let against = "the same with `CACHE=off`: nothing numbered, nobody tailing, no index for it";
    Ok(vec![Row::ratio(
        "`POST`, PostgreSQL, the feed numbered and tailed by two instances",
        against,
        &values[0],
        &values[1],
        Target::AtLeast(0.95),
    )])
}

/// A profile that was never there, each time.
fn creations(path: &'static str) -> impl Fn(&mut Vec<u8>) {
    let number = Cell::new(NEW);
    move |out| {
        number.set(number.get() + 1);
        out.extend(http::send("POST", path, &sample::document(number.get())));
    }
}

pub(super) fn put_sqlite(bench: &Bench) -> Result<Vec<Row>> {
    put(bench, Kind::Sqlite)
}

pub(super) fn put_postgres(bench: &Bench) -> Result<Vec<Row>> {
    put(bench, Kind::Postgres)
}

fn put(bench: &Bench, kind: Kind) -> Result<Vec<Row>> {
    let mut fixture = Fixture::filled(bench, kind, "put", SMALL, false)?;
    let server = fixture.service(UNCACHED)?;
    let gets = fixture.gets();
    let puts: Vec<Vec<u8>> = (0..SMALL).map(|number| http::send("PUT", &path(number), &sample::document(number))).collect();
    let (next_put, next_get) = (scattered(&puts), scattered(&gets));
    let values = throughput(bench, vec![closed(bench, Load::of(server, &next_put)), closed(bench, Load::of(server, &next_get))])?;
    for number in [0, 1, SMALL - 1] {
        let body: serde_json::Value = serde_json::from_slice(&http::once(server.address, &http::get(&path(number)), 200)?)?;
        ensure!(body["version"] == 1, "a PUT that should change nothing has changed a profile: {body}");
    }
    let what = format!("`PUT` that changes nothing, {}", kind.name());
    Ok(vec![Row::ratio(what, "`GET` of the same profiles", &values[0], &values[1], Target::AtLeast(0.60))])
}
