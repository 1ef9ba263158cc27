//! `profile.export`: all profiles of a tenant as lines of NDJSON, into an object that can be fetched by a link.

use std::time::Duration;

use futures_util::{StreamExt as _, future::BoxFuture};
use profile_ports::{BoxError, Deadline};
use serde_json::json;

use crate::{
    read_export,
    tasks::kind::{Effect, Failure, Job, Kind},
};

/// How long the store may take until the first profile comes.
const BEGIN: Duration = Duration::from_secs(30);

pub(super) const KIND: Kind = Kind {
    name: "profile.export",
    does: "Writes all profiles, as `GET /api/v1/profiles/export` gives them, to where the task's `result` then links to.",
    schema: || json!({"type": "object", "additionalProperties": false}),
    example: || json!({}),
    needs_profile: false,
    check: |payload| payload.only(&[]),
    run,
    timeout: Duration::from_hours(1),
    rate: None,
};

/// A second run writes the same object anew, so nothing must be undone.
fn run(job: Job) -> BoxFuture<'static, Result<Effect, Failure>> {
    Box::pin(async move {
        let objects = job.app.work.objects.clone().ok_or_else(|| Failure::for_good("there is no place for exports here"))?;
        let key = read_export::key(job.run.task).ok_or_else(|| Failure::for_good("the export has no name"))?;
        let lines = job.app.export_profiles(&job.tenant, Deadline::within(BEGIN)).await;
        let lines = lines.map_err(|error| Failure::for_now(error.to_string()))?;
        let content = lines.map(|line| line.map_err(BoxError::from)).boxed();
        objects.put(&job.tenant, &key, content).await.map_err(|error| Failure::for_now(error.to_string()))?;
        Ok(Effect::None)
    })
}

/// Whether tasks of this name leave an export.
pub(crate) fn is_export(name: &str) -> bool {
    name == KIND.name
}
