//! Keys for signing, made once.

use async_trait::async_trait;
use profile_domain::stored::Malformed;
use profile_ports::{Deadline, SecretKey, Secrets, StoreError};
use rusqlite::Connection;

use crate::{SqliteStore, error::Failure};

const SELECT: &str = "SELECT id, key FROM secrets ORDER BY id DESC LIMIT 2";
const INSERT_FIRST: &str = "INSERT INTO secrets (key) SELECT ?1 WHERE NOT EXISTS (SELECT 1 FROM secrets)";
const INSERT: &str = "INSERT INTO secrets (key) VALUES (?1)";
/// The row with the highest id always stays, so ids ascend without AUTOINCREMENT.
const DROP_OLD: &str = "DELETE FROM secrets WHERE id NOT IN (SELECT id FROM secrets ORDER BY id DESC LIMIT 2)";

#[async_trait]
impl Secrets for SqliteStore {
    async fn secrets(&self, candidate: [u8; 32], deadline: Deadline) -> Result<Vec<SecretKey>, StoreError> {
        let known = self.readers.take(deadline).await?.read("secrets", select)?;
        if !known.is_empty() {
            return Ok(known);
        }
        let keep = move |connection: &Connection| {
            connection.prepare_cached(INSERT_FIRST).and_then(|mut insert| insert.execute([candidate])).map_err(Failure::Sql)?;
            Ok(select(connection)?)
        };
        self.writer.submit(1, deadline, keep).await
    }

    async fn rotate_secrets(&self, key: [u8; 32], deadline: Deadline) -> Result<(), StoreError> {
        let rotate = move |connection: &Connection| {
            connection.prepare_cached(INSERT)?.execute([key])?;
            connection.prepare_cached(DROP_OLD)?.execute([])?;
            Ok::<_, Failure>(())
        };
        self.writer.submit(1, deadline, move |connection| Ok(rotate(connection)?)).await
    }
}

fn select(connection: &Connection) -> Result<Vec<SecretKey>, Failure> {
    let mut statement = connection.prepare_cached(SELECT)?;
    let mut rows = statement.query([])?;
    let mut keys = Vec::new();
    while let Some(row) = rows.next()? {
        let id = u32::try_from(row.get::<_, i64>(0)?).map_err(|_| Malformed("secret"))?;
        keys.push(SecretKey { id, bytes: row.get(1)? });
    }
    Ok(keys)
}
