//! What the adapter is told.

use std::{fmt, path::PathBuf, time::Duration};

use profile_ports::cache::Spans;
use secrecy::SecretString;
use thiserror::Error;

/// How long any operation may take, waiting for a connection included: longer than a healthy Redis ever needs, and short enough
/// that a request which waits in vain goes on to the store unharmed.
pub const OPERATION_TIMEOUT: Duration = Duration::from_millis(50);

/// Where Redis is, how to speak to it, and what it may be given.
#[derive(Clone, Debug)]
pub struct RedisSettings {
    /// How the servers are arranged.
    pub mode: Mode,
    /// Of the server (the first that answers is taken), of the sentinels, or of some of the cluster's nodes.
    pub addresses: Vec<Address>,
    /// Of the servers; `None` is Redis' default user.
    pub username: Option<String>,
    /// Of the servers.
    pub password: Option<SecretString>,
    /// Of the sentinels.
    pub sentinel_password: Option<SecretString>,
    /// 0 in a cluster.
    pub database: u8,
    /// Encryption, of sentinels too.
    pub tls: Tls,
    /// What all keys begin with, for those who share one Redis.
    pub prefix: String,
    /// How long any operation may take: [`OPERATION_TIMEOUT`].
    pub timeout: Duration,
    /// Names the form of the bytes; what is of another is no hit.
    pub schema: u32,
    /// Bytes of an entry at most. What is larger is refused when put, and removed when found.
    pub entry_bytes: usize,
    /// Entries of more bytes are compressed.
    pub compress_above: usize,
    /// Versions that changes leave behind: as many as may change within [`Spans::floor`].
    pub floors: usize,
    /// What loads may take and miss.
    pub spans: Spans,
}

/// How the servers are arranged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mode {
    /// One server.
    Single,
    /// The sentinels know which server is the master.
    Sentinel {
        /// The name under which they do.
        master: String,
    },
    /// Keys are spread over several masters.
    Cluster,
}

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// A name, or an IP address.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.host, self.port)
    }
}

/// Whether connections are encrypted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tls {
    /// Never.
    Off,
    /// Always, with a certificate that an authority has signed for the host.
    Verify {
        /// PEM file of the authorities that are believed; those of the system if there is none.
        roots: Option<PathBuf>,
    },
}

impl RedisSettings {
    /// What suits most, for servers that ask for no password.
    #[must_use]
    pub fn new(mode: Mode, addresses: Vec<Address>, schema: u32, spans: Spans) -> Self {
        Self {
            mode,
            addresses,
            username: None,
            password: None,
            sentinel_password: None,
            database: 0,
            tls: Tls::Off,
            prefix: "profile".to_owned(),
            timeout: OPERATION_TIMEOUT,
            schema,
            entry_bytes: 1 << 20,
            compress_above: 1_024,
            floors: 65_536,
            spans,
        }
    }
}

/// Settings that can't work, whatever the servers are like.
#[derive(Debug, Error)]
pub enum SettingsError {
    /// Nowhere to go.
    #[error("Redis needs at least one address")]
    NoAddress,
    /// A cluster has one database.
    #[error("a Redis Cluster has no database {0}, only 0")]
    Database(u8),
    /// The file of authorities can't be read.
    #[error("no certificate authorities could be read from {from}")]
    RootCertificates {
        /// The file.
        from: PathBuf,
        /// What happened.
        #[source]
        reason: profile_ports::BoxError,
    },
    /// Metrics of this name are registered already.
    #[error("the metrics can't be registered")]
    Metrics(#[from] prometheus::Error),
}
