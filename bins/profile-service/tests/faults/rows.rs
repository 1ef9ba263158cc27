//! A look at the tables behind the service, for what no answer shows.

use std::{
    path::PathBuf,
    process::{Command, Output},
    time::Instant,
};

use crate::support::{
    CEILING,
    stores::{Backend, ask},
};

/// Where the tables are.
pub(crate) enum Rows {
    Sqlite(PathBuf),
    /// URL of the database.
    Postgres(String),
}

/// Counts what must not be: each query gives 0.
const NONE: [(&str, &str); 6] = [
    (
        "entities whose version isn't the number of their changes",
        "SELECT count(*) FROM entities AS e LEFT JOIN (SELECT tenant, type, reference, count(*) AS changes, max(version) AS version
             FROM feed GROUP BY tenant, type, reference) AS f
             ON f.tenant = e.tenant AND f.type = e.type AND f.reference = e.reference
         WHERE f.changes IS NULL OR f.changes <> e.version OR f.version <> e.version",
    ),
    (
        "changes of entities that aren't there",
        "SELECT count(*) FROM feed AS f WHERE NOT EXISTS (SELECT 1 FROM entities AS e
             WHERE e.tenant = f.tenant AND e.type = f.type AND e.reference = f.reference)",
    ),
    (
        "search rows of no living entity",
        "SELECT count(*) FROM entity_values AS v
         WHERE NOT EXISTS (SELECT 1 FROM entities AS e WHERE e.tenant = v.tenant AND e.type = 'profile' AND e.id = v.entity)",
    ),
    (
        "reservations that their profile doesn't serve",
        "SELECT count(*) FROM profile_emails AS r WHERE NOT EXISTS (SELECT 1 FROM entities AS e
             WHERE e.tenant = r.tenant AND e.type = 'profile' AND e.reference = r.reference
                 AND lower(e.properties ->> 'email') = r.email_key)",
    ),
    (
        "living profiles without a reservation",
        "SELECT (SELECT count(*) FROM entities WHERE id IS NOT NULL) - (SELECT count(*) FROM profile_emails)",
    ),
    (
        "receipts that name no entity",
        "SELECT count(*) FROM idempotency_keys AS k WHERE NOT EXISTS (SELECT 1 FROM entities AS e
             WHERE e.tenant = k.tenant AND e.type = k.type AND e.reference = k.reference)",
    ),
];

impl Rows {
    pub(crate) fn of(backend: &Backend) -> Self {
        match backend {
            Backend::Sqlite(folder) => Self::Sqlite(folder.path().join("profiles.db")),
            Backend::Postgres(database) => Self::Postgres(database.url()),
        }
    }

    /// The first value of an answer.
    pub(crate) async fn ask(&self, query: &str) -> String {
        match self {
            Self::Sqlite(file) => {
                let (file, query) = (file.clone(), query.to_owned());
                tokio::task::spawn_blocking(move || sqlite(&file, &query)).await.expect("an answer")
            }
            Self::Postgres(url) => ask(url, query).await,
        }
    }

    /// Every table agrees with every other, and the file with itself.
    pub(crate) async fn are_whole(&self) {
        for (what, query) in NONE {
            assert_eq!(self.ask(query).await, "0", "{what}");
        }
        if matches!(self, Self::Sqlite(_)) {
            assert_eq!(self.ask("PRAGMA integrity_check").await, "ok");
        }
    }

    /// Waits until the server has ended every session of a service that was killed; one may be about to commit still.
    pub(crate) async fn are_left_alone(&self) {
        let Self::Postgres(url) = self else { return };
        let began = Instant::now();
        let query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()";
        while ask(url, query).await != "0" {
            assert!(began.elapsed() < CEILING, "sessions of the killed service stay");
            tokio::time::sleep(crate::PAUSE).await;
        }
    }
}

/// As another process, by the shell of SQLite or else by Python: the driver belongs to the adapter.
fn sqlite(file: &std::path::Path, query: &str) -> String {
    const SCRIPT: &str = "import sqlite3, sys\nprint(sqlite3.connect(sys.argv[1], 30).execute(sys.argv[2]).fetchone()[0])";
    let shell = Command::new("sqlite3").args(["-batch", "-cmd", ".timeout 30000"]).arg(file).arg(query).output();
    let output = match shell {
        Ok(output) => output,
        Err(_) => Command::new("python3").args(["-c", SCRIPT]).arg(file).arg(query).output().expect("sqlite3 or python3"),
    };
    let Output { status, stdout, stderr } = output;
    assert!(status.success(), "{query}: {}", String::from_utf8_lossy(&stderr));
    String::from_utf8(stdout).expect("text").trim().to_owned()
}
