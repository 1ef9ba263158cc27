//! Which store, and how it is reached.

use std::path::PathBuf;

use secrecy::SecretString;

use super::{ConfigError, Source, address, server::port, shown};

/// PostgreSQL as soon as any `DB_…` is set, else SQLite.
pub(crate) enum Database {
    Sqlite(Sqlite),
    Postgres(Postgres),
}

/// The embedded store.
pub(crate) struct Sqlite {
    pub(crate) data_dir: PathBuf,
}

/// The store that scales.
pub(crate) struct Postgres {
    /// Those that may take the writes, each with its port; never none.
    pub(crate) hosts: Vec<(String, u16)>,
    /// Of those that name none.
    pub(crate) port: u16,
    pub(crate) replicas: Vec<(String, u16)>,
    pub(crate) user: String,
    pub(crate) password: Option<SecretString>,
    pub(crate) name: String,
    pub(crate) tls: Tls,
    pub(crate) tls_ca: Option<PathBuf>,
    pub(crate) pool_size: usize,
    pub(crate) prepared_statements: bool,
}

/// How connections are encrypted.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tls {
    Off,
    Prefer,
    Verify,
}

const VARIABLES: [&str; 10] = [
    "DB_HOST",
    "DB_PORT",
    "DB_REPLICA_HOSTS",
    "DB_USER",
    "DB_PASSWORD",
    "DB_NAME",
    "DB_TLS",
    "DB_TLS_CA",
    "DB_POOL_SIZE",
    "DB_PREPARED_STATEMENTS",
];

impl Database {
    pub(crate) fn read(source: &Source) -> Result<Self, ConfigError> {
        if VARIABLES.iter().any(|variable| source.get(variable).is_some()) {
            return Postgres::read(source).map(Self::Postgres);
        }
        let data_dir = source.get("DATA_DIR").map_or_else(|| PathBuf::from("./data"), |found| PathBuf::from(&found.text));
        Ok(Self::Sqlite(Sqlite { data_dir }))
    }

    pub(super) fn in_force(&self) -> Vec<(&'static str, String)> {
        let (data_dir, postgres) = match self {
            Self::Sqlite(sqlite) => (Some(sqlite.data_dir.display()), None),
            Self::Postgres(postgres) => (None, Some(postgres)),
        };
        let mut values = vec![("DATA_DIR", shown(data_dir))];
        values.extend(VARIABLES.map(|variable| (variable, shown(postgres.and_then(|postgres| postgres.shown(variable))))));
        values
    }
}

impl Postgres {
    fn read(source: &Source) -> Result<Self, ConfigError> {
        let text = |variable: &str, default: &str| {
            source.parse(variable, default.to_owned(), "any text without spaces at its ends", |text| Some(text.to_owned()))
        };
        let port = port(source, "DB_PORT", 5432, 1)?;
        let hosts = |variable, default| {
            let allowed = "host, host:port, or a list of them separated by commas; [::1]:5432 for IPv6";
            source.parse(variable, default, allowed, |text| address::list(text, port))
        };
        let postgres = Self {
            hosts: hosts("DB_HOST", vec![("localhost".to_owned(), port)])?,
            port,
            replicas: hosts("DB_REPLICA_HOSTS", Vec::new())?,
            user: text("DB_USER", "postgres")?,
            password: source.get("DB_PASSWORD").map(|found| SecretString::from(found.text.as_str())),
            name: text("DB_NAME", "profiles")?,
            tls: source.parse("DB_TLS", Tls::Prefer, "off, prefer or verify", |text| match text {
                "off" => Some(Tls::Off),
                "prefer" => Some(Tls::Prefer),
                "verify" => Some(Tls::Verify),
                _ => None,
            })?,
            tls_ca: source.get("DB_TLS_CA").map(|found| PathBuf::from(&found.text)),
            pool_size: source.parse("DB_POOL_SIZE", 16, "a number from 1 to 500", |text| {
                text.parse().ok().filter(|size| (1..=500).contains(size))
            })?,
            prepared_statements: source.parse("DB_PREPARED_STATEMENTS", true, "true or false", |text| text.parse().ok())?,
        };
        postgres.validate(source)?;
        Ok(postgres)
    }

    fn validate(&self, source: &Source) -> Result<(), ConfigError> {
        if let (Some(path), Some(found)) = (&self.tls_ca, source.get("DB_TLS_CA")) {
            if self.tls != Tls::Verify {
                return Err(found.wrong("nothing unless DB_TLS is verify: only then are certificates checked"));
            }
            if let Err(error) = std::fs::File::open(path) {
                return Err(found.wrong(format!("a PEM file that can be read: {error}")));
            }
        }
        Ok(())
    }

    fn listed(&self, hosts: &[(String, u16)]) -> String {
        let one = |(host, port): &(String, u16)| match host.contains(':') {
            _ if *port == self.port => host.clone(),
            true => format!("[{host}]:{port}"),
            false => format!("{host}:{port}"),
        };
        hosts.iter().map(one).collect::<Vec<_>>().join(",")
    }

    fn shown(&self, variable: &str) -> Option<String> {
        Some(match variable {
            "DB_HOST" => self.listed(&self.hosts),
            "DB_REPLICA_HOSTS" if self.replicas.is_empty() => return None,
            "DB_REPLICA_HOSTS" => self.listed(&self.replicas),
            "DB_PORT" => self.port.to_string(),
            "DB_USER" => self.user.clone(),
            "DB_PASSWORD" => self.password.as_ref().map(|_| "(hidden)".to_owned())?,
            "DB_NAME" => self.name.clone(),
            "DB_TLS" => match self.tls {
                Tls::Off => "off".into(),
                Tls::Prefer => "prefer".into(),
                Tls::Verify => "verify".into(),
            },
            "DB_TLS_CA" => self.tls_ca.as_ref()?.display().to_string(),
            "DB_POOL_SIZE" => self.pool_size.to_string(),
            "DB_PREPARED_STATEMENTS" => self.prepared_statements.to_string(),
            _ => return None,
        })
    }
}
