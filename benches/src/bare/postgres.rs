//! actix + deadpool + tokio-postgres.

use std::time::Duration;

use actix_web::web::{self, Bytes, Data, Path, ServiceConfig};
use anyhow::Result;
use deadpool_postgres::{Manager, ManagerConfig, Object, Pool, RecyclingMethod};
use tokio_postgres::{NoTls, types::Json};

use super::{
    Answer, POOL_SIZE, accepted, created, failed, json,
    rows::{Document, Listed, Listing, Submission, TENANT, TYPE, new_id, now},
};

const READY: &str = "SELECT body FROM bench_ready WHERE reference = $1";
const LIST: &str = "SELECT reference, version, created_at, updated_at, properties::text FROM entities
WHERE tenant = $1 AND type = $2 AND id > 0 AND id IS NOT NULL ORDER BY id LIMIT 200";
const PLAIN: &str = "INSERT INTO bench_plain (id, version, created_at, updated_at, profile) VALUES ($1, 1, $2, $2, $3)";
const CREATE: &str = "WITH entity AS (
    INSERT INTO entities (tenant, type, reference, id, version, created_at, updated_at, rules_revision, name_key, properties, provenance)
    VALUES ($1, $2, $3, nextval('entity_ids'), 1, $4, $4, 0, $5, $6, $7)
    RETURNING id
), reservation AS (
    INSERT INTO profile_emails (tenant, email_key, reference) VALUES ($1, $8, $3)
), found_by AS (
    INSERT INTO entity_values (tenant, key, entity) SELECT $1, key, entity.id FROM entity, unnest($9::bigint[]) AS added (key)
)
INSERT INTO feed (tenant, type, reference, entity, version, kind, changes, at)
SELECT $1, $2, $3, entity.id, 1, 'created', $10, $4 FROM entity";

const SUBMIT: &str = "INSERT INTO tasks (tenant, id, type, status, payload, run_at, created_at, max_attempts, last_attempt)
SELECT $1, $2, $3, 'scheduled', $4, now + interval '1 day', now, 5, 5 FROM (SELECT clock_timestamp() AS now) AS clock
RETURNING run_at, created_at";

pub(super) fn pool(url: &str) -> Result<Pool> {
    let config = ManagerConfig { recycling_method: RecyclingMethod::Fast };
    let manager = Manager::from_config(url.parse()?, NoTls, config);
    let timeout = Some(Duration::from_secs(10));
    Ok(Pool::builder(manager)
        .max_size(POOL_SIZE)
        .runtime(deadpool_postgres::Runtime::Tokio1)
        .wait_timeout(timeout)
        .create_timeout(timeout)
        .build()?)
}

pub(super) fn configure(config: &mut ServiceConfig, pool: &Pool) {
    config
        .app_data(Data::new(pool.clone()))
        .route("/api/v1/profiles/{id}", web::get().to(read))
        .route("/api/v1/profiles", web::get().to(list))
        .route("/api/v1/profiles", web::post().to(create))
        .route("/api/v1/tasks/delayed", web::post().to(submit))
        .route("/plain", web::post().to(create_plain));
}

async fn client(pool: &Pool) -> Result<Object, actix_web::Error> {
    pool.get().await.map_err(failed)
}

async fn read(pool: Data<Pool>, id: Path<String>) -> Answer {
    let client = client(&pool).await?;
    let statement = client.prepare_cached(READY).await.map_err(failed)?;
    let row = client.query_one(&statement, &[&*id]).await.map_err(failed)?;
    Ok(json(row.get::<_, String>(0)))
}

async fn list(pool: Data<Pool>) -> Answer {
    let client = client(&pool).await?;
    let statement = client.prepare_cached(LIST).await.map_err(failed)?;
    let rows = client.query(&statement, &[&TENANT, &TYPE]).await.map_err(failed)?;
    let mut listing = Listing::new();
    for row in &rows {
        let (reference, version, created_at, updated_at, properties) =
            (row.get(0), row.get(1), row.get(2), row.get(3), row.get(4));
        listing.push(&Listed { reference, version, created_at, updated_at, properties }).map_err(failed)?;
    }
    Ok(json(listing.end()))
}

async fn create(pool: Data<Pool>, body: Bytes) -> Answer {
    let document: Document = serde_json::from_slice(&body).map_err(failed)?;
    let rows = document.rows(new_id(), now());
    let client = client(&pool).await?;
    let statement = client.prepare_cached(CREATE).await.map_err(failed)?;
    client
        .execute(
            &statement,
            &[
                &TENANT,
                &TYPE,
                &rows.reference.to_string(),
                &rows.at,
                &rows.name_key,
                &Json(&rows.properties),
                &Json(&rows.provenance),
                &rows.email_key,
                &rows.keys,
                &Json(&rows.changes),
            ],
        )
        .await
        .map_err(failed)?;
    Ok(created(document.answer(rows.reference, rows.at)))
}

/// Nothing but the profile.
async fn create_plain(pool: Data<Pool>, body: Bytes) -> Answer {
    let document: Document = serde_json::from_slice(&body).map_err(failed)?;
    let (id, at) = (new_id(), now());
    let client = client(&pool).await?;
    let statement = client.prepare_cached(PLAIN).await.map_err(failed)?;
    client.execute(&statement, &[&id, &at, &Json(&document)]).await.map_err(failed)?;
    Ok(created(document.answer(id, at)))
}

async fn submit(pool: Data<Pool>, body: Bytes) -> Answer {
    let task: Submission<'_> = serde_json::from_slice(&body).map_err(failed)?;
    let id = new_id();
    let client = client(&pool).await?;
    let statement = client.prepare_cached(SUBMIT).await.map_err(failed)?;
    let row = client.query_one(&statement, &[&TENANT, &id, &task.task_type, &Json(&task.payload)]).await.map_err(failed)?;
    Ok(accepted(&task.answer(id, row.get(0), row.get(1))))
}
