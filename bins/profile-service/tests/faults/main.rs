//! Faults that really happen, made to happen: kills, restarts, resets, lost answers, full and failing disks, races at the start.
//! What was acknowledged must be there afterwards, whole.
//!
//! Names that contain `postgres` need a server; `make test-fast` leaves them out. Figures are printed, and asserted under
//! generous ceilings.

#[path = "../support/mod.rs"]
mod support;

mod commit_unknown;
mod disk;
mod histories;
mod instances;
mod kill;
mod linearizable;
mod postgres_resets;
mod postgres_restarts;
mod proxy;
mod rows;
mod writers;

use std::time::Duration;

/// A pause between attempts while the service says that it has no database.
const PAUSE: Duration = Duration::from_millis(10);

/// The variables of a process as what `Server` takes.
fn borrowed(variables: &[(String, String)]) -> Vec<(&str, &str)> {
    variables.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

/// Figures of all rounds, for whoever reads the test's output.
fn report(what: &str, figures: &mut [Duration]) {
    figures.sort();
    let (Some(slowest), Some(median)) = (figures.last(), figures.get(figures.len() / 2)) else { return };
    eprintln!("{what}: median {median:.1?}, slowest {slowest:.1?} of {}", figures.len());
}
