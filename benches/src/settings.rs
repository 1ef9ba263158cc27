//! How much is measured: the environment's `BENCH_…`, and which PostgreSQL.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, Result, bail};

use crate::load::Span;

/// Profiles in a store of ordinary size.
pub(crate) const SMALL: u64 = 10_000;
/// Profiles in a large one, at scale 1.
const LARGE: f64 = 1_000_000.0;

/// What all cases share.
pub(crate) struct Bench {
    /// For each side and round.
    pub(crate) seconds: f64,
    pub(crate) rounds: usize,
    /// Profiles in a large store.
    pub(crate) large: u64,
    pub(crate) smoke: bool,
    /// The workspace.
    pub(crate) root: PathBuf,
    /// The server that `TEST_POSTGRES_URL` names.
    pub(crate) postgres: Option<String>,
}

impl Bench {
    pub(crate) fn new(smoke: bool) -> Result<Self> {
        let seconds = number("BENCH_SECONDS", if smoke { 0.2 } else { 3.0 })?;
        let rounds = number("BENCH_ROUNDS", if smoke { 1.0 } else { 5.0 })?;
        let scale = number("BENCH_SCALE", if smoke { 0.02 } else { 1.0 })?;
        if !(0.01..=60.0).contains(&seconds) || !(1.0..=100.0).contains(&rounds) || !(0.02..=10.0).contains(&scale) {
            bail!("BENCH_SECONDS must be 0.01–60, BENCH_ROUNDS 1–100 and BENCH_SCALE 0.02–10");
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positive and small: checked above")]
        let (rounds, large) = (rounds as usize, (LARGE * scale) as u64);
        let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize()?;
        std::fs::create_dir_all(root.join("target/bench"))?;
        Ok(Self { seconds, rounds, large, smoke, root, postgres: variable("TEST_POSTGRES_URL") })
    }

    /// One round of one side.
    pub(crate) fn span(&self) -> Span {
        Span { warm_up: self.warm_up(), measured: Duration::from_secs_f64(self.seconds) }
    }

    pub(crate) fn warm_up(&self) -> Duration {
        Duration::from_secs_f64((self.seconds / 6.0).clamp(0.05, 1.0))
    }

    /// Where a case puts its files: on the disk of the workspace, gone afterwards.
    pub(crate) fn folder(&self) -> Result<tempfile::TempDir> {
        Ok(tempfile::tempdir_in(self.root.join("target/bench"))?)
    }
}

fn number(name: &str, default: f64) -> Result<f64> {
    variable(name).map_or(Ok(default), |text| text.parse().with_context(|| format!("{name} is {text}, which is no number")))
}

#[expect(clippy::disallowed_methods, reason = "this is where the settings are read, once")]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
