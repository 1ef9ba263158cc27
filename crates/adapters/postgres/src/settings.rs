//! What the adapter is told about its server.

use std::{fmt, path::PathBuf, sync::Arc, time::Duration};

use profile_ports::Timelines;
use secrecy::SecretString;
use thiserror::Error;

/// Where the server is and how to speak to it.
#[derive(Clone, Debug)]
pub struct Settings {
    /// A name, an address, or the folder of a Unix socket.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Other servers that may take the writes: the one not in recovery, on the newest timeline, does.
    pub others: Vec<Address>,
    /// Servers that reads may go to that may lag.
    pub replicas: Vec<Address>,
    /// Where all instances remember the newest timeline, if anywhere.
    pub timelines: Option<Arc<dyn Timelines>>,
    /// Role.
    pub user: String,
    /// None where the server trusts, or knows the role by other means.
    pub password: Option<SecretString>,
    /// Database.
    pub database: String,
    /// Encryption.
    pub tls: Tls,
    /// PEM file of the authorities that [`Tls::Verify`] believes; those of the system if there is none.
    pub tls_root_cert: Option<PathBuf>,
    /// Connections at most; as many to each replica.
    pub pool_size: usize,
    /// How long making a connection may take, whatever the deadline of the request.
    pub connect_timeout: Duration,
    /// Whether statements are prepared once per connection. `false` suits a pooler in transaction mode that doesn't follow
    /// prepared statements (PgBouncer before 1.21): each statement is then parsed anew, in the same one round trip.
    pub prepared: bool,
    /// How the connections are named in `pg_stat_activity`.
    pub application_name: String,
    /// A folder with migrations that come after those in this program: for tests of an upgrade.
    pub further_migrations: Option<PathBuf>,
}

/// Where a server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// As [`Settings::host`].
    pub host: String,
    /// TCP port.
    pub port: u16,
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // As in a URL: an address of IPv6 has colons of its own.
        if self.host.contains(':') {
            write!(formatter, "[{}]:{}", self.host, self.port)
        } else {
            write!(formatter, "{}:{}", self.host, self.port)
        }
    }
}

/// Whether connections are encrypted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tls {
    /// Never.
    Off,
    /// If the server offers it. Its certificate is not checked, as with libpq's `prefer`: this keeps out who listens, not who
    /// interferes.
    #[default]
    Prefer,
    /// Always, with a certificate that an authority has signed for this host.
    Verify,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            host: "localhost".to_owned(),
            port: 5432,
            others: Vec::new(),
            replicas: Vec::new(),
            timelines: None,
            user: "postgres".to_owned(),
            password: None,
            database: "profiles".to_owned(),
            tls: Tls::default(),
            tls_root_cert: None,
            pool_size: 16,
            connect_timeout: Duration::from_secs(5),
            prepared: true,
            application_name: "profile-service".to_owned(),
            further_migrations: None,
        }
    }
}

/// Settings that can't work, whatever the server is like.
#[derive(Debug, Error)]
pub enum SettingsError {
    /// The file of authorities can't be read, or the system has none.
    #[error("no certificate authorities could be read from {from}: {reason}")]
    RootCertificates {
        /// The file, or the system's store.
        from: String,
        /// What happened.
        reason: String,
    },
    /// The further migrations can't be read.
    #[error("the further migrations can't be read")]
    Migrations(#[from] refinery::Error),
    /// TLS can't be set up.
    #[error("TLS can't be set up")]
    Tls(#[from] rustls::Error),
    /// A pool of no connections.
    #[error("the pool must have at least one connection")]
    EmptyPool,
    /// Metrics of this name are registered already.
    #[error("the metrics can't be registered")]
    Metrics(#[from] prometheus::Error),
}
