//! Instances as processes over one PostgreSQL and one Redis, which fail in every way they can: nobody is given an error for
//! that, and nobody anything that is older than was promised.
//!
//! In the order to read them: `checker`, who knows what may be read; `load`, who reads and writes; `gate`, which cuts an instance
//! off; then the tests.

#[path = "../support/mod.rs"]
mod support;

mod checker;
mod gate;
mod instances;
mod load;

mod absences;
mod cleanup;
mod cut_off;
mod failovers;
mod outages;
mod planted;
mod restored;
mod staleness;
mod stopped;
