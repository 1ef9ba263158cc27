//! Configuration: environment first, then an optional TOML file, then defaults.
//!
//! One section per file, each with one struct and one `read` that validates. [`table`] lists every setting once; from it come
//! the names that a file may use, `profile-service config`, README's table and `.env.example`.

mod address;
mod auth;
mod cache;
mod database;
mod duration;
mod live;
mod logging;
mod queue;
mod redis;
mod search;
mod secrets;
mod server;
mod source;
mod spanned;
mod survivorship;
pub(crate) mod table;
mod tasks;
mod tenants;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

pub(crate) use auth::Auth;
pub(crate) use cache::Cache;
pub(crate) use database::{Database, Postgres, Sqlite, Tls};
pub(crate) use duration::parse as parse_duration;
pub(crate) use live::Live;
pub(crate) use logging::{Format, Logging};
pub(crate) use queue::Queue;
pub(crate) use redis::Redis;
pub(crate) use secrets::Secrets;
pub(crate) use server::Server;
pub(crate) use source::{ConfigError, Source};
pub(crate) use tasks::Tasks;

use profile_domain::Policy;

/// All sections, each of them valid.
pub(crate) struct Config {
    pub(crate) server: Server,
    pub(crate) database: Database,
    pub(crate) cache: Cache,
    pub(crate) redis: Option<Redis>,
    pub(crate) queue: Queue,
    pub(crate) tasks: Tasks,
    pub(crate) auth: Auth,
    pub(crate) secrets: Secrets,
    pub(crate) logging: Logging,
    /// Survivorship and what can be found.
    pub(crate) policy: Policy,
    /// Sources that are asked live, and views of them.
    pub(crate) live: Live,
    /// The file that it was read from.
    pub(crate) file: Option<PathBuf>,
    /// Given on the command line only, by tests of an upgrade.
    pub(crate) further_migrations: Option<PathBuf>,
}

impl Config {
    /// Reads and validates everything.
    pub(crate) fn load(variable: impl Fn(&str) -> Option<String>, file: Option<&Path>) -> Result<Self, ConfigError> {
        let config = Self::read(&Source::load(&variable, file)?, &variable)?;
        Ok(Self { file: file.map(Path::to_owned), ..config })
    }

    fn read(source: &Source, variable: &dyn Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let server = Server::read(source)?;
        let rules = survivorship::read(source)?;
        Ok(Self {
            auth: Auth::read(source, &server)?,
            server,
            database: Database::read(source)?,
            cache: Cache::read(source)?,
            redis: Redis::read(source)?,
            queue: Queue::read(source)?,
            tasks: Tasks::read(source)?,
            secrets: Secrets::read(source)?,
            logging: Logging::read(source)?,
            live: Live::read(source, variable, &rules)?,
            policy: Policy { search_fields: search::read(source)?, rules },
            file: None,
            further_migrations: None,
        })
    }

    /// Every setting with the value in force, in the order of the table; secrets are hidden.
    pub(crate) fn in_force(&self) -> Vec<(&'static str, String)> {
        let mut values = self.server.in_force();
        values.extend(self.database.in_force());
        values.extend(self.cache.in_force());
        values.extend(Redis::in_force(self.redis.as_ref()));
        values.extend(self.queue.in_force());
        values.extend(self.tasks.in_force());
        values.extend(Auth::in_force());
        values.extend(self.secrets.in_force());
        values.extend(self.logging.in_force());
        values.extend(search::in_force(&self.policy.search_fields));
        values
    }

    /// Live sources and views, then survivorship, as they are in force, for people.
    pub(crate) fn rules_in_force(&self) -> Vec<String> {
        let mut lines = self.live.in_force();
        lines.extend(survivorship::in_force(&self.policy.rules));
        lines
    }
}

/// How an optional value is shown.
fn shown(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "(unset)".into(), |value| value.to_string())
}
