//! Encryption, with a server that has a certificate of an authority made for the test.

#![allow(clippy::unwrap_used, reason = "a test says by panicking what went wrong")]

mod support;

use std::{path::Path, process::Command, time::Duration};

use profile_domain::Policy;
use profile_ports::{Store as _, StoreError};
use profile_postgres::{Settings, SettingsError, Tls};

use crate::support::{Database, PrivateServer, deadline, open};

#[tokio::test(flavor = "multi_thread")]
async fn encrypts_as_told() {
    let folder = tempfile::tempdir().unwrap();
    let server = PrivateServer::start();
    let database = Database::create_on(server.config.clone()).await;
    drop(database.store(Policy::default()).await);
    let ca = make_certificates(folder.path());
    let look = database.look().await;
    for file in ["server.crt", "server.key"] {
        let text = std::fs::read_to_string(folder.path().join(file)).unwrap();
        let sql =
            format!("COPY (SELECT unnest(string_to_array(trim('{text}', E'\\n'), E'\\n'))) TO PROGRAM 'umask 077; cat > {file}'");
        look.batch_execute(&sql).await.unwrap();
    }
    for sql in ["ALTER SYSTEM SET ssl = on", "SELECT pg_reload_conf()"] {
        look.batch_execute(sql).await.unwrap();
    }
    while look.query_one("SELECT current_setting('ssl')", &[]).await.unwrap().get::<_, &str>(0) == "off" {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }

    let settings = |tls| Settings { tls, tls_root_cert: Some(ca.clone()), host: "127.0.0.1".to_owned(), ..database.settings() };
    for (tls, encrypted) in [(Tls::Off, false), (Tls::Prefer, true), (Tls::Verify, true)] {
        let store = open(&Settings { application_name: format!("{tls:?}"), ..settings(tls) }, Policy::default());
        store.ping(deadline()).await.unwrap();
        let sql = "SELECT ssl FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE application_name = $1";
        let seen = look.query_one(sql, &[&format!("{tls:?}")]).await.unwrap();
        assert_eq!(seen.get::<_, bool>(0), encrypted, "{tls:?}");
    }

    // The certificate names the address only, and is of this authority only.
    let elsewhere = Settings { host: "localhost".to_owned(), ..settings(Tls::Verify) };
    std::fs::create_dir(folder.path().join("other")).unwrap();
    let stranger = Settings { tls_root_cert: Some(make_certificates(&folder.path().join("other"))), ..settings(Tls::Verify) };
    for wrong in [elsewhere, stranger] {
        let error = open(&wrong, Policy::default()).ping(deadline()).await.unwrap_err();
        assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
    }
}

#[tokio::test]
async fn missing_authorities_are_refused_at_once() {
    let settings = Settings { tls: Tls::Verify, tls_root_cert: Some("/nowhere/ca.pem".into()), ..Settings::default() };
    let handle = tokio::runtime::Handle::current();
    let error = profile_postgres::PostgresStore::new(&settings, Policy::default(), handle, &prometheus::Registry::new()).err();
    assert!(matches!(error, Some(SettingsError::RootCertificates { from, .. }) if from == "/nowhere/ca.pem"));
}

/// An authority, and what it says of a server at 127.0.0.1. Gives the authority's certificate.
fn make_certificates(folder: &Path) -> std::path::PathBuf {
    let openssl = |arguments: &str| {
        let run = Command::new("openssl").args(arguments.split(' ')).current_dir(folder).output().expect("openssl is installed");
        assert!(run.status.success(), "openssl {arguments}: {}", String::from_utf8_lossy(&run.stderr));
    };
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    std::fs::write(folder.join("names"), "subjectAltName=IP:127.0.0.1").unwrap();
    openssl(&format!("req -x509 {key} -keyout ca.key -out ca.crt -subj /CN=authority -days 2"));
    openssl(&format!("req {key} -keyout server.key -out server.csr -subj /CN=server"));
    openssl("x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -extfile names -days 2 -out server.crt");
    folder.join("ca.crt")
}
