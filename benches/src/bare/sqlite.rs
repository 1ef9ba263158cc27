//! actix + rusqlite: a connection for each worker, its statements prepared once.

use std::{cell::RefCell, path::Path as FilePath};

use actix_web::web::{self, Bytes, Data, Path, ServiceConfig};
use jiff::Timestamp;
use rusqlite::{Connection, OpenFlags};
use tokio::sync::oneshot;

use super::{
    Answer, accepted, created, failed, json,
    rows::{Document, Listed, Listing, Submission, TENANT, TYPE, new_id, now},
    sqlite_writer::{Job, Work},
};

const READY: &str = "SELECT body FROM bench_ready WHERE reference = ?1";
const LIST: &str = "SELECT reference, version, created_at, updated_at, properties FROM entities
WHERE tenant = ?1 AND type = ?2 AND id > 0 AND id IS NOT NULL ORDER BY id LIMIT 200";

/// Used by one worker, which runs one thing at a time.
type Reader = RefCell<Connection>;

pub(super) fn configure(config: &mut ServiceConfig, path: &FilePath, writer: &flume::Sender<Job>) {
    #[expect(clippy::expect_used, reason = "without its file there is nothing to measure")]
    let reader = open(path).expect("the database can't be opened");
    config
        .app_data(Data::new(RefCell::new(reader)))
        .app_data(Data::new(writer.clone()))
        .route("/api/v1/profiles/{id}", web::get().to(read))
        .route("/api/v1/profiles", web::get().to(list))
        .route("/api/v1/profiles", web::post().to(create))
        .route("/api/v1/tasks/delayed", web::post().to(submit));
}

fn open(path: &FilePath) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.pragma_update(None, "cache_size", -8 * 1024)?;
    Ok(connection)
}

async fn read(reader: Data<Reader>, id: Path<String>) -> Answer {
    let connection = reader.borrow();
    let mut statement = connection.prepare_cached(READY).map_err(failed)?;
    Ok(json(statement.query_row([&*id], |row| row.get::<_, String>(0)).map_err(failed)?))
}

async fn list(reader: Data<Reader>) -> Answer {
    let connection = reader.borrow();
    let mut statement = connection.prepare_cached(LIST).map_err(failed)?;
    let mut rows = statement.query((TENANT, TYPE)).map_err(failed)?;
    let mut listing = Listing::new();
    while let Some(row) = rows.next().map_err(failed)? {
        let text = |column| row.get_ref(column).map_err(failed)?.as_str().map_err(failed);
        let moment = |column| Timestamp::from_microsecond(row.get(column).map_err(failed)?).map_err(failed);
        let (created_at, updated_at) = (moment(2)?, moment(3)?);
        let version = row.get(1).map_err(failed)?;
        listing.push(&Listed { reference: text(0)?, version, created_at, updated_at, properties: text(4)? }).map_err(failed)?;
    }
    Ok(json(listing.end()))
}

async fn create(writer: Data<flume::Sender<Job>>, body: Bytes) -> Answer {
    let document: Document = serde_json::from_slice(&body).map_err(failed)?;
    let rows = document.rows(new_id(), now());
    let answer = document.answer(rows.reference, rows.at);
    let (done, durable) = oneshot::channel();
    writer.send_async(Job::new(Work::of(rows), Some(done))).await.map_err(failed)?;
    match durable.await {
        Ok(true) => Ok(created(answer)),
        _ => Err(failed("not written")),
    }
}

async fn submit(writer: Data<flume::Sender<Job>>, body: Bytes) -> Answer {
    let task: Submission<'_> = serde_json::from_slice(&body).map_err(failed)?;
    let (id, at) = (new_id(), now());
    let run_at = at + jiff::SignedDuration::from_hours(24);
    let payload = serde_json::to_string(&task.payload).map_err(failed)?;
    let answer = task.answer(id, run_at, at);
    let (done, durable) = oneshot::channel();
    let work = Work::Task { id, task_type: task.task_type.to_owned(), payload, run_at, at };
    writer.send_async(Job::new(work, Some(done))).await.map_err(failed)?;
    match durable.await {
        Ok(true) => Ok(accepted(&answer)),
        _ => Err(failed("not written")),
    }
}
