//! The programs that are measured, each a process of its own: the service as it ships, and the bare programs.

use std::{
    fs::{self, File},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use crate::http::Blocking;

/// How long a program may take until it listens; opening a large SQLite file after it was filled reads its log.
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// A running program. Ends when dropped.
pub(crate) struct Program {
    child: Child,
    pub(crate) address: SocketAddr,
    /// From before the process existed until it answered.
    pub(crate) started_in: Duration,
}

impl Program {
    /// Where it listens, and which process it is.
    pub(crate) fn server(&self) -> Server {
        Server { address: self.address, process: self.child.id() }
    }

    /// Resident memory in MiB, as Linux counts it (`VmRSS`).
    pub(crate) fn resident_mib(&self) -> Result<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS in /proc")?;
        let kib: f64 = line.trim().trim_end_matches(" kB").parse().context("VmRSS is no number")?;
        Ok(kib / 1024.0)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A program, for who sends requests to it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) process: u32,
}

/// Which store a program uses.
#[derive(Clone, Debug)]
pub(crate) enum Store {
    /// `profiles.db` in this folder.
    Sqlite(PathBuf),
    Postgres(Database),
}

/// A database on the server that is measured.
#[derive(Clone, Debug)]
pub(crate) struct Database {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) user: String,
    pub(crate) password: Option<String>,
    pub(crate) name: String,
}

impl Store {
    /// As the service is told.
    fn variables(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::Sqlite(folder) => vec![("DATA_DIR", folder.display().to_string())],
            Self::Postgres(database) => {
                let mut variables = vec![
                    ("DB_HOST", database.host.clone()),
                    ("DB_PORT", database.port.to_string()),
                    ("DB_USER", database.user.clone()),
                    ("DB_NAME", database.name.clone()),
                ];
                variables.extend(database.password.clone().map(|password| ("DB_PASSWORD", password)));
                variables
            }
        }
    }

    /// The file of an embedded store.
    pub(crate) fn sqlite_file(folder: &Path) -> PathBuf {
        folder.join("profiles.db")
    }

    /// As a bare program is told.
    pub(crate) fn argument(&self) -> String {
        match self {
            Self::Sqlite(folder) => Self::sqlite_file(folder).display().to_string(),
            Self::Postgres(database) => database.url(),
        }
    }
}

impl Database {
    pub(crate) fn url(&self) -> String {
        let password = self.password.as_ref().map(|password| format!(":{password}")).unwrap_or_default();
        format!("postgres://{}{password}@{}:{}/{}", self.user, self.host, self.port, self.name)
    }
}

/// Variables of the service and their values.
pub(crate) type Settings<'a> = &'a [(&'static str, &'a str)];

/// The service as it ships: nothing set but the port and the store, and what is named here; its log, at `info`, in a file.
pub(crate) fn service(store: &Store, folder: &Path, settings: Settings<'_>) -> Result<Program> {
    let mut command = service_command(store, folder)?;
    command.envs(settings.iter().copied());
    let port_file = folder.join("service.port");
    command.arg("serve").arg("--port-file").arg(&port_file);
    start(command, &port_file, "/readyz", "the service")
}

/// The service with a file of settings.
pub(crate) fn service_with(store: &Store, folder: &Path, file: &Path) -> Result<Program> {
    let mut command = service_command(store, folder)?;
    let port_file = folder.join("service.port");
    command.arg("serve").arg("--port-file").arg(&port_file).arg("--config").arg(file);
    start(command, &port_file, "/readyz", "the service")
}

/// Creates the store's tables, as the service has them.
pub(crate) fn migrate(store: &Store, folder: &Path) -> Result<()> {
    let status = service_command(store, folder)?.arg("migrate").status().context("can't run the service")?;
    if !status.success() {
        bail!("`profile-service migrate` failed: {status}");
    }
    Ok(())
}

fn service_command(store: &Store, folder: &Path) -> Result<Command> {
    let binary = beside_this("profile-service")?;
    let log = File::options().create(true).append(true).open(folder.join("service.log"))?;
    let mut command = Command::new(binary);
    command
        .env_clear()
        .env("SERVER_PORT", "0")
        .env("ADMIN_ADDRESS", "127.0.0.1:0")
        .envs(store.variables())
        .current_dir(folder)
        .stdout(log);
    Ok(command)
}

/// A bare program: this binary under another name.
pub(crate) fn bare(kind: &str, store: &str, folder: &Path) -> Result<Program> {
    let port_file = folder.join("bare.port");
    let mut command = Command::new(beside_this("profile-bench")?);
    command.env_clear().current_dir(folder).args(["bare", kind, store]).arg(&port_file);
    start(command, &port_file, "/readyz", "the bare program")
}

fn start(mut command: Command, port_file: &Path, path: &str, who: &str) -> Result<Program> {
    let _ = fs::remove_file(port_file);
    let began = Instant::now();
    let child = command.stdin(Stdio::null()).spawn().with_context(|| format!("can't start {who}"))?;
    let mut program = Program { child, address: SocketAddr::from(([127, 0, 0, 1], 0)), started_in: Duration::ZERO };
    let request = crate::http::get(path);
    loop {
        if let Some(address) = announced(port_file)
            && let Ok(200) = Blocking::connect(address).and_then(|mut to| Ok(to.exchange(&request)?.0))
        {
            program.address = address;
            program.started_in = began.elapsed();
            return Ok(program);
        }
        if let Some(status) = program.child.try_wait()? {
            bail!("{who} ended at once: {status}");
        }
        if began.elapsed() > START_TIMEOUT {
            bail!("{who} isn't ready after {START_TIMEOUT:?}");
        }
        thread::sleep(Duration::from_millis(1));
    }
}

fn announced(port_file: &Path) -> Option<SocketAddr> {
    fs::read_to_string(port_file).ok()?.trim().parse().ok()
}

/// Both are built into the same folder.
fn beside_this(name: &str) -> Result<PathBuf> {
    let path = std::env::current_exe()?.with_file_name(name);
    if !path.exists() {
        bail!("{} isn't built: cargo build --release --package {name}", path.display());
    }
    Ok(path)
}
