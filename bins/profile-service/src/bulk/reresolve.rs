//! `reresolve`: after a change of the rules, all that was resolved under older ones.

use std::process::ExitCode;

use anyhow::Context;
use profile_application::{App, Deadline};
use profile_domain::TenantId;

use super::{STEP_TIMEOUT, progress::Progress, with_store};
use crate::{cli, config::Config, print};

pub(crate) async fn reresolve(config: &Config, options: &cli::Reresolve) -> anyhow::Result<ExitCode> {
    with_store(config, async |_, app| {
        let tenants = match &options.tenant {
            Some(tenant) => vec![tenant.clone()],
            None => app.tenants(Deadline::within(STEP_TIMEOUT)).await?,
        };
        let (mut seen, mut changed, mut progress) = (0, 0, Progress::new("resolving"));
        for tenant in &tenants {
            walk(app, tenant, &mut seen, &mut changed, &mut progress)
                .await
                .with_context(|| format!("{changed} were changed; run it again to go on"))?;
        }
        drop(progress);
        print(&format!("{seen} looked at, {changed} changed"));
        Ok(ExitCode::SUCCESS)
    })
    .await
}

async fn walk(
    app: &App,
    tenant: &TenantId,
    seen: &mut usize,
    changed: &mut usize,
    progress: &mut Progress,
) -> anyhow::Result<()> {
    let mut after = None;
    loop {
        let step = app.reresolve(tenant, after.as_ref(), Deadline::within(STEP_TIMEOUT)).await?;
        *seen += step.seen;
        *changed += step.changed;
        progress.show(None, format_args!("{seen} looked at, {changed} changed"));
        match step.next {
            Some(next) => after = Some(next),
            None => return Ok(()),
        }
    }
}
