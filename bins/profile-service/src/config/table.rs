//! Every setting, once.

/// One setting.
pub(crate) struct Setting {
    /// The environment variable.
    pub(crate) variable: &'static str,
    /// For people: the value, or what happens, where nothing is set.
    pub(crate) default: &'static str,
    /// For people: what it does, and what is allowed.
    pub(crate) meaning: &'static str,
    /// Never printed.
    pub(crate) secret: bool,
}

impl Setting {
    /// The name in the file, `section.key`: the variable in lower case, its first underscore a dot.
    pub(crate) fn key(&self) -> String {
        self.variable.to_lowercase().replacen('_', ".", 1)
    }

    /// The default, where it is a value and no description.
    fn literal(&self) -> Option<&'static str> {
        (!self.default.contains(' ') && self.default != "none").then_some(self.default)
    }
}

const fn setting(variable: &'static str, default: &'static str, meaning: &'static str) -> Setting {
    Setting { variable, default, meaning, secret: false }
}

const fn secret(variable: &'static str, default: &'static str, meaning: &'static str) -> Setting {
    Setting { variable, default, meaning, secret: true }
}

/// In the order in which they are shown.
pub(crate) const SETTINGS: &[Setting] = &[
    setting("SERVER_PORT", "8080", "Port of the API; `0` takes a free one"),
    setting("SERVER_HOST", "127.0.0.1", "IP address to listen on; `0.0.0.0` or `::` for all"),
    setting("SERVER_WORKERS", "one per CPU", "Threads that serve HTTP, 1–256"),
    setting("REQUEST_TIMEOUT", "1500ms", "How long a request may take until it is answered with 503, 100ms–60s"),
    setting(
        "SHUTDOWN_GRACE",
        "0s on loopback, else 3s",
        "After SIGTERM: how long requests are still served while `/readyz` already refuses, 0s–10s",
    ),
    setting(
        "ADMIN_ADDRESS",
        "127.0.0.1:8081",
        "Where operators are served: `DELETE /cache`, `DELETE /cache/{id}`, `DELETE /cache/views/{view}`, `DELETE /cache/views/{view}/{id}`, `PUT /log-level`. Whoever can connect there may; port `0` takes a free one",
    ),
    setting(
        "DATA_DIR",
        "./data",
        "Folder of the embedded SQLite store and of exports; made if it is missing. Instances that share a database share the exports in it",
    ),
    setting(
        "DB_HOST",
        "localhost",
        "PostgreSQL server, or a list (`host` or `host:port`, separated by commas) of those that may take the writes: the one not in recovery, on the newest timeline, does. Any `DB_…` that is set selects PostgreSQL instead of SQLite",
    ),
    setting("DB_PORT", "5432", "Port of those that name none"),
    setting("DB_REPLICA_HOSTS", "none", "Replicas, in the same form: reads that may be 2 seconds old go there"),
    setting("DB_USER", "postgres", "User"),
    secret("DB_PASSWORD", "none", "Password"),
    setting("DB_NAME", "profiles", "Database"),
    setting(
        "DB_TLS",
        "prefer",
        "`off`, `prefer` (encrypted where the server can, its certificate unchecked) or `verify` (encrypted, certificate and name checked)",
    ),
    setting("DB_TLS_CA", "the system's", "PEM file with the certificates that `verify` trusts"),
    setting(
        "DB_POOL_SIZE",
        "16",
        "Connections of this instance, 1–500, and as many to each replica; up to half of them, one per processor, are shared by reads of one profile, and, from 5 on, one follows the feed; an export needs 3. Where there are several servers, each is looked at over one more",
    ),
    setting("DB_PREPARED_STATEMENTS", "true", "`false` behind a pooler in transaction mode that can't keep prepared statements"),
    setting(
        "CACHE",
        "on",
        "`on` (in this process, and in front of Redis where it is named), `memory` or `redis` (that tier alone) or `off`",
    ),
    setting("CACHE_ENTRIES", "50000", "Profiles that are kept in this process, at most"),
    setting("CACHE_MEMORY", "64", "MiB that they may take, at most"),
    setting("CACHE_TTL", "24h", "How long a cached profile is kept, at most, 1s–30d. What changes is dropped at once"),
    setting(
        "STALE_IF_ERROR",
        "60s",
        "How long cached profiles are served when the store can't be reached, 0s–24h; `Cache-Status` marks them",
    ),
    setting("FEED_RETENTION", "7d", "How long the feed of changes is kept, 1m–365d"),
    setting("REDIS_ADDRESS", "none", "Redis as a cache that instances share: `host:port`, or a list separated by commas"),
    setting("REDIS_MODE", "single", "`single`, `sentinel` (the addresses are those of sentinels) or `cluster` (of some nodes)"),
    setting("REDIS_USERNAME", "none", "User"),
    secret("REDIS_PASSWORD", "none", "Password"),
    setting("REDIS_DB", "0", "Number of the database; 0 in a cluster"),
    setting("REDIS_TLS", "false", "`true` encrypts, and checks certificate and name"),
    setting("REDIS_TLS_CA", "the system's", "PEM file with the certificates that are trusted then"),
    setting("REDIS_SENTINEL_MASTER", "mymaster", "What the sentinels call the master"),
    secret("REDIS_SENTINEL_PASSWORD", "none", "Password of the sentinels"),
    setting("REDIS_PREFIX", "profile", "What every key begins with: 1–32 of a–z, 0–9, `-` and `_`"),
    secret(
        "QUEUE_URI",
        "none",
        "RabbitMQ, which tells the workers of all instances at once what is due: `amqp://user:password@host:port/vhost`, or `amqps://…`. They look by themselves every second, with it or without",
    ),
    setting("TASK_CONCURRENCY", "64", "Tasks of one type that this instance runs at once, 1–10000"),
    setting(
        "TASK_LEASE",
        "30s",
        "How long a task is left to an instance that gives no sign of life, 1s–10m; then another one starts it again",
    ),
    setting("TASK_BACKOFF", "30s", "How long a task that failed waits at most, 0s–1h; twice as long with each failure, up to 1h"),
    setting("TASK_RETENTION", "7d", "How long tasks that have ended can be looked at, 1m–365d"),
    setting("WEBHOOK_PRIVATE", "false", "`true` lets webhooks go to this machine and to private networks, too"),
    setting("AUTH_MODE", "none on loopback", "Who may call: `none` lets everyone in who can connect. Required off loopback"),
    secret(
        "SECRET_KEY",
        "made once, kept in the store",
        "Signs what clients carry, such as cursors: at least 32 characters. Two, the newest first and separated by a comma, while they are rotated. The same on all instances",
    ),
    setting("SECRET_KEY_FILE", "none", "File with the same, one to a line"),
    setting("LOG_LEVEL", "info", "`error`, `warn`, `info`, `debug` or `trace`"),
    setting("LOG_FORMAT", "text on a terminal, else json", "`json` or `text`"),
    setting("SEARCH_FIELDS", "*", "Attributes that `attr.…=` can find: `*`, or a comma-separated list"),
];

/// Settings of things that aren't built yet. They are refused, because leaving them out silently would open what they
/// should close.
pub(crate) const NOT_BUILT: &[&str] = &["AUTH_ISSUER", "AUTH_AUDIENCE", "AUTH_JWKS_URL", "AUTH_JWKS_FILE"];

/// README's table.
pub(crate) fn markdown() -> String {
    let head = ["| Variable | In the file | Default | Meaning |".to_owned(), "|---|---|---|---|".to_owned()];
    let rows = SETTINGS.iter().map(|setting| {
        let default = setting.literal().map_or_else(|| setting.default.to_owned(), |value| format!("`{value}`"));
        format!("| `{}` | `{}` | {default} | {} |", setting.variable, setting.key(), setting.meaning)
    });
    head.into_iter().chain(rows).collect::<Vec<_>>().join("\n") + "\n"
}

/// `.env.example`.
pub(crate) fn env_example() -> String {
    let head = "# Every setting, with its default. Copy to .env, uncomment what you change, and load it where the service is started:\n\
                # it reads its environment, not this file.";
    let parts = SETTINGS.iter().map(|setting| {
        let meaning = setting.meaning.replace('`', "");
        format!("# {meaning}\n# Default: {}\n#{}={}", setting.default, setting.variable, setting.literal().unwrap_or(""))
    });
    std::iter::once(head.to_owned()).chain(parts).collect::<Vec<_>>().join("\n\n") + "\n"
}
