//! The cache that instances share.

use std::path::PathBuf;

use profile_redis::{Address, Mode, Tls};
use secrecy::SecretString;

use super::{ConfigError, Source, address, shown};

const PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26379;

/// `REDIS_…`; there where `REDIS_ADDRESS` is set.
pub(crate) struct Redis {
    pub(crate) mode: Mode,
    pub(crate) addresses: Vec<Address>,
    pub(crate) username: Option<String>,
    pub(crate) password: Option<SecretString>,
    pub(crate) sentinel_password: Option<SecretString>,
    pub(crate) database: u8,
    pub(crate) tls: Tls,
    pub(crate) prefix: String,
}

const VARIABLES: [&str; 10] = [
    "REDIS_ADDRESS",
    "REDIS_MODE",
    "REDIS_USERNAME",
    "REDIS_PASSWORD",
    "REDIS_DB",
    "REDIS_TLS",
    "REDIS_TLS_CA",
    "REDIS_SENTINEL_MASTER",
    "REDIS_SENTINEL_PASSWORD",
    "REDIS_PREFIX",
];

impl Redis {
    pub(crate) fn read(source: &Source) -> Result<Option<Self>, ConfigError> {
        let Some(addresses) = source.get("REDIS_ADDRESS") else {
            // Whoever sets one of these means to have a shared cache.
            return match VARIABLES.iter().find_map(|variable| source.get(variable)) {
                Some(found) => Err(found.wrong("nothing, as long as REDIS_ADDRESS isn't set")),
                None => Ok(None),
            };
        };
        let master = source.get("REDIS_SENTINEL_MASTER").map(|found| found.text.trim().to_owned());
        let mode = source.parse("REDIS_MODE", Mode::Single, "single, sentinel or cluster", |text| match text {
            "single" => Some(Mode::Single),
            "sentinel" => Some(Mode::Sentinel { master: master.clone().unwrap_or_else(|| "mymaster".to_owned()) }),
            "cluster" => Some(Mode::Cluster),
            _ => None,
        })?;
        if let (Some(found), false) = (source.get("REDIS_SENTINEL_MASTER"), matches!(mode, Mode::Sentinel { .. })) {
            return Err(found.wrong("nothing, unless REDIS_MODE is sentinel"));
        }
        let port = if matches!(mode, Mode::Sentinel { .. }) { SENTINEL_PORT } else { PORT };
        let listed = address::list(&addresses.text, port);
        let listed =
            listed.ok_or_else(|| addresses.wrong("host:port, or a list of them separated by commas; [::1]:6379 for IPv6"))?;
        let listed = listed.into_iter().map(|(host, port)| Address { host, port }).collect();
        let database = source.parse("REDIS_DB", 0, "a number from 0 to 255; 0 in a cluster", |text| {
            text.parse().ok().filter(|number| *number == 0 || mode != Mode::Cluster)
        })?;
        let roots = source.get("REDIS_TLS_CA").map(|found| PathBuf::from(&found.text));
        let encrypted = source.parse("REDIS_TLS", false, "true or false", |text| text.parse().ok())?;
        if let (Some(found), false) = (source.get("REDIS_TLS_CA"), encrypted) {
            return Err(found.wrong("nothing, unless REDIS_TLS is true"));
        }
        let secret = |variable| source.get(variable).map(|found| SecretString::from(found.text.as_str()));
        Ok(Some(Self {
            mode,
            addresses: listed,
            username: source.get("REDIS_USERNAME").map(|found| found.text.clone()),
            password: secret("REDIS_PASSWORD"),
            sentinel_password: secret("REDIS_SENTINEL_PASSWORD"),
            database,
            tls: if encrypted { Tls::Verify { roots } } else { Tls::Off },
            prefix: source.parse("REDIS_PREFIX", "profile".to_owned(), "1–32 of a–z, 0–9, - and _", |text| {
                let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'_';
                ((1..=32).contains(&text.len()) && text.bytes().all(allowed)).then(|| text.to_owned())
            })?,
        }))
    }

    pub(super) fn in_force(redis: Option<&Self>) -> Vec<(&'static str, String)> {
        VARIABLES.map(|variable| (variable, shown(redis.and_then(|redis| redis.shown(variable))))).into()
    }

    fn shown(&self, variable: &str) -> Option<String> {
        let hidden = |secret: &Option<SecretString>| secret.as_ref().map(|_| "(hidden)".to_owned());
        match variable {
            "REDIS_ADDRESS" => Some(self.addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")),
            "REDIS_MODE" => Some(
                match self.mode {
                    Mode::Single => "single",
                    Mode::Sentinel { .. } => "sentinel",
                    Mode::Cluster => "cluster",
                }
                .into(),
            ),
            "REDIS_USERNAME" => self.username.clone(),
            "REDIS_PASSWORD" => hidden(&self.password),
            "REDIS_SENTINEL_PASSWORD" => hidden(&self.sentinel_password),
            "REDIS_DB" => Some(self.database.to_string()),
            "REDIS_TLS" => Some((self.tls != Tls::Off).to_string()),
            "REDIS_TLS_CA" => match &self.tls {
                Tls::Verify { roots: Some(path) } => Some(path.display().to_string()),
                _ => None,
            },
            "REDIS_SENTINEL_MASTER" => match &self.mode {
                Mode::Sentinel { master } => Some(master.clone()),
                _ => None,
            },
            "REDIS_PREFIX" => Some(self.prefix.clone()),
            _ => None,
        }
    }
}
