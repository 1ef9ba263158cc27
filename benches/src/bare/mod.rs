//! The floor: programs on the same libraries that do the same work, without validation, middleware, metrics or deadlines.
//!
//! Written as somebody would who needed nothing else: statements by hand, one function per route. They know the service's
//! tables, not its code. [`rows`] is a profile as rows of those tables; [`check`](mod@crate::check) holds it to what the service writes.

mod memory;
mod postgres;
mod postgres_import;
mod redis;
mod rows;
mod sqlite;
mod sqlite_writer;
mod views;

use std::{fs, net::TcpListener, path::Path};

use actix_web::{
    App, HttpResponse, HttpServer,
    web::{self, ServiceConfig},
};
use anyhow::{Context, Result};
use clap::{Args, Subcommand};

pub(crate) use postgres_import::{create_plain, fill as fill_postgres, import as import_postgres};
pub(crate) use sqlite_writer::fill as fill_sqlite;
pub(crate) use views::SOURCES;

/// As many as the service has by default.
const POOL_SIZE: usize = 16;

#[derive(Subcommand)]
pub(crate) enum Kind {
    /// On SQLite: the file
    Sqlite(Where),
    /// On PostgreSQL: the URL
    Postgres(Where),
    /// On its own memory: how many profiles
    Memory(Where),
    /// On Redis: the URL and how many profiles, with a space between
    Redis(Where),
    /// Live sources; the first argument says nothing
    Sources(Where),
    /// Four of them joined: their address
    Joined(Where),
    /// Merged answers in its memory: how many
    Kept(Where),
}

#[derive(Args)]
pub(crate) struct Where {
    store: String,
    /// Where to write the address that is listened on
    port_file: std::path::PathBuf,
}

/// Serves until the process is ended.
pub(crate) fn run(kind: &Kind) -> Result<()> {
    match kind {
        Kind::Sqlite(at) => {
            let writer = sqlite_writer::start(Path::new(&at.store))?;
            let path = std::path::PathBuf::from(&at.store);
            serve(&at.port_file, move |config| sqlite::configure(config, &path, &writer))
        }
        Kind::Postgres(at) => {
            let pool = postgres::pool(&at.store)?;
            serve(&at.port_file, move |config| postgres::configure(config, &pool))
        }
        Kind::Memory(at) => {
            let ready = memory::filled(at.store.parse()?)?;
            serve(&at.port_file, move |config| memory::configure(config, &ready))
        }
        Kind::Redis(at) => {
            let (url, count) = at.store.split_once(' ').context("no number of profiles")?;
            let client = ::redis::Client::open(url)?;
            redis::fill(&client, count.parse()?)?;
            serve(&at.port_file, move |config| redis::configure(config, &client))
        }
        Kind::Sources(at) => serve(&at.port_file, views::sources),
        Kind::Joined(at) => {
            let joined = views::Joined::new(&at.store)?;
            serve(&at.port_file, move |config| views::joined(config, &joined))
        }
        Kind::Kept(at) => {
            let kept = views::kept(at.store.parse()?);
            serve(&at.port_file, move |config| views::cached(config, &kept))
        }
    }
}

fn serve(port_file: &Path, configure: impl Fn(&mut ServiceConfig) + Clone + Send + 'static) -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let workers = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let port_file = port_file.to_owned();
    actix_web::rt::System::new().block_on(async move {
        let app = move || App::new().configure(configure.clone()).route("/readyz", web::get().to(HttpResponse::Ok));
        let server = HttpServer::new(app).workers(workers).listen(listener)?.run();
        fs::write(port_file, address.to_string())?;
        Ok(server.await?)
    })
}

/// JSON that is ready to be sent.
fn json(body: impl actix_web::body::MessageBody + 'static) -> HttpResponse {
    HttpResponse::Ok().content_type("application/json").body(body)
}

fn created(body: Vec<u8>) -> HttpResponse {
    HttpResponse::Created().content_type("application/json").body(body)
}

fn accepted(body: &str) -> HttpResponse {
    HttpResponse::Accepted().content_type("application/json").body(body.to_owned())
}

/// Whatever goes wrong ends the measurement: the load takes nothing but what it expects.
type Answer = Result<HttpResponse, actix_web::Error>;

fn failed(error: impl std::fmt::Display) -> actix_web::Error {
    actix_web::error::ErrorInternalServerError(error.to_string())
}
