//! A database for each test, on the server that the tests were given.

#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use profile_domain::Policy;
use profile_ports::Deadline;
use profile_postgres::{PostgresStore, Settings, Tls};
use tokio::runtime::Handle;
use tokio_postgres::{Client, Config, NoTls, config::Host};

/// An empty database, dropped when this is.
pub struct Database {
    name: String,
    server: Config,
}

impl Database {
    pub async fn create() -> Self {
        Self::create_on(server()).await
    }

    pub async fn create_on(server: Config) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("test_{}_{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let client = connect(&server).await;
        client.batch_execute(&format!("DROP DATABASE IF EXISTS {name}")).await.unwrap();
        client.batch_execute(&format!("CREATE DATABASE {name}")).await.unwrap();
        Self { name, server }
    }

    /// For a store that uses it.
    pub fn settings(&self) -> Settings {
        let host = match &self.server.get_hosts()[0] {
            Host::Tcp(host) => host.clone(),
            Host::Unix(folder) => folder.display().to_string(),
        };
        Settings {
            host,
            port: self.server.get_ports().first().copied().unwrap_or(5432),
            user: self.server.get_user().unwrap_or("postgres").to_owned(),
            password: self.server.get_password().map(|password| String::from_utf8(password.to_vec()).unwrap().into()),
            database: self.name.clone(),
            tls: Tls::Prefer,
            ..Settings::default()
        }
    }

    /// A store on it, migrated.
    pub async fn store(&self, policy: Policy) -> Arc<PostgresStore> {
        let store = open(&self.settings(), policy);
        store.migrate(Deadline::within(Duration::from_mins(1))).await.unwrap();
        store
    }

    /// A connection beside the store's.
    pub async fn look(&self) -> Client {
        let mut config = self.server.clone();
        config.dbname(&self.name).application_name("test");
        connect(&config).await
    }
}

impl Drop for Database {
    /// On a thread of its own, because the test's runtime may be ending, and waited for, because the process may be too.
    fn drop(&mut self) {
        let (name, server) = (self.name.clone(), self.server.clone());
        let dropping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let client = connect(&server).await;
                client.batch_execute(&format!("DROP DATABASE {name} WITH (FORCE)")).await
            })
        });
        if !std::thread::panicking() {
            dropping.join().unwrap().unwrap();
        } else {
            let _ = dropping.join();
        }
    }
}

/// A store that may not be migrated, on the runtime of the test.
pub fn open(settings: &Settings, policy: Policy) -> Arc<PostgresStore> {
    Arc::new(PostgresStore::new(settings, policy, Handle::current(), &prometheus::Registry::new()).unwrap())
}

/// The server that the environment names.
#[expect(clippy::disallowed_methods, reason = "tests have no configuration; the runner hands the server over this way")]
pub fn server() -> Config {
    let url = std::env::var("TEST_POSTGRES_URL").expect(
        "TEST_POSTGRES_URL names no PostgreSQL server: run `make test`, or `scripts/with-postgres cargo nextest run`, which starts one",
    );
    url.parse().expect("TEST_POSTGRES_URL is a URL such as postgres://postgres@127.0.0.1:5432/postgres")
}

pub async fn connect(config: &Config) -> Client {
    let (client, connection) = config.connect(NoTls).await.expect("the server that TEST_POSTGRES_URL names answers");
    tokio::spawn(connection);
    client
}
