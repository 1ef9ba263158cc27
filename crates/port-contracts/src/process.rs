//! Servers' processes, each of which ends with this one; and the ports and folders that they get.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// Longer than anything takes on a busy machine.
pub(crate) const CEILING: Duration = Duration::from_mins(1);
pub(crate) const POLL: Duration = Duration::from_millis(10);

/// A shell that says the server's number, waits for a line or the end of its input, and then ends the server: the input is a pipe
/// from this process, which the system closes however this process ends. The folder goes too, unless there was a line.
const WATCH: &str = r#"
folder=$1; shift
exec 3>&1 >>"$folder/log" 2>&1
"$@" </dev/null & echo $! >&3
exec 3>&-
read -r keep
kill -KILL $!
wait
[ -n "$keep" ] || rm -rf "$folder"
"#;
const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../scripts");

pub(crate) struct Process {
    pub(crate) pid: u32,
    watch: Child,
}

impl Process {
    /// Runs one of the project's scripts, which becomes the server.
    pub(crate) fn spawn(script: &str, arguments: &[&str], folder: &Path) -> Self {
        let mut command = Command::new("sh");
        command.args(["-c", WATCH, "watch"]).arg(folder).arg(program(script)).args(arguments);
        let mut watch = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("a shell runs");
        let mut first = String::new();
        BufReader::new(watch.stdout.take().expect("piped")).read_line(&mut first).expect("the server's number");
        Self { pid: first.trim().parse().expect("a number"), watch }
    }

    pub(crate) fn signal(&self, name: &str) {
        let mut kill = Command::new("kill");
        // It may have ended, which is nobody's concern.
        let _ = kill.arg(format!("-{name}")).arg(self.pid.to_string()).stderr(Stdio::null()).status().expect("kill runs");
    }

    /// Ends it, and leaves its folder.
    pub(crate) async fn kill(mut self) {
        self.signal("KILL");
        if let Some(mut stdin) = self.watch.stdin.take() {
            let _ = stdin.write_all(b"keep\n");
        }
        let began = Instant::now();
        while self.is_alive() {
            assert!(began.elapsed() < CEILING, "the server doesn't die");
            tokio::time::sleep(POLL).await;
        }
    }

    /// What nobody has waited for yet is dead, too.
    pub(crate) fn is_alive(&self) -> bool {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid)).unwrap_or_default();
        status.lines().any(|line| line.starts_with("State:") && !line.contains('Z') && !line.contains('X'))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The server dies of this, if it isn't dead.
        drop(self.watch.stdin.take());
        let _ = self.watch.wait();
    }
}

/// A script of the project.
pub(crate) fn program(script: &str) -> PathBuf {
    Path::new(SCRIPTS).join(script)
}

/// Nobody else has one of this name: the process and the port are in it.
pub(crate) fn fresh_folder(kind: &str, port: u16) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("{kind}-{}-{port}", std::process::id()));
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("a folder");
    folder
}

/// Below those that the system gives to clients.
pub(crate) async fn free_port() -> u16 {
    let mut random = crate::random::Random::new(crate::random::seed() ^ u64::from(std::process::id()));
    loop {
        let port = 10_000 + u16::try_from(random.below(10_000)).expect("below 10,000");
        if tokio::net::TcpListener::bind(("127.0.0.1", port)).await.is_ok() {
            return port;
        }
    }
}
