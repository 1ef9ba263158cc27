//! Changesets that happen once: the row of their key is the first that a transaction inserts.

use profile_domain::{Idempotency, Receipt, stored::receipt_from_json};
use profile_ports::{CommitError, StoreError};
use tokio_postgres::types::{Json, Type};

use crate::{
    commit::{Commit, Setback, setback, trouble_or_broken},
    error::Trouble,
    pool::Lease,
    row::{corrupt, get},
    statement::Statement,
};

pub(crate) static CLAIM_KEY: Statement = Statement::new(
    "idempotency_claim",
    include_str!("sql/claim_key.sql"),
    &[Type::TEXT, Type::TEXT, Type::TEXT, Type::BYTEA, Type::TEXT, Type::TEXT, Type::TIMESTAMPTZ],
);

static READ_KEY: Statement = Statement::new(
    "idempotency_read",
    "SELECT fingerprint, receipt FROM idempotency_keys WHERE tenant = $1 AND route = $2 AND key = $3",
    &[Type::TEXT, Type::TEXT, Type::TEXT],
);

impl Commit<'_> {
    /// Whether the key is new. Waits for another changeset that has claimed it and not ended.
    pub(crate) async fn claim_key(&self, lease: &Lease<'_>) -> Result<bool, Setback> {
        let Some(Idempotency { route, key, fingerprint }) = &self.changeset.idempotency else { return Ok(true) };
        let entity = self.changeset.kept_with();
        let entity_type = entity.as_ref().map_or("", |key| key.entity_type.as_str());
        let reference = entity.as_ref().map_or("", |key| key.reference.as_str());
        let now = jiff::Timestamp::from(self.changeset.now);
        let (tenant, fingerprint) = (self.tenant.as_str(), fingerprint.as_slice());
        let rows = lease.query(&CLAIM_KEY, &[&tenant, route, key, &fingerprint, &entity_type, &reference, &now]).await;
        match rows.map_err(trouble_or_broken) {
            Ok(rows) => Ok(!rows.is_empty()),
            Err(Ok(Trouble::LockTimeout(_))) => Err(Setback::Ended(CommitError::InProgress)),
            Err(Ok(trouble)) => Err(setback(trouble)),
            Err(Err(error)) => Err(self.setback(error)),
        }
    }

    /// What was answered when the idempotency key was used first. The transaction has written nothing, and is undone.
    pub(crate) async fn replay(&self, lease: &Lease<'_>) -> Result<Receipt, Setback> {
        let Some(Idempotency { route, key, fingerprint }) = &self.changeset.idempotency else {
            return Err(Setback::Broken(corrupt("no key was claimed").into()));
        };
        let rows = lease.query(&READ_KEY, &[&self.tenant.as_str(), route, key]).await.map_err(|error| self.setback(error))?;
        let Some(row) = rows.first() else {
            // Claimed before and removed since, in an instant: keys are kept for a day.
            return Err(Setback::Ended(CommitError::InProgress));
        };
        let read = || {
            let known: &[u8] = get(row, "fingerprint")?;
            let receipt: Option<Json<serde_json::Value>> = get(row, "receipt")?;
            let receipt = receipt.map(|Json(receipt)| receipt);
            Ok((known == fingerprint, receipt_from_json(receipt.as_ref()).map_err(corrupt)?))
        };
        match read() {
            Ok((true, receipt)) => {
                lease.batch("rollback", "ROLLBACK").await.map_err(|error| self.setback(error))?;
                Ok(receipt)
            }
            Ok((false, _)) => Err(Setback::Ended(CommitError::KeyReused)),
            Err(error) => Err(Setback::Ended(StoreError::into(error))),
        }
    }
}
