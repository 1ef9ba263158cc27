//! What runs in this process now, and how those runs are told to end.

use std::collections::HashMap;

use parking_lot::Mutex;
use profile_domain::{TaskId, TenantId, task::Run};
use tokio::sync::watch;

/// Why a run is to end before it is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// Somebody has cancelled the task.
    Cancelled,
    /// It isn't this process' any more.
    Lost,
    /// This process stops.
    Stopping,
}

/// Runs by their name.
#[derive(Default)]
pub(crate) struct Running(Mutex<HashMap<Run, watch::Sender<Option<Why>>>>);

impl Running {
    /// Notes a run, and gives what it must listen to.
    pub(crate) fn begin(&self, run: &Run) -> watch::Receiver<Option<Why>> {
        let (tell, told) = watch::channel(None);
        self.0.lock().insert(run.clone(), tell);
        told
    }

    pub(crate) fn end(&self, run: &Run) {
        self.0.lock().remove(run);
    }

    /// Tells a run to end, the first reason first.
    pub(crate) fn tell(&self, run: &Run, why: Why) {
        if let Some(tell) = self.0.lock().get(run) {
            tell.send_if_modified(|told| told.is_none() && told.insert(why) == &why);
        }
    }

    /// Tells whatever start of a task runs here.
    pub(crate) fn cancel(&self, tenant: &TenantId, task: TaskId) {
        let runs: Vec<Run> = self.all().into_iter().filter(|run| run.tenant == *tenant && run.task == task).collect();
        for run in &runs {
            self.tell(run, Why::Cancelled);
        }
    }

    pub(crate) fn all(&self) -> Vec<Run> {
        self.0.lock().keys().cloned().collect()
    }
}
