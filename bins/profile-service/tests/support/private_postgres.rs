//! A PostgreSQL server that a test may stop, kill and start again without harm to others.

use std::{
    fs,
    io::Write,
    os::unix::{
        fs::MetadataExt,
        process::{CommandExt, ExitStatusExt},
    },
    path::{Path, PathBuf},
    process::Stdio,
    time::Instant,
};

use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, ChildStdin, Command},
};
use tokio_postgres::NoTls;

use super::{CEILING, POLL, stores::ask};

/// Started by `scripts/with-postgres`, which ends it and removes its data once this is dropped; a replica is ended by this itself.
pub(crate) struct PrivatePostgres {
    pub(crate) url: String,
    data: PathBuf,
    /// The folder of `pg_ctl`.
    binaries: PathBuf,
    /// The script, and its input: closed on drop, which ends the server. A replica has none.
    script: Option<(Child, Option<ChildStdin>)>,
}

impl PrivatePostgres {
    pub(crate) async fn start() -> Self {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../scripts/with-postgres");
        let mut child = Command::new(script)
            .args(["sh", "-c", "echo $TEST_POSTGRES_URL; exec cat"])
            .env_remove("TEST_POSTGRES_URL")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the script runs");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let url = lines.next_line().await.expect("output").expect("the URL");
        let data = PathBuf::from(ask(&url, "SHOW data_directory").await);
        let postmaster = postmaster(&data).expect("the server's pid file");
        let program = fs::read_link(format!("/proc/{postmaster}/exe")).expect("the server's program");
        let binaries = program.parent().expect("a folder").to_owned();
        let stdin = child.stdin.take();
        Self { url, data, binaries, script: Some((child, stdin)) }
    }

    /// A copy that follows this one, with settings of its own; it takes connections. This server must outlive it.
    pub(crate) async fn replica(&self, settings: &[(&str, &str)]) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        drop(listener);
        let data = self.data.with_file_name(format!("replica-{port}"));
        let mut backup = self.as_owner("pg_basebackup");
        backup.args(["--host=127.0.0.1", "--username=postgres", "--checkpoint=fast", "--no-sync", "--write-recovery-conf"]);
        backup.arg(format!("--port={}", self.port())).arg("--pgdata").arg(&data);
        let copied = Command::from(backup).status().await.expect("pg_basebackup runs");
        assert!(copied.success(), "no copy of the primary");
        let mut config = fs::File::options().append(true).open(data.join("postgresql.auto.conf")).expect("its settings");
        for (name, value) in settings {
            writeln!(config, "{name} = '{value}'").expect("a setting");
        }
        let replica = Self {
            url: format!("postgres://postgres@127.0.0.1:{port}/postgres"),
            data,
            binaries: self.binaries.clone(),
            script: None,
        };
        replica.start_again().await;
        replica
    }

    /// Makes a replica take writes, and waits until it does.
    pub(crate) async fn promote(&self) {
        assert!(self.pg_ctl(&["promote", "--wait"]).await, "pg_ctl promote fails");
    }

    /// Waits until it has replayed what another server has flushed by now.
    pub(crate) async fn has_all_of(&self, primary: &Self) {
        let flushed = ask(&primary.url, "SELECT pg_current_wal_flush_lsn()").await;
        let began = Instant::now();
        while ask(&self.url, &format!("SELECT pg_last_wal_replay_lsn() >= '{flushed}'")).await != "t" {
            assert!(began.elapsed() < CEILING, "the replica doesn't follow");
            tokio::time::sleep(POLL).await;
        }
    }

    /// As `DB_HOST` lists it.
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port())
    }

    /// `DB_…` for the service.
    pub(crate) fn variables(&self) -> Vec<(String, String)> {
        let variables = [
            ("DB_HOST", "127.0.0.1".into()),
            ("DB_PORT", self.port()),
            ("DB_USER", "postgres".into()),
            ("DB_NAME", "postgres".into()),
        ];
        variables.map(|(name, value)| (name.to_owned(), value)).into()
    }

    /// Changes a setting of the server that needs no restart, and waits until new sessions have it.
    pub(crate) async fn set(&self, name: &str, value: &str) {
        for statement in [&format!("ALTER SYSTEM SET {name} = {value}"), "SELECT pg_reload_conf()"] {
            let (client, connection) = tokio_postgres::connect(&self.url, NoTls).await.expect("the server answers");
            let driver = tokio::spawn(connection);
            client.batch_execute(statement).await.expect("the statement is right");
            drop(client);
            let _ = driver.await;
        }
        let began = Instant::now();
        while ask(&self.url, &format!("SHOW {name}")).await != value {
            assert!(began.elapsed() < CEILING, "the server doesn't take {name}");
            tokio::time::sleep(POLL).await;
        }
    }

    fn port(&self) -> String {
        let config: tokio_postgres::Config = self.url.parse().expect("a URL");
        config.get_ports()[0].to_string()
    }

    /// To the server and all of its backends.
    pub(crate) fn signal(&self, name: &str) {
        if let Some(postmaster) = postmaster(&self.data) {
            // A server that is stopped first forks none that would go on.
            signal(name, &[postmaster]);
            signal(name, &family(postmaster));
        }
    }

    /// Ends the server and all of its backends by SIGKILL, and waits until they are gone.
    pub(crate) async fn kill(&self) {
        let postmaster = postmaster(&self.data).expect("the server runs");
        // So that it forks no more.
        signal("STOP", &[postmaster]);
        let family = family(postmaster);
        signal("KILL", &family);
        let began = Instant::now();
        while family.iter().any(|pid| is_alive(*pid)) {
            assert!(began.elapsed() < CEILING, "the server doesn't die");
            tokio::time::sleep(POLL).await;
        }
    }

    /// Stops the server as `pg_ctl` does: `fast` or `immediate`.
    pub(crate) async fn stop(&self, mode: &str) {
        let stopped = self.pg_ctl(&["stop", "--wait", "--mode", mode]).await;
        assert!(stopped, "pg_ctl stop fails");
    }

    /// Starts it on the data it left and on the same port, and waits until it takes connections.
    pub(crate) async fn start_again(&self) {
        let log = format!("--log={}", self.data.with_extension("log").display());
        let options = format!("--options=-c port={}", self.port());
        let began = Instant::now();
        // Until the system has freed all of what was killed, another start is refused.
        while !self.pg_ctl(&["start", "--wait", &log, &options]).await {
            assert!(began.elapsed() < CEILING, "the server doesn't start");
            tokio::time::sleep(POLL).await;
        }
    }

    /// Keeps a copy of the data of a server that is stopped.
    pub(crate) fn back_up(&self) {
        copy(&self.data, &self.data.with_file_name("backup"));
    }

    /// Puts the copy in the place of the data of a server that is stopped.
    pub(crate) fn take_back(&self) {
        fs::remove_dir_all(&self.data).expect("the data is removed");
        copy(&self.data.with_file_name("backup"), &self.data);
    }

    async fn pg_ctl(&self, arguments: &[&str]) -> bool {
        let mut command = self.as_owner("pg_ctl");
        command.args(arguments).arg("--silent").arg("--pgdata").arg(&self.data);
        let status = Command::from(command).status().await.expect("pg_ctl runs");
        assert_eq!(status.signal(), None, "pg_ctl was killed");
        status.success()
    }

    fn as_owner(&self, program: &str) -> std::process::Command {
        let mut command = std::process::Command::new(self.binaries.join(program));
        command.current_dir("/").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        // PostgreSQL refuses to run as root; the script gave its data to somebody else then.
        let owner = fs::metadata(self.data.parent().expect("a folder of its own")).expect("the folder");
        if owner.uid() != fs::metadata("/proc/self").expect("this process").uid() {
            command.uid(owner.uid()).gid(owner.gid());
        }
        command
    }
}

impl Drop for PrivatePostgres {
    fn drop(&mut self) {
        self.signal("CONT");
        let Some((script, stdin)) = &mut self.script else {
            let mut stop = self.as_owner("pg_ctl");
            let _ = stop.args(["stop", "--mode=immediate", "--silent", "--pgdata"]).arg(&self.data).status();
            let _ = fs::remove_dir_all(&self.data);
            return;
        };
        drop(stdin.take());
        // The script stops the server when its command has ended; whoever waits for it need not be this test.
        let _ = std::io::stderr().flush();
        let _ = script.try_wait();
    }
}

/// `None` where no server runs.
fn postmaster(data: &Path) -> Option<u32> {
    fs::read_to_string(data.join("postmaster.pid")).ok()?.lines().next()?.parse().ok()
}

/// A process and its children.
fn family(parent: u32) -> Vec<u32> {
    let children = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap_or_default();
    let children = children.split_whitespace().filter_map(|pid| pid.parse().ok());
    std::iter::once(parent).chain(children).collect()
}

/// With owners and modes.
fn copy(from: &Path, to: &Path) {
    let status = std::process::Command::new("cp").arg("-a").args([from, to]).status();
    assert!(status.expect("cp runs").success(), "no copy of {}", from.display());
}

fn signal(name: &str, processes: &[u32]) {
    let mut kill = std::process::Command::new("kill");
    kill.arg(format!("-{name}")).args(processes.iter().map(ToString::to_string));
    // A backend may have ended in between, which is nobody's concern.
    let _ = kill.stderr(Stdio::null()).status().expect("kill runs");
}

/// What nobody has waited for yet is dead, too.
fn is_alive(pid: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    status.lines().any(|line| line.starts_with("State:") && !line.contains('Z') && !line.contains('X'))
}
