//! Webhooks as Standard Webhooks 1.0 describes them, over the guarded client.
//!
//! What is signed is `<id>.<seconds>.<body>`, by HMAC-SHA256 with each of the tenant's secrets, so that a receiver may know the old
//! one or the new one while they are exchanged. Of the answer the head is read, which hyper bounds, and never the body.

use std::{collections::HashMap, fmt, time::Duration};

use async_trait::async_trait;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use profile_domain::TenantId;
use profile_ports::{
    Deadline,
    webhooks::{Call, WebhookError, Webhooks},
};
use reqwest::{Method, header::CONTENT_TYPE};
use sha2::Sha256;
use thiserror::Error;
use url::Url;

use crate::guard::{Guarded, Refused};

/// How long a call may take, whatever the deadline: what the specification recommends lies between 15 and 30 s.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(15);

const PREFIX: &str = "whsec_";

/// A key that signs. It can't be printed.
#[derive(Clone)]
pub struct WebhookSecret(Box<[u8]>);

/// The text is no secret.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("a webhook secret must be whsec_ and the base64 of 24–64 random bytes")]
pub struct WebhookSecretError;

impl WebhookSecret {
    /// From `whsec_…`.
    ///
    /// # Errors
    /// [`WebhookSecretError`], which doesn't hold the text.
    pub fn parse(text: &str) -> Result<Self, WebhookSecretError> {
        let key = text.strip_prefix(PREFIX).and_then(|text| STANDARD.decode(text).ok());
        let key = key.filter(|key| (24..=64).contains(&key.len()));
        key.map(|key| Self(key.into())).ok_or(WebhookSecretError)
    }

    fn sign(&self, id: &str, seconds: i64, body: &[u8]) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("any length of key will do");
        mac.update(format!("{id}.{seconds}.").as_bytes());
        mac.update(body);
        format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
    }
}

impl fmt::Debug for WebhookSecret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("WebhookSecret")
    }
}

/// Sends webhooks.
#[derive(Debug)]
pub struct HttpWebhooks {
    client: Guarded,
    secrets: HashMap<TenantId, Vec<WebhookSecret>>,
    timeout: Duration,
}

impl HttpWebhooks {
    /// Over a client whose reach says which addresses are allowed, with each tenant's secrets, the newest first.
    #[must_use]
    pub fn new(client: Guarded, secrets: HashMap<TenantId, Vec<WebhookSecret>>, timeout: Duration) -> Self {
        Self { client, secrets, timeout }
    }

    fn secrets(&self, tenant: &TenantId) -> Result<&[WebhookSecret], WebhookError> {
        self.secrets.get(tenant).map(Vec::as_slice).filter(|secrets| !secrets.is_empty()).ok_or(WebhookError::NoSecret)
    }
}

#[async_trait]
impl Webhooks for HttpWebhooks {
    fn check(&self, tenant: &TenantId, url: &str) -> Result<(), WebhookError> {
        self.secrets(tenant)?;
        self.client.request(Method::POST, parse(url)?).map(|_| ()).map_err(|refused| WebhookError::Forbidden(refused.into()))
    }

    async fn send(&self, call: &Call<'_>, deadline: Deadline) -> Result<(), WebhookError> {
        let seconds = call.at.as_micros().div_euclid(1_000_000);
        let signatures = self.secrets(call.tenant)?.iter().map(|secret| secret.sign(call.id, seconds, &call.body));
        let signatures = signatures.collect::<Vec<_>>().join(" ");
        let request = self.client.request(Method::POST, parse(call.url)?);
        let request = request.map_err(|refused| WebhookError::Forbidden(refused.into()))?;
        let answering = request
            .header(CONTENT_TYPE, "application/json")
            .header("webhook-id", call.id)
            .header("webhook-timestamp", seconds)
            .header("webhook-signature", signatures)
            .body(call.body.clone())
            .send();
        let answer = tokio::time::timeout(deadline.at_most(self.timeout).remaining(), answering).await;
        match answer.map_err(|_| WebhookError::TimedOut)? {
            Ok(answer) if answer.status().is_success() => Ok(()),
            Ok(answer) => Err(WebhookError::Status(answer.status().as_u16())),
            Err(error) => Err(match Refused::in_error(&error) {
                Some(refused) => WebhookError::Forbidden(refused.into()),
                // Its text has the URL in it, which is the client's; the causes are enough.
                None => WebhookError::Unreachable(error.without_url().into()),
            }),
        }
    }
}

fn parse(url: &str) -> Result<Url, WebhookError> {
    Url::parse(url).map_err(|error| WebhookError::Forbidden(error.into()))
}

#[cfg(test)]
mod tests {
    use super::{WebhookSecret, WebhookSecretError};

    #[test]
    fn secrets_are_checked_and_never_shown() {
        let secret = WebhookSecret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").expect("a secret");
        assert_eq!(format!("{secret:?}"), "WebhookSecret");
        let long = format!("whsec_{}", "A".repeat(88));
        for wrong in
            ["", "whsec_", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_c2hvcnQ=", "whsec_MfKQ9r8GKYqr?wjUPD8ILPZIo2LaLaSw", &long]
        {
            assert_eq!(WebhookSecret::parse(wrong).expect_err(wrong), WebhookSecretError);
        }
    }
}
