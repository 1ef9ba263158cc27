//! `export`: all profiles of one tenant or of all, to a file.

use std::process::ExitCode;

use futures_util::StreamExt;
use profile_application::{App, Deadline};
use profile_domain::TenantId;

use super::{
    STEP_TIMEOUT,
    files::{Output, is_standard},
    progress::Progress,
    tenant_line, with_store,
};
use crate::{cli, config::Config, print};

pub(crate) async fn export(config: &Config, options: &cli::Export) -> anyhow::Result<ExitCode> {
    with_store(config, async |_, app| {
        let tenants = match (&options.tenant, options.all_tenants) {
            (_, true) => app.tenants(Deadline::within(STEP_TIMEOUT)).await?,
            (Some(tenant), false) => vec![tenant.clone()],
            (None, false) => vec![TenantId::default_tenant()],
        };
        let mut output = Output::create(&options.file)?;
        let mut progress = Progress::new("exporting");
        let mut profiles = 0;
        for tenant in &tenants {
            if options.all_tenants {
                output.write(tenant_line(tenant).as_bytes())?;
            }
            write(app, tenant, &mut output, &mut progress, &mut profiles).await?;
        }
        output.finish(&options.file)?;
        drop(progress);
        if !is_standard(&options.file) {
            print(&format!("{profiles} profiles, those that were deleted included, of {} tenants", tenants.len()));
        }
        Ok(ExitCode::SUCCESS)
    })
    .await
}

async fn write(
    app: &App,
    tenant: &TenantId,
    output: &mut Output,
    progress: &mut Progress,
    profiles: &mut u64,
) -> anyhow::Result<()> {
    let mut lines = app.export_profiles(tenant, Deadline::within(STEP_TIMEOUT)).await?;
    while let Some(line) = lines.next().await {
        output.write(&line?)?;
        *profiles += 1;
        progress.show(None, format_args!("{profiles} profiles"));
    }
    Ok(())
}
