//! `import --restore`: an export back into tenants that are empty. Every line is checked before the first is written.

use std::{collections::HashSet, path::Path, process::ExitCode};

use anyhow::{Context, bail};
use profile_application::{App, Deadline, RestoreCheck};
use profile_domain::TenantId;

use super::{STEP_TIMEOUT, files::Lines, parse_tenant_line, progress::Progress};
use crate::print;

pub(super) async fn restore(app: &App, file: &Path, tenant: Option<TenantId>, all: bool) -> anyhow::Result<ExitCode> {
    let mut lines = Lines::open(file)?;
    let first = (!all).then(|| tenant.unwrap_or_else(TenantId::default_tenant));
    let tenants = check(&mut lines, first.clone())?;
    for tenant in &tenants {
        // Says that it isn't empty before any other is written to.
        app.restore(tenant, Deadline::within(STEP_TIMEOUT)).await.with_context(|| format!("tenant {tenant}"))?;
    }
    lines.rewind()?;
    let profiles = write(app, &mut lines, first).await?;
    print(&format!("{profiles} profiles restored, those that were deleted included, of {} tenants", tenants.len()));
    Ok(ExitCode::SUCCESS)
}

/// The tenants of the file. Without one to begin with, the file says whose each line is.
fn check(lines: &mut Lines, mut tenant: Option<TenantId>) -> anyhow::Result<Vec<TenantId>> {
    let one = tenant.is_some();
    let (mut seen, mut progress) = (HashSet::new(), Progress::new("checking"));
    let mut tenants: Vec<TenantId> = tenant.iter().cloned().collect();
    let mut check = RestoreCheck::default();
    let size = lines.size;
    loop {
        let position = lines.position;
        let Some((number, line)) = lines.next()? else { return Ok(tenants) };
        if let Some(named) = parse_tenant_line(line) {
            let named = named.with_context(|| format!("line {number}"))?;
            if one {
                bail!("line {number}: the file has tenants; give --all-tenants");
            }
            if !seen.insert(named.clone()) {
                bail!("line {number}: tenant {named} comes twice");
            }
            tenants.push(named.clone());
            (tenant, check) = (Some(named), RestoreCheck::default());
        } else if tenant.is_none() {
            bail!("line {number}: before it, a line such as {{\"tenant\":\"default\"}} must say whose it is");
        } else {
            check.line(number, line)?;
        }
        progress.show(Some((position, size)), format_args!("{number} lines"));
    }
}

async fn write(app: &App, lines: &mut Lines, tenant: Option<TenantId>) -> anyhow::Result<u64> {
    let deadline = || Deadline::within(STEP_TIMEOUT);
    let mut restore = match tenant {
        Some(tenant) => Some(app.restore(&tenant, deadline()).await?),
        None => None,
    };
    let (mut profiles, mut progress, size) = (0_u64, Progress::new("restoring"), lines.size);
    loop {
        let position = lines.position;
        let Some((number, line)) = lines.next()? else { break };
        if let Some(named) = parse_tenant_line(line) {
            if let Some(before) = restore.take() {
                before.end(deadline()).await?;
            }
            restore = Some(app.restore(&named?, deadline()).await?);
        } else if let Some(restore) = &mut restore {
            restore.take(number, line, deadline()).await?;
            profiles += 1;
        }
        progress.show(Some((position, size)), format_args!("{profiles} profiles"));
    }
    if let Some(last) = restore {
        last.end(deadline()).await?;
    }
    Ok(profiles)
}
