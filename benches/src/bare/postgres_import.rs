//! Many profiles at once into PostgreSQL: `COPY` to staging, then set-wise inserts of all the rows, by hand.

use std::pin::pin;

use anyhow::{Context, Result};
use tokio_postgres::{
    Client,
    binary_copy::BinaryCopyInWriter,
    types::{Json, Type},
};

use super::rows::{Document, Rows};

/// Profiles between two commits.
const CHUNK: u64 = 100_000;

const STAGING: &str = "CREATE TEMPORARY TABLE IF NOT EXISTS staging (
    reference text, at timestamptz, name_key text, email_key text, properties json, provenance json, changes json, keys bigint[],
    place bigint, id bigint
) ON COMMIT DELETE ROWS";
const COPY: &str = "COPY staging (reference, at, name_key, email_key, properties, provenance, changes, keys, place, id)
FROM STDIN (FORMAT binary)";
/// Numbers are drawn for a whole chunk, and the rows then go in in their order.
const RESERVE: &str =
    "SELECT setval('entity_ids', nextval('entity_ids') + $1 - 1, true) - $1 + 1 AS first FROM (SELECT 1) AS one";
const INSERTS: &str = "SET LOCAL work_mem = '256MB';
INSERT INTO entities (tenant, type, reference, id, version, created_at, updated_at, rules_revision, name_key, properties, provenance)
SELECT 'default', 'profile', reference, id, 1, at, at, 0, name_key, properties, provenance FROM staging ORDER BY reference;
INSERT INTO profile_emails (tenant, email_key, reference) SELECT 'default', email_key, reference FROM staging ORDER BY email_key;
INSERT INTO entity_values (tenant, key, entity)
SELECT 'default', key, id FROM staging, unnest(keys) AS added (key) ORDER BY key, id;
INSERT INTO feed (tenant, type, reference, entity, version, kind, changes, at)
SELECT 'default', 'profile', reference, id, 1, 'created', changes, at FROM staging ORDER BY place";

/// Profiles `0..count`, under the ids of [`crate::sample::reference`]; with `ready`, also the answers that the service will give.
pub(crate) async fn fill(client: &mut Client, count: u64, ready: bool) -> Result<()> {
    import(client, count, ready).await?;
    // As autovacuum would after a while: without it the first rounds would meet hint bits and visibility maps unset.
    client.batch_execute("VACUUM ANALYZE").await.context("VACUUM")?;
    client.batch_execute("CHECKPOINT").await.context("CHECKPOINT")
}

/// The same without what makes reading even.
pub(crate) async fn import(client: &mut Client, count: u64, ready: bool) -> Result<()> {
    client.batch_execute(STAGING).await?;
    if ready {
        client.batch_execute("CREATE TABLE bench_ready (reference text COLLATE \"C\" PRIMARY KEY, body text NOT NULL)").await?;
    }
    for start in (0..count).step_by(usize::try_from(CHUNK)?) {
        let numbers: Vec<u64> = (start..count.min(start + CHUNK)).collect();
        let profiles: Vec<(Document, Rows)> = numbers.iter().map(|number| Document::numbered(*number)).collect::<Result<_>>()?;
        let transaction = client.transaction().await?;
        let rows = i64::try_from(profiles.len())?;
        let first: i64 = transaction.query_one(RESERVE, &[&rows]).await?.get("first");
        stage(&transaction, &profiles, first).await?;
        transaction.batch_execute(INSERTS).await?;
        if ready {
            let insert = transaction.prepare("INSERT INTO bench_ready (reference, body) VALUES ($1, $2)").await?;
            for (document, rows) in &profiles {
                transaction.execute(&insert, &[&rows.reference.to_string(), &document.ready(rows, "database")]).await?;
            }
        }
        transaction.commit().await?;
    }
    Ok(())
}

/// The table of the program that keeps nothing but the profile.
pub(crate) async fn create_plain(client: &Client) -> Result<()> {
    let create = "CREATE TABLE bench_plain (id uuid PRIMARY KEY, version bigint NOT NULL, created_at timestamptz NOT NULL,
        updated_at timestamptz NOT NULL, profile json NOT NULL)";
    Ok(client.batch_execute(create).await?)
}

async fn stage(transaction: &tokio_postgres::Transaction<'_>, profiles: &[(Document, Rows)], first: i64) -> Result<()> {
    let types = [
        Type::TEXT,
        Type::TIMESTAMPTZ,
        Type::TEXT,
        Type::TEXT,
        Type::JSON,
        Type::JSON,
        Type::JSON,
        Type::INT8_ARRAY,
        Type::INT8,
        Type::INT8,
    ];
    let mut writer = pin!(BinaryCopyInWriter::new(transaction.copy_in(COPY).await?, &types));
    for (place, (_, rows)) in (0_i64..).zip(profiles) {
        let (reference, id) = (rows.reference.to_string(), first + place);
        let (properties, provenance, changes) = (Json(&rows.properties), Json(&rows.provenance), Json(&rows.changes));
        writer
            .as_mut()
            .write(&[
                &reference,
                &rows.at,
                &rows.name_key,
                &rows.email_key,
                &properties,
                &provenance,
                &changes,
                &rows.keys,
                &place,
                &id,
            ])
            .await?;
    }
    writer.finish().await?;
    Ok(())
}
