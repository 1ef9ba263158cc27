//! Every wrong value stops the start with one line that names it. The lines are part of the promise, so they are here in full.

use std::{collections::BTreeMap, io::Write};

use super::{Config, table};

fn load(variables: &[(&str, &str)], file: Option<&str>) -> Result<Config, String> {
    let variables: BTreeMap<&str, &str> = variables.iter().copied().collect();
    let file = file.map(|text| {
        let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
        file.write_all(text.as_bytes()).expect("it can be written");
        file
    });
    let path = file.as_ref().map(tempfile::NamedTempFile::path);
    let shown = path.map_or_else(|| "(no file)".into(), |path| path.display().to_string());
    Config::load(|name| variables.get(name).map(|value| (*value).to_owned()), path)
        .map_err(|error| error.to_string().replace(&shown, "FILE"))
}

fn refused(variables: &[(&str, &str)], file: Option<&str>) -> String {
    match load(variables, file) {
        Ok(_) => panic!("{variables:?} {file:?} was accepted"),
        Err(line) => line,
    }
}

#[test]
fn wrong_variables_are_named_with_what_is_allowed() {
    let k8s = "DB_PORT is \"tcp://10.0.0.1:5432\"; allowed is a port from 1 to 65535 (Kubernetes sets this for a Service of that \
               name: set enableServiceLinks: false in the pod's spec)";
    let oauth = "nothing: OAuth isn't built yet, and leaving it out silently would let everyone in";
    for (variable, value, line) in [
        ("SERVER_PORT", "http", "SERVER_PORT is \"http\"; allowed is a port from 0 to 65535".to_owned()),
        ("SERVER_PORT", "65536", "SERVER_PORT is \"65536\"; allowed is a port from 0 to 65535".into()),
        ("DB_PORT", "0", "DB_PORT is \"0\"; allowed is a port from 1 to 65535".into()),
        ("DB_PORT", "tcp://10.0.0.1:5432", k8s.into()),
        (
            "SERVER_HOST",
            "example.com",
            "SERVER_HOST is \"example.com\"; allowed is an IP address, such as 127.0.0.1, 0.0.0.0 or ::".into(),
        ),
        ("SERVER_WORKERS", "0", "SERVER_WORKERS is \"0\"; allowed is a number from 1 to 256".into()),
        (
            "REQUEST_TIMEOUT",
            "1500",
            "REQUEST_TIMEOUT is \"1500\"; allowed is a duration from 100ms to 60s, such as 1500ms or 2s".into(),
        ),
        (
            "REQUEST_TIMEOUT",
            "61s",
            "REQUEST_TIMEOUT is \"61s\"; allowed is a duration from 100ms to 60s, such as 1500ms or 2s".into(),
        ),
        ("SHUTDOWN_GRACE", "1m", "SHUTDOWN_GRACE is \"1m\"; allowed is a duration from 0s to 10s, such as 3s".into()),
        (
            "DB_HOST",
            "a,,b",
            "DB_HOST is \"a,,b\"; allowed is host, host:port, or a list of them separated by commas; [::1]:5432 for IPv6".into(),
        ),
        (
            "DB_REPLICA_HOSTS",
            "a:0",
            "DB_REPLICA_HOSTS is \"a:0\"; allowed is host, host:port, or a list of them separated by commas; [::1]:5432 for IPv6"
                .into(),
        ),
        ("DB_TLS", "require", "DB_TLS is \"require\"; allowed is off, prefer or verify".into()),
        (
            "DB_TLS_CA",
            "/ca.pem",
            "DB_TLS_CA is \"/ca.pem\"; allowed is nothing unless DB_TLS is verify: only then are certificates checked".into(),
        ),
        ("DB_POOL_SIZE", "-1", "DB_POOL_SIZE is \"-1\"; allowed is a number from 1 to 500".into()),
        ("DB_PREPARED_STATEMENTS", "no", "DB_PREPARED_STATEMENTS is \"no\"; allowed is true or false".into()),
        ("AUTH_MODE", "basic", "AUTH_MODE is \"basic\"; allowed is none (oauth isn't built yet)".into()),
        ("AUTH_MODE", "oauth", "AUTH_MODE is \"oauth\"; allowed is none: OAuth isn't built yet".into()),
        ("AUTH_ISSUER", "https://id", format!("AUTH_ISSUER is \"https://id\"; allowed is {oauth}")),
        ("AUTH_JWKS_FILE", "/jwks", format!("AUTH_JWKS_FILE is \"/jwks\"; allowed is {oauth}")),
        ("LOG_LEVEL", "verbose", "LOG_LEVEL is \"verbose\"; allowed is error, warn, info, debug or trace".into()),
        ("LOG_FORMAT", "xml", "LOG_FORMAT is \"xml\"; allowed is json or text".into()),
        ("SEARCH_FIELDS", ",", "SEARCH_FIELDS is \",\"; allowed is * or a comma-separated list of attributes".into()),
        (
            "SECRET_KEY",
            "too short",
            "SECRET_KEY holds a key of 9 characters; allowed are 32 or more".into(),
        ),
        (
            "SECRET_KEY",
            "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa,bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb,cccccccccccccccccccccccccccccccc",
            "SECRET_KEY holds 3 keys; allowed are one, or two during a rotation".into(),
        ),
        (
            "SECRET_KEY_FILE",
            "/no/such/file",
            "SECRET_KEY_FILE is \"/no/such/file\"; allowed is a text file that can be read: No such file or directory (os error 2)"
                .into(),
        ),
    ] {
        assert_eq!(refused(&[(variable, value)], None), line);
    }
}

#[test]
fn a_wrong_value_stays_one_line() {
    assert_eq!(refused(&[("LOG_LEVEL", "a\nb")], None), "LOG_LEVEL is \"a\\nb\"; allowed is error, warn, info, debug or trace");
}

#[test]
fn off_loopback_someone_must_accept_that_all_may_call() {
    assert_eq!(
        refused(&[("SERVER_HOST", "0.0.0.0")], None),
        "SERVER_HOST is \"0.0.0.0\", where everyone who can connect may read and change every profile; set AUTH_MODE=none to \
         accept that, or listen on 127.0.0.1"
    );
    let accepted = load(&[("SERVER_HOST", "0.0.0.0"), ("AUTH_MODE", "none")], None).expect("it was accepted");
    assert!(accepted.auth.open_to_others);
    let loopback = load(&[("AUTH_MODE", "none")], None).expect("it is the default there");
    assert!(!loopback.auth.open_to_others);
}

#[test]
fn wrong_files_are_named_with_what_is_allowed() {
    for (file, line) in [
        ("[server]\nport = \"x\"", "server.port in FILE is \"x\"; allowed is a port from 0 to 65535"),
        ("[server]\nprot = 1", "server.prot in FILE is no setting; [server] may hold port, host, workers"),
        (
            "[sever]\nport = 1",
            "sever.port in FILE is no setting; sections are server, request, shutdown, admin, data, db, cache, stale, feed, redis, queue, task, webhook, auth, secret, log, search, survivorship, tenants, sources, views",
        ),
        (
            "port = 1",
            "port in FILE is no setting; sections are server, request, shutdown, admin, data, db, cache, stale, feed, redis, queue, task, webhook, auth, secret, log, search, survivorship, tenants, sources, views",
        ),
        ("[server]\nport = { a = 1 }", "server.port in FILE is a table; allowed is a string, a number, true or false"),
        ("[server]\n\nport = ", "FILE line 3 is no TOML: string values must be quoted, expected literal string"),
        (
            "[survivorship]\ndefault = \"newest\"",
            "survivorship.revision in FILE is missing; allowed is a number from 1 to 2147483647, raised with every change of the rules",
        ),
        (
            "[survivorship]\nrevision = 1\ndefault = \"oldest\"",
            "survivorship.default in FILE is \"oldest\"; allowed is \"newest\" or \"priority\"",
        ),
        (
            "[survivorship]\nrevision = 1\nfeilds = 1",
            "survivorship.feilds in FILE is no setting; [survivorship] may hold revision, default, sources, fields",
        ),
        (
            "[survivorship]\nrevision = 1\n[survivorship.fields.email]\nrule = \"priority\"",
            "survivorship.fields.email.sources in FILE is missing; allowed is a list of sources, the most trusted first, such as [\"api\", \"crm\"]",
        ),
        (
            "[survivorship]\nrevision = 1\n[survivorship.fields.email]\nrule = \"priority\"\nsources = [\"a\", \"a\"]",
            "survivorship.fields.email.sources in FILE is [\"a\", \"a\"]; allowed is a list of different names of sources",
        ),
        (
            "[survivorship]\nrevision = 1\n[survivorship.fields.email]\nrule = \"newest\"\nsource = 1",
            "survivorship.fields.email.source in FILE is no setting; [survivorship.fields.email] may hold rule, sources",
        ),
    ] {
        assert_eq!(refused(&[], Some(file)), line, "{file}");
    }
}

#[test]
fn the_environment_comes_before_the_file() {
    let file = "[server]\nport = 1\nworkers = 3\n[search]\nfields = [\"plan\", \"city\"]\n[db]\nhost = \"db\"\n\
                [survivorship]\nrevision = 7\n[survivorship.fields.email]\nrule = \"priority\"\nsources = [\"crm\", \"api\"]";
    let config = load(&[("SERVER_PORT", "2")], Some(file)).expect("all of it is allowed");
    let in_force: BTreeMap<_, _> = config.in_force().into_iter().collect();
    assert_eq!(in_force["SERVER_PORT"], "2");
    assert_eq!(in_force["SERVER_WORKERS"], "3");
    assert_eq!(in_force["SEARCH_FIELDS"], "city,plan");
    assert_eq!(in_force["DB_HOST"], "db");
    assert_eq!(in_force["DB_USER"], "postgres");
    assert_eq!(in_force["DATA_DIR"], "(unset)");
    assert_eq!(
        config.rules_in_force(),
        [
            "views.profile=sources=[\"store\"] within 500ms, kept 4h",
            "survivorship.revision=7",
            "survivorship.default=newest",
            "survivorship.fields.email=priority(crm, api)",
        ]
    );
}

#[test]
fn hosts_may_be_several_with_ports_of_their_own() {
    let lists = [("DB_HOST", "a, b:6000,[::1]:6001,::1"), ("DB_REPLICA_HOSTS", "c"), ("DB_PORT", "7000")];
    let config = load(&lists, None).expect("all are allowed");
    let in_force: BTreeMap<_, _> = config.in_force().into_iter().collect();
    assert_eq!(in_force["DB_HOST"], "a,b:6000,[::1]:6001,::1");
    let super::Database::Postgres(postgres) = &config.database else { panic!("PostgreSQL is named") };
    let hosts: Vec<_> = postgres.hosts.iter().map(|(host, port)| (host.as_str(), *port)).collect();
    assert_eq!(hosts, [("a", 7000), ("b", 6000), ("::1", 6001), ("::1", 7000)]);
    assert_eq!(postgres.replicas, [("c".to_owned(), 7000)]);
    let socket = load(&[("DB_HOST", "/run/postgresql")], None).expect("it is allowed");
    assert_eq!(socket.in_force().into_iter().find(|(variable, _)| *variable == "DB_HOST").expect("shown").1, "/run/postgresql");
}

#[test]
fn every_setting_of_the_table_is_shown_and_none_else() {
    let config = load(&[], None).expect("nothing is required");
    let shown: Vec<&str> = config.in_force().iter().map(|(variable, _)| *variable).collect();
    let table: Vec<&str> = table::SETTINGS.iter().map(|setting| setting.variable).collect();
    assert_eq!(shown.iter().collect::<std::collections::BTreeSet<_>>(), table.iter().collect());
    assert_eq!(shown.len(), table.len());
}

#[test]
fn secrets_are_never_shown() {
    let canary = "canary-canary-canary-canary-canary";
    let queue = format!("amqp://user:{canary}@queue.example");
    let config = load(
        &[
            ("SECRET_KEY", canary),
            ("DB_PASSWORD", canary),
            ("REDIS_ADDRESS", "localhost"),
            ("REDIS_PASSWORD", canary),
            ("QUEUE_URI", &queue),
            ("REDIS_SENTINEL_PASSWORD", canary),
        ],
        None,
    )
    .expect("all are allowed");
    let shown = format!("{:?}", config.in_force());
    assert!(!shown.contains("canary"), "{shown}");
    assert_eq!(config.secrets.exposed().collect::<Vec<_>>(), [canary]);
    for secret in table::SETTINGS.iter().filter(|setting| setting.secret) {
        let (_, value) = config.in_force().into_iter().find(|(variable, _)| *variable == secret.variable).expect("listed");
        assert_eq!(value, "(hidden)", "{}", secret.variable);
    }
}
