//! actix + redis: ready JSON, over one multiplexed connection for each worker.

use actix_web::web::{self, Data, Path, ServiceConfig};
use anyhow::Result;
use redis::{AsyncCommands, Client, aio::MultiplexedConnection};
use tokio::sync::OnceCell;

use super::{Answer, failed, json, rows::Document};

/// Keys of a pipeline while it is filled.
const CHUNK: u64 = 1_000;

/// What a worker has to itself.
struct Worker {
    client: Client,
    connection: OnceCell<MultiplexedConnection>,
}

/// Puts the answers for profiles `0..count` there.
pub(super) fn fill(client: &Client, count: u64) -> Result<()> {
    let mut connection = client.get_connection()?;
    for start in (0..count).step_by(usize::try_from(CHUNK)?) {
        let mut pipeline = redis::pipe();
        for number in start..count.min(start + CHUNK) {
            let (document, rows) = Document::numbered(number)?;
            pipeline.set(key(&rows.reference.to_string()), document.ready(&rows, "cache")).ignore();
        }
        pipeline.query::<()>(&mut connection)?;
    }
    Ok(())
}

fn key(id: &str) -> String {
    format!("ready:{id}")
}

pub(super) fn configure(config: &mut ServiceConfig, client: &Client) {
    let worker = Worker { client: client.clone(), connection: OnceCell::new() };
    config.app_data(Data::new(worker)).route("/api/v1/profiles/{id}", web::get().to(read));
}

async fn read(worker: Data<Worker>, id: Path<String>) -> Answer {
    let connect = || worker.client.get_multiplexed_async_connection();
    let mut connection = worker.connection.get_or_try_init(connect).await.map_err(failed)?.clone();
    let body: Vec<u8> = connection.get(key(&id)).await.map_err(failed)?;
    Ok(json(body))
}
