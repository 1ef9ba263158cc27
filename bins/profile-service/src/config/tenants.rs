//! What is set for each tenant. It is too much for a variable, so only a file has it:
//!
//! ```toml
//! [tenants.acme]
//! webhook_secret = "whsec_…"   # or a list, the newest first, while they are exchanged
//! ```

use std::collections::HashMap;

use profile_domain::TenantId;
use profile_upstream::webhooks::WebhookSecret;
use toml::Value;

use super::{ConfigError, Source};

/// The secrets by which a tenant's webhooks are signed, the newest first.
pub(super) fn read(source: &Source) -> Result<HashMap<TenantId, Vec<WebhookSecret>>, ConfigError> {
    let Some((table, file)) = &source.tenants else { return Ok(HashMap::new()) };
    let mut tenants = HashMap::new();
    for (name, value) in table {
        let place = format!("tenants.{name}");
        let tenant = TenantId::parse(name).map_err(|error| ConfigError::new(format!("{place} in {file}: {error}")))?;
        let Value::Table(settings) = value else {
            return Err(ConfigError::new(format!("{place} in {file} must be a table, such as [tenants.acme]")));
        };
        if let Some(unknown) = settings.keys().find(|key| *key != "webhook_secret") {
            return Err(ConfigError::new(format!(
                "{place}.{unknown} in {file} is no setting; [{place}] may hold webhook_secret"
            )));
        }
        let wrong = || {
            let allowed = "whsec_ and the base64 of 24–64 random bytes, or a list of such";
            ConfigError::new(format!("{place}.webhook_secret in {file} is (hidden); allowed is {allowed}"))
        };
        let secret = |value: &Value| value.as_str().and_then(|text| WebhookSecret::parse(text).ok()).ok_or_else(wrong);
        let secrets = match settings.get("webhook_secret") {
            None => Vec::new(),
            Some(Value::Array(several)) => several.iter().map(secret).collect::<Result<_, _>>()?,
            Some(one) => vec![secret(one)?],
        };
        tenants.insert(tenant, secrets);
    }
    Ok(tenants)
}
