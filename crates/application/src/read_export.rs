//! `GET /api/v1/exports/{id}`: what a `profile.export` task wrote, for whoever has its link.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use profile_domain::{Moment, Task, TaskId, TaskStatus, TenantId};
use profile_ports::{Deadline, ObjectError, ObjectKey, StoreError, objects::Object};
use thiserror::Error;

use crate::{App, keyring::SIGNATURE_BYTES, tasks::is_export};

/// For how long a link can be used.
const VALID: Duration = Duration::from_hours(1);
/// Longer than any signature made here.
const MAX_SIGNATURE_CHARS: usize = 256;
/// The key's id, and the signature; the tenant's name follows.
const HEAD_BYTES: usize = 4 + SIGNATURE_BYTES;

/// A link to an export. Whoever has it can fetch it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportLink {
    /// Seconds since 1970 after which it can't be used any more.
    pub expires: i64,
    /// Says that this was given here, and whose export it is.
    pub signature: String,
}

/// Why there is no export.
#[derive(Debug, Error)]
pub enum ExportError {
    /// The link wasn't made here, or was altered.
    #[error("the link is not valid: read the task again for a new one")]
    Invalid,
    /// It was valid.
    #[error("the link has expired: read the task again for a new one")]
    Expired,
    /// There is nothing any more.
    #[error("the export is not there any more")]
    NotFound,
    /// Where exports are kept can't be reached.
    #[error(transparent)]
    Objects(#[from] ObjectError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What an export is called.
pub(crate) fn key(task: TaskId) -> Option<ObjectKey> {
    ObjectKey::parse(&format!("exports/{task}.ndjson")).ok()
}

impl App {
    /// A link to what a task has written, if it has written something.
    ///
    /// # Errors
    /// The store's, where the secrets are not known yet.
    pub async fn export_link(
        &self,
        tenant: &TenantId,
        task: &Task,
        deadline: Deadline,
    ) -> Result<Option<ExportLink>, StoreError> {
        if task.status != TaskStatus::Succeeded || !is_export(task.task_type.as_str()) {
            return Ok(None);
        }
        self.keyring.load(&*self.store, self.environment.new_secret, deadline).await?;
        let valid = i64::try_from(VALID.as_secs()).unwrap_or(i64::MAX);
        let expires = seconds((self.environment.now)()).saturating_add(valid);
        let Some((key, signature)) = self.keyring.sign(&signed(tenant, task.id, expires)) else { return Ok(None) };
        let parts: [&[u8]; 3] = [&key.to_be_bytes(), &signature, tenant.as_str().as_bytes()];
        Ok(Some(ExportLink { expires, signature: URL_SAFE_NO_PAD.encode(parts.concat()) }))
    }

    /// What a link leads to. The link says whose it is: whoever follows one need not say so.
    ///
    /// # Errors
    /// See [`ExportError`].
    pub async fn read_export(&self, id: TaskId, link: &ExportLink, deadline: Deadline) -> Result<Object, ExportError> {
        let sealed = Some(&link.signature).filter(|text| text.len() <= MAX_SIGNATURE_CHARS);
        let sealed = sealed.and_then(|text| URL_SAFE_NO_PAD.decode(text).ok()).filter(|sealed| sealed.len() > HEAD_BYTES);
        let sealed = sealed.ok_or(ExportError::Invalid)?;
        let (head, tenant) = sealed.split_at(HEAD_BYTES);
        let key_id = u32::from_be_bytes([head[0], head[1], head[2], head[3]]);
        let tenant = std::str::from_utf8(tenant).ok().and_then(|tenant| TenantId::parse(tenant).ok());
        let tenant = tenant.ok_or(ExportError::Invalid)?;
        self.keyring.load(&*self.store, self.environment.new_secret, deadline).await?;
        if !self.keyring.knows(key_id) {
            self.keyring.reload(&*self.store, self.environment.new_secret, deadline).await?;
        }
        if !self.keyring.verify(key_id, &signed(&tenant, id, link.expires), &head[4..]) {
            return Err(ExportError::Invalid);
        }
        if link.expires < seconds((self.environment.now)()) {
            return Err(ExportError::Expired);
        }
        let objects = self.work.objects.as_ref().ok_or(ExportError::NotFound)?;
        let key = key(id).ok_or(ExportError::NotFound)?;
        objects.get(&tenant, &key, None).await?.ok_or(ExportError::NotFound)
    }
}

fn seconds(at: Moment) -> i64 {
    at.as_micros().div_euclid(1_000_000)
}

fn signed(tenant: &TenantId, id: TaskId, expires: i64) -> Vec<u8> {
    // The name of a tenant has no zero byte.
    let parts: [&[u8]; 5] = [b"export", tenant.as_str().as_bytes(), &[0], id.0.as_bytes(), &expires.to_be_bytes()];
    parts.concat()
}
