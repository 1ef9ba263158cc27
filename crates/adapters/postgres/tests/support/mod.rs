//! A database for each test, on the server that the tests were given.

#![allow(dead_code, reason = "each test binary uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a test says by panicking what went wrong")]

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use profile_domain::{Changeset, EntityKey, EntityWrite, Expect, Intent, Moment, Policy, ProfileId, TenantId};
use profile_ports::Deadline;
use profile_postgres::{PostgresStore, Settings, Tls};
use serde_json::{Value, json};
use tokio::runtime::Handle;
use tokio_postgres::{Client, Config, NoTls, config::Host};
use uuid::Uuid;

/// An empty database, dropped when this is.
pub(crate) struct Database {
    name: String,
    server: Config,
}

impl Database {
    pub(crate) async fn create() -> Self {
        Self::create_on(server()).await
    }

    pub(crate) async fn create_on(server: Config) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("test_{}_{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let client = connect(&server).await;
        client.batch_execute(&format!("DROP DATABASE IF EXISTS {name}")).await.unwrap();
        client.batch_execute(&format!("CREATE DATABASE {name}")).await.unwrap();
        Self { name, server }
    }

    /// With everything that is in another one, which nobody may be connected to.
    pub(crate) async fn copy_of(other: &Self) -> Self {
        let copy = Self::create_on(other.server.clone()).await;
        let client = connect(&copy.server).await;
        client.batch_execute(&format!("DROP DATABASE {}", copy.name)).await.unwrap();
        client.batch_execute(&format!("CREATE DATABASE {} TEMPLATE {}", copy.name, other.name)).await.unwrap();
        copy
    }

    /// With everything that is in another one, by way of a dump.
    pub(crate) async fn restored_from(other: &Self) -> Self {
        let restored = Self::create_on(other.server.clone()).await;
        let programs: String = connect(&other.server)
            .await
            .query_one("SELECT setting FROM pg_config WHERE name = 'BINDIR'", &[])
            .await
            .unwrap()
            .get(0);
        let run = |program: &str, database: &Self| {
            let (settings, mut command) = (database.settings(), Command::new(format!("{programs}/{program}")));
            command.args(["--host", &settings.host, "--port", &settings.port.to_string()]);
            command.args(["--username", &settings.user, "--dbname", &settings.database]);
            command
        };
        let mut dump = run("pg_dump", other).stdout(Stdio::piped()).spawn().unwrap();
        let mut psql = run("psql", &restored);
        psql.args(["--quiet", "--set", "ON_ERROR_STOP=1"]).stdin(dump.stdout.take().unwrap()).stdout(Stdio::null());
        assert!(psql.status().unwrap().success() && dump.wait().unwrap().success(), "the dump was not restored");
        restored
    }

    /// For a store that uses it.
    pub(crate) fn settings(&self) -> Settings {
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
    pub(crate) async fn store(&self, policy: Policy) -> Arc<PostgresStore> {
        let store = open(&self.settings(), policy);
        store.migrate(Deadline::within(Duration::from_mins(1))).await.unwrap();
        store
    }

    /// A connection beside the store's.
    pub(crate) async fn look(&self) -> Client {
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
        let dropped = dropping.join();
        if !std::thread::panicking() {
            dropped.unwrap().unwrap();
        }
    }
}

/// A store that may not be migrated, on the runtime of the test.
pub(crate) fn open(settings: &Settings, policy: Policy) -> Arc<PostgresStore> {
    Arc::new(PostgresStore::new(settings, policy, Handle::current(), &prometheus::Registry::new()).unwrap())
}

/// The server that the environment names.
#[expect(clippy::disallowed_methods, reason = "tests have no configuration; the runner hands the server over this way")]
pub(crate) fn server() -> Config {
    let url = std::env::var("TEST_POSTGRES_URL").expect(
        "TEST_POSTGRES_URL names no PostgreSQL server: run `make test`, or `scripts/with-postgres cargo nextest run`, which starts one",
    );
    url.parse().expect("TEST_POSTGRES_URL is a URL such as postgres://postgres@127.0.0.1:5432/postgres")
}

pub(crate) async fn connect(config: &Config) -> Client {
    let (client, connection) = config.connect(NoTls).await.expect("the server that TEST_POSTGRES_URL names answers");
    tokio::spawn(connection);
    client
}

/// Enough for anything that works.
pub(crate) fn deadline() -> Deadline {
    Deadline::within(Duration::from_secs(30))
}

pub(crate) fn tenant() -> TenantId {
    TenantId::default_tenant()
}

pub(crate) fn profile(number: u128) -> EntityKey {
    EntityKey::profile(ProfileId(Uuid::from_u128(number)))
}

/// A changeset of one write that replaces a profile's document.
pub(crate) fn replace(key: &EntityKey, expect: Expect, name: &str) -> Changeset {
    let id = &key.reference;
    let Value::Object(document) = json!({"name": name, "email": format!("{id}@example.com"), "plan": "pro"}) else {
        unreachable!()
    };
    let write = EntityWrite { key: key.clone(), intent: Intent::Replace(document), expect, required: true };
    Changeset::of(Moment::from_micros(1_767_225_600_000_000), vec![write])
}

/// A server of its own, for tests that stop it or measure it whole.
pub(crate) struct PrivateServer {
    script: Child,
    pub(crate) config: Config,
}

impl PrivateServer {
    pub(crate) fn start() -> Self {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../scripts/with-postgres");
        // Lives until its standard input is closed.
        let mut script = Command::new(script)
            .args(["bash", "-c", "echo $TEST_POSTGRES_URL; cat"])
            .env_remove("TEST_POSTGRES_URL")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut url = String::new();
        BufReader::new(script.stdout.as_mut().unwrap()).read_line(&mut url).unwrap();
        Self { script, config: url.trim().parse().unwrap() }
    }

    /// Stops every process of the server. It goes on when the value given is dropped, also by a panic.
    pub(crate) async fn stop(&self) -> Stopped {
        let file = connect(&self.config).await.query_one("SELECT pg_read_file('postmaster.pid')", &[]).await.unwrap();
        let postmaster: u32 = file.get::<_, String>(0).lines().next().unwrap().parse().unwrap();
        // First the one that begets the others, so that none comes after they were counted.
        assert!(signal("-STOP", &[postmaster]));
        let children: Vec<u32> = std::fs::read_dir("/proc")
            .unwrap()
            .filter_map(|entry| {
                let process: u32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
                let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
                // After the name, which may hold anything and ends with the last parenthesis: state, parent.
                let parent: u32 = stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()?;
                (parent == postmaster).then_some(process)
            })
            .collect();
        // One that was ending may be gone.
        let _ = signal("-STOP", &children);
        Stopped(std::iter::once(postmaster).chain(children).collect())
    }
}

/// The processes of a stopped server.
pub(crate) struct Stopped(Vec<u32>);

impl Drop for Stopped {
    fn drop(&mut self) {
        let _ = signal("-CONT", &self.0);
    }
}

pub(crate) fn signal(signal: &str, processes: &[u32]) -> bool {
    let kill = Command::new("kill").arg(signal).args(processes.iter().map(u32::to_string)).stderr(Stdio::null()).status();
    kill.unwrap().success()
}

impl Drop for PrivateServer {
    fn drop(&mut self) {
        drop(self.script.stdin.take());
        let _ = self.script.wait();
    }
}
