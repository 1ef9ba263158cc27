//! A Redis server for a case: on a free port, keeping nothing, and gone with the case.

use std::{
    net::TcpListener,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use crate::settings::Bench;

/// The first time, it is installed.
const START_TIMEOUT: Duration = Duration::from_mins(3);

/// A running server. Ends when dropped.
pub(crate) struct Redis {
    child: Child,
    port: u16,
    _folder: TempDir,
}

impl Redis {
    /// Starts an empty one and waits until it answers.
    pub(crate) fn start(bench: &Bench) -> Result<Self> {
        let folder = bench.folder()?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let mut command = Command::new(bench.root.join("scripts/redis-server"));
        command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
        command.arg("--dir").arg(folder.path()).stdin(Stdio::null()).stdout(Stdio::null());
        let child = command.spawn().context("scripts/redis-server")?;
        let mut server = Self { child, port, _folder: folder };
        let began = Instant::now();
        // Nothing reserves the port: a server that isn't this one would have kept it from starting.
        while server.process().ok() != Some(server.child.id()) {
            if let Some(status) = server.child.try_wait()? {
                bail!("Redis ended at once: {status}");
            }
            if began.elapsed() > START_TIMEOUT {
                bail!("Redis isn't ready after {START_TIMEOUT:?}");
            }
            thread::sleep(Duration::from_millis(10));
        }
        Ok(server)
    }

    /// As the service is told.
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://{}", self.address())
    }

    pub(crate) fn connect(&self) -> Result<redis::Connection> {
        Ok(redis::Client::open(self.url())?.get_connection()?)
    }

    /// Which process answers.
    fn process(&self) -> Result<u32> {
        let info: String = redis::cmd("INFO").arg("server").query(&mut self.connect()?)?;
        let line = info.lines().find_map(|line| line.strip_prefix("process_id:")).context("INFO without a process")?;
        Ok(line.trim().parse()?)
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
