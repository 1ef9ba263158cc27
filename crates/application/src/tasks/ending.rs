//! Ends of runs, written together: while one statement is under way the next ends gather.

use std::time::{Duration, Instant};

use profile_domain::task::{Ending, Run};
use profile_ports::{Deadline, causes};
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use crate::App;

/// Ends that one statement writes, at most.
const BATCH: usize = 500;
/// How long one statement may take.
const STEP: Duration = Duration::from_secs(5);
/// How long to wait after the store failed.
const PAUSE: Duration = Duration::from_millis(200);

/// The end of a run, to be written.
pub(super) struct Ended {
    pub(super) run: Run,
    pub(super) kind: &'static str,
    pub(super) ending: Ending,
    pub(super) took: Duration,
    /// Room for another of its kind, once this is written.
    pub(super) room: OwnedSemaphorePermit,
}

impl App {
    /// Writes ends until nobody can send any more.
    pub(super) async fn write_ends(&self, mut ends: mpsc::UnboundedReceiver<Ended>) {
        let mut batch = Vec::new();
        while ends.recv_many(&mut batch, BATCH).await > 0 {
            self.write_together(std::mem::take(&mut batch)).await;
        }
    }

    /// Tries as long as a lease may last; then others have the runs.
    async fn write_together(&self, batch: Vec<Ended>) {
        let pairs: Vec<(Run, Ending)> = batch.iter().map(|ended| (ended.run.clone(), ended.ending.clone())).collect();
        let began = Instant::now();
        let written = loop {
            match self.store.end(&pairs, Deadline::within(STEP)).await {
                Ok(written) => break written,
                Err(error) if began.elapsed() > self.work.settings.lease => {
                    tracing::error!(
                        cause = causes(&error),
                        runs = batch.len(),
                        "ends of runs couldn't be written; they run again"
                    );
                    return batch.iter().for_each(|ended| self.work.running.end(&ended.run));
                }
                Err(error) => {
                    tracing::warn!(cause = causes(&error), runs = batch.len(), "ends of runs can't be written now");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        };
        self.work.measures.ended_together(batch.len());
        for (ended, status) in batch.into_iter().zip(written) {
            match status {
                Some(status) => self.work.measures.finished(ended.kind, status, ended.took),
                None => self.too_late(&ended.run),
            }
            self.work.running.end(&ended.run);
            drop(ended.room);
        }
    }

    /// A run's result changed nothing.
    pub(super) fn too_late(&self, run: &Run) {
        self.work.measures.fenced();
        tracing::warn!(
            task.id = %run.task,
            task.attempt = run.attempt,
            "the result of a run came after its lease had ended, and changed nothing"
        );
    }
}
