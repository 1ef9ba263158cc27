//! Waiting for the database: the service lives without it, and becomes ready by itself.

use std::time::Duration;

use profile_application::App;
use profile_ports::Deadline;

use crate::{environment, store::Opened};

const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// Short, so that the service is back soon after its database; one attempt a second harms nobody.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// A log line for so many failures, once the pauses are at their longest.
const FAILURES_PER_LINE: u32 = 30;
const CHECK_TIMEOUT: Duration = Duration::from_secs(5);

/// Migrates the store and learns its secrets, trying until that has worked.
pub(crate) async fn bring_up(store: &Opened, app: &App) {
    let mut pause = FIRST_PAUSE;
    let mut failures = 0_u32;
    while let Err(error) = attempt(store, app).await {
        failures += 1;
        if pause < LONGEST_PAUSE || failures.is_multiple_of(FAILURES_PER_LINE) {
            tracing::warn!(error = format!("{error:#}"), failures, "the database isn't ready yet; trying again");
        }
        tokio::time::sleep(jittered(pause)).await;
        pause = LONGEST_PAUSE.min(pause * 2);
    }
    tracing::info!(failures, "the database is ready");
}

async fn attempt(store: &Opened, app: &App) -> anyhow::Result<()> {
    store.migrate().await?;
    app.check(Deadline::within(CHECK_TIMEOUT)).await?;
    Ok(())
}

/// Between half and the whole, so that instances that start at once don't try at once.
fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(0.5 + f64::from(environment::new_secret()[0]) / 510.0)
}
