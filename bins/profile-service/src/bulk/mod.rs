//! `import`, `export`, `reresolve`: commands that take their time, beside a server or without one.

mod export;
mod files;
mod import;
mod progress;
mod reresolve;
mod restore;

use std::{process::ExitCode, time::Duration};

use profile_application::App;
use profile_domain::TenantId;
use prometheus::Registry;
use serde_json::{Value, json};

use crate::{
    caches,
    config::Config,
    serve,
    store::{Opened, Purpose},
};

pub(crate) use export::export;
pub(crate) use import::import;
pub(crate) use progress::Progress;
pub(crate) use reresolve::reresolve;

/// How long the store may take over one step, such as a changeset of a few thousand.
const STEP_TIMEOUT: Duration = Duration::from_secs(30);

/// Opens the configured store for a command, and closes it however that ends.
async fn with_store(
    config: &Config,
    work: impl AsyncFnOnce(&Opened, &App) -> anyhow::Result<ExitCode>,
) -> anyhow::Result<ExitCode> {
    let registry = Registry::new();
    let opened = Opened::open(config, Purpose::Command, caches::redis(config, &registry)?, &registry).await?;
    let result = work(&opened, &serve::app(&opened, config)).await;
    opened.close().await;
    result
}

/// In a file of all tenants: the line before those of a tenant.
fn tenant_line(tenant: &TenantId) -> String {
    format!("{}\n", json!({"tenant": tenant.as_str()}))
}

/// Reads such a line; `None` for any other.
fn parse_tenant_line(line: &[u8]) -> Option<anyhow::Result<TenantId>> {
    // Lines of profiles are long, and none begins like this, since members are sorted.
    let begins = line.trim_ascii_start().strip_prefix(b"{")?.trim_ascii_start().starts_with(b"\"tenant\"");
    let value: Value = begins.then(|| serde_json::from_slice(line).ok())??;
    Some(TenantId::parse(value["tenant"].as_str().unwrap_or_default()).map_err(Into::into))
}
