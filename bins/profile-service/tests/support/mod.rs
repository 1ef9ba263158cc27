//! The service as a real process, and databases of a test's own.

#![allow(dead_code, unused_imports, unused_macros, reason = "each test binary uses a part of this")]

pub(crate) mod canary;
mod database;
mod private_postgres;
pub(crate) mod stores;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use reqwest::{Client, StatusCode};
use tempfile::TempDir;

pub(crate) use database::{Database, fresh_database, proxy_on_unix_socket};
pub(crate) use private_postgres::PrivatePostgres;

/// How long anything may take on a slow and busy machine.
pub(crate) const CEILING: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(10);

/// A service that ended before it listened.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) log: String,
}

/// A running service. It listens on a free port, keeps its data in a folder of its own unless the variables say otherwise, and
/// is killed when dropped.
pub(crate) struct Server {
    /// `http://127.0.0.1:…`
    pub(crate) base_url: String,
    pub(crate) client: Client,
    child: Child,
    folder: Arc<TempDir>,
    variables: Vec<(String, String)>,
}

impl Server {
    /// Starts `serve` and waits until it is ready.
    pub(crate) async fn start(variables: &[(&str, &str)]) -> Self {
        let server = Self::listening(variables).await;
        server.wait_for("/readyz", StatusCode::OK).await;
        server
    }

    /// Starts `serve` and waits until it listens, which it does without its database, too.
    pub(crate) async fn listening(variables: &[(&str, &str)]) -> Self {
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Self::spawn(&["serve"], Arc::new(folder()), variables).await
    }

    /// Starts any command that serves.
    pub(crate) async fn command(arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Self::spawn(arguments, Arc::new(folder()), variables).await
    }

    /// Starts `serve`; an error if the process ends by itself instead of listening.
    pub(crate) async fn attempt(variables: &[(&str, &str)]) -> Result<Self, Ended> {
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Self::try_spawn(&["serve"], Arc::new(folder()), variables).await
    }

    async fn spawn(arguments: &[&str], folder: Arc<TempDir>, variables: Vec<(String, String)>) -> Self {
        Self::try_spawn(arguments, folder, variables)
            .await
            .unwrap_or_else(|Ended { status, log }| panic!("ended with {status}: {log}"))
    }

    async fn try_spawn(arguments: &[&str], folder: Arc<TempDir>, variables: Vec<(String, String)>) -> Result<Self, Ended> {
        let port_file = folder.path().join("address");
        let _ = fs::remove_file(&port_file);
        let log = fs::File::options().create(true).append(true).open(folder.path().join("log")).expect("a log");
        let mut command = binary(folder.path());
        command.env("SERVER_PORT", "0").env("DATA_DIR", folder.path().join("data"));
        command.envs(variables.iter().map(|(name, value)| (name, value)));
        command.args(arguments).arg("--port-file").arg(&port_file);
        command.stderr(log.try_clone().expect("a second handle")).stdout(log);
        let mut child = command.spawn().expect("the binary starts");
        let began = Instant::now();
        let address = loop {
            if let Ok(address) = fs::read_to_string(&port_file) {
                break address;
            }
            if let Some(status) = child.try_wait().expect("a child of ours") {
                return Err(Ended { status, log: fs::read_to_string(folder.path().join("log")).unwrap_or_default() });
            }
            assert!(began.elapsed() < CEILING, "the service doesn't listen");
            tokio::time::sleep(POLL).await;
        };
        let client = Client::builder().timeout(CEILING).build().expect("a client");
        Ok(Self { base_url: format!("http://{}", address.trim()), client, child, folder, variables })
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base_url)
    }

    /// The status of a GET; `None` if nobody answers.
    pub(crate) async fn status(&self, path: &str) -> Option<StatusCode> {
        self.client.get(self.url(path)).send().await.ok().map(|answer| answer.status())
    }

    /// Waits until a GET has this status.
    pub(crate) async fn wait_for(&self, path: &str, status: StatusCode) {
        let began = Instant::now();
        loop {
            let last = self.status(path).await;
            if last == Some(status) {
                return;
            }
            assert!(began.elapsed() < CEILING, "{path} gave {last:?} and never {status}: {}", self.log());
            tokio::time::sleep(POLL).await;
        }
    }

    /// Sends a signal, such as `TERM`.
    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("sh").arg("-c").arg(format!("kill -{name} {}", self.child.id())).status();
        assert!(status.expect("sh runs").success(), "the process is gone");
    }

    /// Waits for the end of the process.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("a child of ours") {
                return status;
            }
            assert!(began.elapsed() < CEILING, "the process doesn't end: {}", self.log());
            tokio::time::sleep(POLL).await;
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How long the process has computed.
    pub(crate) fn cpu_time(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid())).expect("the process runs");
        let fields: Vec<&str> = stat.rsplit(") ").next().expect("a state").split(' ').collect();
        let ticks = |index: usize| fields[index].parse::<u64>().expect("a number");
        // In hundredths of a second, whatever the machine (proc(5), USER_HZ).
        Duration::from_millis((ticks(11) + ticks(12)) * 10)
    }

    /// Whether the process still runs.
    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("a child of ours").is_none()
    }

    /// Ends it by a signal and starts it anew on the same data.
    pub(crate) async fn restart_after(&mut self, signal: &str) {
        self.signal(signal);
        self.restart().await;
    }

    /// Waits for its end and starts it anew on the same data, until it is ready.
    pub(crate) async fn restart(&mut self) {
        self.ended().await;
        let next = Self::spawn(&["serve"], Arc::clone(&self.folder), self.variables.clone()).await;
        next.wait_for("/readyz", StatusCode::OK).await;
        *self = next;
    }

    /// Ends it and starts it anew on the same data, with these variables over those of before.
    pub(crate) async fn restart_with(&mut self, variables: &[(&str, &str)]) {
        self.variables.extend(variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        self.restart_after("TERM").await;
    }

    /// All that was written to standard output and standard error, by processes before a restart as well.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).expect("a log")
    }

    pub(crate) fn data_dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// The folder of this server: its data, its log, its temporary files.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A temporary folder, gone when dropped.
pub(crate) fn folder() -> TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

/// Runs a command to its end, with nothing in its environment but what is given.
pub(crate) fn run(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    let folder = folder();
    binary(folder.path()).args(arguments).envs(variables.iter().copied()).output().expect("the binary starts")
}

/// The binary, in a folder of its own and without the environment of who runs the tests.
fn binary(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_profile-service"));
    let temporary = folder.join("tmp");
    fs::create_dir_all(&temporary).expect("a folder for temporary files");
    command.env_clear().env("ADMIN_ADDRESS", "127.0.0.1:0").env("TMPDIR", temporary).current_dir(folder).stdin(Stdio::null());
    command
}
