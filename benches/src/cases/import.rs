//! Imports. What the service lacks so far is said, not left out.

use anyhow::Result;

use crate::{
    fixture::{Fixture, Kind},
    http::{self, Blocking},
    report::{Row, Target},
    settings::Bench,
};

const IMPORT: &str = "/api/v1/profiles/import";

pub(super) fn import_postgres(bench: &Bench) -> Result<Vec<Row>> {
    let built = is_built(bench)?;
    let by_hand = "`COPY` to staging, then set-wise `INSERT`s of all the same rows, by hand";
    Ok(vec![
        Row::missing("import of 100,000 lines, PostgreSQL", by_hand, Target::AtLeast(0.50), why(built)),
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

/// Whether the service has the route at all.
fn is_built(bench: &Bench) -> Result<bool> {
    let mut fixture = Fixture::empty(bench, Kind::Sqlite, "import")?;
    let mut connection = Blocking::connect(fixture.service()?.address)?;
    let (status, _) = connection.exchange(&http::send("POST", IMPORT, ""))?;
    Ok(!matches!(status, 404 | 405))
}
