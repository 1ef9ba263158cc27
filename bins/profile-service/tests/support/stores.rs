//! Where a test's service keeps its data, and the few calls that every test makes.

use std::net::SocketAddr;

use reqwest::StatusCode;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_postgres::NoTls;

use super::{Database, Server, fresh_database};

/// Makes two tests of each function, one for each store.
macro_rules! on_both_stores {
    ($($name:ident),* $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                super::$name($crate::support::stores::Backend::sqlite()).await;
            })*
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                super::$name($crate::support::stores::Backend::postgres().await).await;
            })*
        }
    };
}
pub(crate) use on_both_stores;

/// A store that outlives the instances started on it.
pub(crate) enum Backend {
    Sqlite(TempDir),
    Postgres(Box<Database>),
}

impl Backend {
    pub(crate) fn sqlite() -> Self {
        Self::Sqlite(tempfile::tempdir().expect("a folder"))
    }

    pub(crate) async fn postgres() -> Self {
        Self::Postgres(Box::new(fresh_database().await))
    }

    /// What tells a process to use it.
    pub(crate) fn variables(&self) -> Vec<(String, String)> {
        match self {
            Self::Sqlite(folder) => vec![("DATA_DIR".to_owned(), folder.path().display().to_string())],
            Self::Postgres(database) => database.variables(),
        }
    }

    /// An instance, ready.
    pub(crate) async fn start(&self) -> Server {
        let variables = self.variables();
        let variables: Vec<(&str, &str)> = variables.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        Server::start(&variables).await
    }
}

/// An instance on a database, reached through another address if one is given.
pub(crate) async fn start_on(database: &Database, through: Option<SocketAddr>) -> Server {
    let mut variables = database.variables();
    if let Some(through) = through {
        variables.push(("DB_HOST".to_owned(), through.ip().to_string()));
        variables.push(("DB_PORT".to_owned(), through.port().to_string()));
    }
    let variables: Vec<(&str, &str)> = variables.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    Server::start(&variables).await
}

impl Server {
    /// A GET that must succeed.
    pub(crate) async fn get_json(&self, path: &str) -> Value {
        let answer = self.client.get(self.url(path)).send().await.expect("an answer");
        let status = answer.status();
        let body = answer.json().await.expect("JSON");
        assert_eq!(status, StatusCode::OK, "{path}: {body}");
        body
    }

    /// Ends it as an operator would.
    pub(crate) async fn stop(mut self) {
        self.signal("TERM");
        assert!(self.ended().await.success(), "{}", self.log());
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.base_url.trim_start_matches("http://").parse().expect("an address")
    }
}

/// A body with what is required.
pub(crate) fn profile(name: &str, email: &str) -> Value {
    json!({"name": name, "email": email})
}

/// Creates a profile and gives its id.
pub(crate) async fn create(server: &Server, body: &Value) -> String {
    let answer = server.client.post(server.url("/api/v1/profiles")).json(body).send().await.expect("an answer");
    let status = answer.status();
    let created: Value = answer.json().await.expect("JSON");
    assert_eq!(status, StatusCode::CREATED, "{created}");
    created["id"].as_str().expect("an id").to_owned()
}

/// The first value of an answer.
pub(crate) async fn ask(url: &str, query: &str) -> String {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.expect("the server answers");
    let driver = tokio::spawn(connection);
    let rows = client.simple_query(query).await.expect("the query is right");
    drop(client);
    let _ = driver.await;
    let value = rows.iter().find_map(|row| match row {
        tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
        _ => None,
    });
    value.expect("a value")
}

/// Connections of the service to a database that have begun a transaction and do nothing.
pub(crate) async fn idle_in_transaction(server_url: &str, database: &str) -> String {
    let query =
        format!("SELECT count(*) FROM pg_stat_activity WHERE datname = '{database}' AND state LIKE 'idle in transaction%'");
    ask(server_url, &query).await
}
