//! Databases on the server that is measured, made for a case and dropped with it.

use std::future::Future;

use anyhow::{Context, Result};
use tokio_postgres::{Client, Config, NoTls, config::Host};

use crate::{machine, processes::Database, settings::Bench};

/// Of the names of databases made here.
pub(crate) const PREFIX: &str = "profile_bench_";

/// A database that is dropped when this is.
pub(crate) struct Fresh {
    pub(crate) database: Database,
    server: Database,
}

impl Fresh {
    /// An empty one; one of that name from a run that was broken off is dropped.
    pub(crate) fn create(bench: &Bench, name: &str) -> Result<Self> {
        let url = bench.postgres.as_deref().context("TEST_POSTGRES_URL names no PostgreSQL; run through `make bench`")?;
        let config: Config = url.parse().context("TEST_POSTGRES_URL")?;
        let host = config.get_hosts().iter().find_map(|host| match host {
            Host::Tcp(host) => Some(host.clone()),
            Host::Unix(_) => None,
        });
        let server = Database {
            host: host.context("TEST_POSTGRES_URL names no host")?,
            port: config.get_ports().first().copied().unwrap_or(5432),
            user: config.get_user().unwrap_or("postgres").to_owned(),
            password: config.get_password().map(|password| String::from_utf8_lossy(password).into_owned()),
            name: config.get_dbname().unwrap_or("postgres").to_owned(),
        };
        let name = format!("{PREFIX}{name}");
        run(&server, &drop_statement(&name))?;
        run(&server, &format!("CREATE DATABASE {name} TEMPLATE template0"))?;
        Ok(Self { database: Database { name, ..server.clone() }, server })
    }
}

impl Drop for Fresh {
    fn drop(&mut self) {
        if let Err(error) = run(&self.server, &drop_statement(&self.database.name)) {
            eprintln!("{} could not be dropped: {error:#}", self.database.name);
        }
    }
}

fn drop_statement(name: &str) -> String {
    format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")
}

/// Runs one statement without parameters.
pub(crate) fn run(database: &Database, statement: &str) -> Result<()> {
    with_client(database, async |client| Ok(client.batch_execute(statement).await?))
}

/// A connection for some work, on a runtime of its own.
pub(crate) fn with_client<T>(database: &Database, work: impl AsyncFnOnce(&mut Client) -> Result<T>) -> Result<T> {
    block_on(async {
        let (mut client, connection) = tokio_postgres::connect(&database.url(), NoTls).await?;
        let driver = tokio::spawn(connection);
        let result = work(&mut client).await;
        drop(client);
        driver.await??;
        result
    })
}

fn block_on<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}

/// The server's version, for the report.
pub(crate) fn server_version(bench: &Bench) -> Result<String> {
    ask(bench, "SHOW server_version")
}

/// The first process of the server, where it runs on this machine.
pub(crate) fn postmaster(bench: &Bench) -> Result<u32> {
    let backend: u32 = ask(bench, "SELECT pg_backend_pid()::text")?.parse()?;
    machine::parent(backend).context("PostgreSQL runs elsewhere")
}

fn ask(bench: &Bench, question: &str) -> Result<String> {
    let url = bench.postgres.as_deref().context("no PostgreSQL")?;
    block_on(async {
        let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
        tokio::spawn(connection);
        Ok(client.query_one(question, &[]).await?.get(0))
    })
}
