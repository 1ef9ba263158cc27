//! Webhooks: telling someone else's server, at an address that a client named.
//!
//! Every call is signed as Standard Webhooks 1.0 says (<https://www.standardwebhooks.com>), with its tenant's secret. The id of a
//! message is the same for every attempt at it, so that whoever gets one twice knows.

use async_trait::async_trait;
use bytes::Bytes;
use profile_domain::{Moment, TenantId};
use thiserror::Error;

use crate::{BoxError, Deadline};

/// What is sent.
#[derive(Clone, Debug)]
pub struct Call<'a> {
    /// Whose secret signs it.
    pub tenant: &'a TenantId,
    /// Names the message: letters, digits, `_` and `-`.
    pub id: &'a str,
    /// Where to.
    pub url: &'a str,
    /// When this attempt is made.
    pub at: Moment,
    /// JSON.
    pub body: Bytes,
}

/// Why a call didn't succeed.
#[derive(Debug, Error)]
pub enum WebhookError {
    /// The tenant has no secret to sign with.
    #[error("the tenant has no webhook secret")]
    NoSecret,
    /// The address is no URL of a kind that is called, or may not be connected to. It stays so.
    #[error("the address may not be called")]
    Forbidden(#[source] BoxError),
    /// It can't be connected to, or went away before it answered.
    #[error("the address can't be reached")]
    Unreachable(#[source] BoxError),
    /// It didn't answer in time. It may have heard.
    #[error("no answer came in time")]
    TimedOut,
    /// It answered with another status than 2xx; a redirect isn't followed.
    #[error("the answer was status {0}")]
    Status(u16),
}

impl WebhookError {
    /// Whether trying again may help.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        match self {
            Self::NoSecret | Self::Forbidden(_) => false,
            Self::Unreachable(_) | Self::TimedOut => true,
            // It is gone for good.
            Self::Status(status) => *status != 410,
        }
    }
}

/// Calls others.
#[async_trait]
pub trait Webhooks: Send + Sync {
    /// Checks what can be known of a call before it is made: that there is a secret, and that the address isn't forbidden as it
    /// is written. A name may still lead where nothing may connect.
    ///
    /// # Errors
    /// [`WebhookError::NoSecret`], [`WebhookError::Forbidden`].
    fn check(&self, tenant: &TenantId, url: &str) -> Result<(), WebhookError>;

    /// Makes a call, once. The answer's status is all that is read of it.
    ///
    /// # Errors
    /// See [`WebhookError`].
    async fn send(&self, call: &Call<'_>, deadline: Deadline) -> Result<(), WebhookError>;
}
