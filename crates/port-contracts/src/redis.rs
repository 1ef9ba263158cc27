//! Redis servers for tests, each its own: on free ports, in a folder of its own, and gone with the test, however that ends.
//!
//! They may be killed, stopped, started again on what they left, emptied, and put together as a cluster or under sentinels. They
//! are the distribution's, by `scripts/redis-server`.

mod cluster;
mod resp;
mod sentinel;

use std::{fs, io, path::PathBuf, time::Instant};

pub use cluster::RedisCluster;
pub use sentinel::RedisSentinel;

use crate::process::{self, CEILING, POLL, Process, free_port};

/// A server. It is ended when this is dropped, and when the test's process ends.
pub struct RedisServer {
    /// Where it listens on 127.0.0.1.
    pub port: u16,
    folder: PathBuf,
    arguments: Vec<String>,
    password: Option<String>,
    process: Option<Process>,
}

impl RedisServer {
    /// Starts an empty one that asks for no password, and waits until it answers.
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// Starts one with further arguments of `redis-server`, such as `--requirepass`.
    pub async fn start_with(arguments: &[&str]) -> Self {
        let arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
        // Nothing reserves a port, so another process may take it between the look and the start: then try another one.
        for _ in 0..20 {
            let port = free_port().await;
            let mut server = Self {
                port,
                folder: process::fresh_folder("redis", port),
                password: after(&arguments, "--requirepass"),
                arguments: arguments.clone(),
                process: None,
            };
            if server.launch().await {
                return server;
            }
        }
        panic!("no Redis server starts")
    }

    /// Where it keeps its files.
    #[must_use]
    pub fn folder(&self) -> &std::path::Path {
        &self.folder
    }

    /// Sends a command; the answer as text, an array's elements by lines.
    ///
    /// # Errors
    /// The server can't be reached, or its error as text.
    pub async fn ask(&self, command: &[&str]) -> io::Result<String> {
        resp::ask(self.port, self.password.as_deref(), command).await
    }

    /// Sends a command that must succeed.
    pub async fn tell(&self, command: &[&str]) -> String {
        self.ask(command).await.unwrap_or_else(|error| panic!("{command:?}: {error}"))
    }

    /// Waits until the answer to a command is as it should be.
    pub async fn until(&self, command: &[&str], is_right: impl Fn(&str) -> bool) {
        let began = Instant::now();
        loop {
            let answer = self.ask(command).await;
            if answer.as_ref().is_ok_and(|answer| is_right(answer)) {
                return;
            }
            assert!(began.elapsed() < CEILING, "{command:?} still gives {answer:?}");
            tokio::time::sleep(POLL).await;
        }
    }

    /// Ends it by SIGKILL, and waits until it is gone.
    pub async fn kill(&mut self) {
        if let Some(process) = self.process.take() {
            process.kill().await;
        }
    }

    /// SIGSTOP: it takes connections, as the system does that for it, and answers nothing.
    pub fn stop(&self) {
        self.signal("STOP");
    }

    /// SIGCONT.
    pub fn go_on(&self) {
        self.signal("CONT");
    }

    fn signal(&self, name: &str) {
        self.process.as_ref().expect("the server runs").signal(name);
    }

    /// Starts it again on the same port, with the dump that it has.
    pub async fn start_again(&mut self) {
        let began = Instant::now();
        while !self.launch().await {
            assert!(began.elapsed() < CEILING, "the server doesn't start again");
            tokio::time::sleep(POLL).await;
        }
    }

    /// Has it write what it holds, and gives that.
    pub async fn dump(&self) -> Vec<u8> {
        self.tell(&["SAVE"]).await;
        fs::read(self.dump_file()).expect("the dump")
    }

    /// What it shall hold when it starts again; `None` is nothing.
    pub fn put_dump(&self, dump: Option<&[u8]>) {
        match dump {
            Some(dump) => fs::write(self.dump_file(), dump).expect("a dump is written"),
            None => drop(fs::remove_file(self.dump_file())),
        }
    }

    fn dump_file(&self) -> PathBuf {
        self.folder.join("dump.rdb")
    }

    /// False if it ends before it answers: someone else may have the port.
    async fn launch(&mut self) -> bool {
        let port = self.port.to_string();
        let folder = self.folder.display().to_string();
        let mut arguments: Vec<&str> = self.arguments.iter().map(String::as_str).collect();
        // A configuration file comes first; sentinels have nothing else.
        if !arguments.contains(&"--sentinel") {
            arguments.extend(["--port", &port, "--bind", "127.0.0.1", "--dir", &folder, "--save", "", "--daemonize", "no"]);
            arguments.extend(["--appendonly", "no", "--loglevel", "notice", "--enable-debug-command", "yes"]);
        }
        let process = Process::spawn("redis-server", &arguments, &self.folder);
        let began = Instant::now();
        let mine = format!("process_id:{}", process.pid);
        while process.is_alive() {
            if self.ask(&["INFO", "server"]).await.is_ok_and(|info| info.contains(&mine)) {
                self.process = Some(process);
                return true;
            }
            assert!(began.elapsed() < CEILING, "the server doesn't answer");
            tokio::time::sleep(POLL).await;
        }
        process.kill().await;
        false
    }
}

fn after(arguments: &[String], name: &str) -> Option<String> {
    arguments.iter().skip_while(|argument| *argument != name).nth(1).cloned()
}
