//! Keys that all instances share.

use async_trait::async_trait;
use profile_ports::{Deadline, SecretKey, Secrets, StoreError};
use tokio_postgres::types::Type;

use crate::{
    PostgresStore,
    error::{Trouble, leaves_connection_sound, trouble},
    pool::bounded,
    row::{corrupt, get},
    statement::{Statement, durably},
};

static VALID: Statement = Statement::new("secrets_valid", "SELECT id, key FROM secrets ORDER BY id DESC LIMIT 2", &[]);

static MAKE_FIRST: Statement = Statement::new(
    "secrets_make_first",
    concat!(
        "INSERT INTO secrets (id, key) SELECT 1, $1 WHERE NOT EXISTS (SELECT FROM secrets) ON CONFLICT DO NOTHING RETURNING ",
        durably!()
    ),
    &[Type::BYTEA],
);

/// The deletion doesn't see the new row, and keeps the one before it.
static ROTATE: Statement = Statement::new(
    "secrets_rotate",
    concat!(
        "WITH added AS (
             INSERT INTO secrets (id, key)
             SELECT coalesce(max(id), 0) + 1, $1 FROM secrets
             RETURNING id, ",
        durably!(),
        ")
         DELETE FROM secrets WHERE id < (SELECT id FROM added) - 1"
    ),
    &[Type::BYTEA],
);

#[async_trait]
impl Secrets for PostgresStore {
    async fn secrets(&self, candidate: [u8; 32], deadline: Deadline) -> Result<Vec<SecretKey>, StoreError> {
        let mut rows = self.pool.run(&VALID, &[], deadline).await?;
        if rows.is_empty() {
            self.pool.run(&MAKE_FIRST, &[&candidate.as_slice()], deadline).await?;
            rows = self.pool.run(&VALID, &[], deadline).await?;
        }
        let key = |row| {
            let id: i32 = get(row, "id")?;
            let bytes: &[u8] = get(row, "key")?;
            Ok(SecretKey { id: u32::try_from(id).map_err(corrupt)?, bytes: bytes.try_into().map_err(corrupt)? })
        };
        rows.iter().map(key).collect()
    }

    async fn rotate_secrets(&self, key: [u8; 32], deadline: Deadline) -> Result<(), StoreError> {
        bounded(deadline, async {
            loop {
                let lease = self.pool.lease().await?;
                let Err(error) = lease.query(&ROTATE, &[&key.as_slice()]).await else {
                    lease.keep();
                    return Ok(());
                };
                if leaves_connection_sound(&error) {
                    lease.keep();
                }
                match trouble(error) {
                    // Somebody else rotates at the same time and took the number.
                    Trouble::Duplicate(_) => {}
                    trouble => return Err(trouble.into()),
                }
            }
        })
        .await
    }
}
