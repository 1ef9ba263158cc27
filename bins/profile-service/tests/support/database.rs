//! Databases on the server that `TEST_POSTGRES_URL` names.

use std::path::Path;

use tokio::{
    io::copy_bidirectional,
    net::{TcpStream, UnixListener},
    task::JoinHandle,
};
use tokio_postgres::{Config, NoTls, config::Host};

/// An empty database, dropped with this.
pub(crate) struct Database {
    pub(crate) name: String,
    server: Config,
}

/// Makes a database with a name of its own.
pub(crate) async fn fresh_database() -> Database {
    let mut random = [0; 8];
    getrandom::fill(&mut random).expect("random bytes");
    let database = Database { name: format!("service_{:016x}", u64::from_ne_bytes(random)), server: server() };
    database.execute_on_server(&format!("CREATE DATABASE {}", database.name)).await;
    database
}

#[expect(clippy::disallowed_methods, reason = "tests have no configuration; this one names their server")]
fn server() -> Config {
    let url = std::env::var("TEST_POSTGRES_URL").expect("TEST_POSTGRES_URL names a server: run `make test`");
    url.parse().expect("TEST_POSTGRES_URL is a URL such as postgres://postgres@127.0.0.1:5432/postgres")
}

impl Database {
    /// `DB_…` for the service.
    pub(crate) fn variables(&self) -> Vec<(String, String)> {
        let mut variables = vec![
            ("DB_HOST".to_owned(), self.host()),
            ("DB_PORT".to_owned(), self.port().to_string()),
            ("DB_USER".to_owned(), self.server.get_user().unwrap_or("postgres").to_owned()),
            ("DB_NAME".to_owned(), self.name.clone()),
        ];
        if let Some(password) = self.server.get_password() {
            variables.push(("DB_PASSWORD".to_owned(), String::from_utf8_lossy(password).into_owned()));
        }
        variables
    }

    fn host(&self) -> String {
        match self.server.get_hosts().first() {
            Some(Host::Tcp(name)) => name.clone(),
            Some(Host::Unix(path)) => path.display().to_string(),
            None => "localhost".to_owned(),
        }
    }

    fn port(&self) -> u16 {
        self.server.get_ports().first().copied().unwrap_or(5432)
    }

    /// Where the server listens; the tests' server is reached over TCP.
    pub(crate) fn address(&self) -> std::net::SocketAddr {
        let mut addresses = std::net::ToSocketAddrs::to_socket_addrs(&(self.host(), self.port())).expect("a TCP address");
        addresses.next().expect("an address")
    }

    /// For a connection of a test's own.
    pub(crate) fn url(&self) -> String {
        let user = self.server.get_user().unwrap_or("postgres");
        let password = self.server.get_password().map(|password| format!(":{}", String::from_utf8_lossy(password)));
        format!("postgres://{user}{}@{}:{}/{}", password.unwrap_or_default(), self.host(), self.port(), self.name)
    }

    /// Runs statements in this database.
    pub(crate) async fn execute(&self, statements: &str) {
        let mut config = self.server.clone();
        execute(config.dbname(&self.name), statements).await;
    }

    async fn execute_on_server(&self, statements: &str) {
        execute(&self.server, statements).await;
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let (server, name) = (self.server.clone(), self.name.clone());
        // The test's own runtime can't be waited for from within.
        let dropped = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(execute(&server, &format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")));
        });
        let _ = dropped.join();
    }
}

async fn execute(config: &Config, statements: &str) {
    let (client, connection) = config.connect(NoTls).await.expect("the server of TEST_POSTGRES_URL answers");
    let driver = tokio::spawn(connection);
    client.batch_execute(statements).await.expect("the statements are right");
    drop(client);
    let _ = driver.await;
}

/// Lets a database appear on a Unix socket in a folder, where `DB_HOST` may point before it does.
pub(crate) fn proxy_on_unix_socket(database: &Database, folder: &Path) -> JoinHandle<()> {
    let listener = UnixListener::bind(folder.join(".s.PGSQL.5432")).expect("a short path to a socket");
    let target = (database.host(), database.port());
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            let target = target.clone();
            tokio::spawn(async move {
                let mut far = TcpStream::connect(target).await.expect("the server of TEST_POSTGRES_URL answers");
                let _ = copy_bidirectional(&mut near, &mut far).await;
            });
        }
    })
}
