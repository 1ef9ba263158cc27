//! RabbitMQ servers for tests, each its own: on free ports, in a folder of its own, and gone with the test, however that ends.
//!
//! They may be killed, stopped, started again on what they left, and run out of memory. They are the distribution's, by
//! `scripts/rabbitmq-server`. One takes seconds to start, so tests share one where they can.

use std::{path::PathBuf, process::Stdio, time::Instant};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::process::{CEILING, POLL, Process, free_port, fresh_folder, program};

/// A server. It is ended when this is dropped, and when the test's process ends.
pub struct RabbitServer {
    /// Where it listens on 127.0.0.1.
    pub port: u16,
    folder: PathBuf,
    process: Option<Process>,
}

impl RabbitServer {
    /// Starts an empty one, and waits until it answers.
    pub async fn start() -> Self {
        // Nothing reserves a port, so another process may take it between the look and the start: then try another one.
        for _ in 0..20 {
            let port = free_port().await;
            let mut server = Self { port, folder: fresh_folder("rabbitmq", port), process: None };
            if server.launch().await {
                return server;
            }
        }
        panic!("no RabbitMQ server starts")
    }

    /// How to reach it, as its only user.
    #[must_use]
    pub fn uri(&self) -> String {
        format!("amqp://guest:guest@127.0.0.1:{}/%2f", self.port)
    }

    /// Has it write down which quorum queues it has. By itself RabbitMQ 3.10 does that within minutes, and one that is killed earlier
    /// has queues afterwards that nobody leads, and that never confirm anything.
    pub async fn write_down(&self) {
        self.control(&["eval", "[dets:sync(Table) || Table <- dets:all()]."]).await;
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

    /// Starts it again on the same port, with what it has on its disk.
    pub async fn start_again(&mut self) {
        let began = Instant::now();
        while !self.launch().await {
            assert!(began.elapsed() < CEILING, "the server doesn't start again");
            tokio::time::sleep(POLL).await;
        }
    }

    /// Has it believe that it has no memory left: it reads nothing from those who publish.
    pub async fn starve(&self) {
        self.control(&["set_vm_memory_high_watermark", "0.000001"]).await;
    }

    /// Ends [`Self::starve`].
    pub async fn feed(&self) {
        self.control(&["set_vm_memory_high_watermark", "0.9"]).await;
    }

    /// Says something to it with `rabbitmqctl`; what that prints.
    pub async fn control(&self, arguments: &[&str]) -> String {
        let mut command = tokio::process::Command::new(program("rabbitmq-server"));
        command.arg(&self.folder).arg("ctl").args(arguments).arg("--quiet").stdin(Stdio::null());
        let output = command.output().await.expect("the script runs");
        let (out, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{arguments:?}: {out}{error}");
        out.into_owned()
    }

    /// False if it ends before it answers: someone else may have one of its ports.
    async fn launch(&mut self) -> bool {
        let folder = self.folder.display().to_string();
        let process = Process::spawn("rabbitmq-server", &[&folder, &self.port.to_string()], &self.folder);
        let began = Instant::now();
        while process.is_alive() {
            if self.answers().await.is_ok_and(|answers| answers) {
                self.process = Some(process);
                return true;
            }
            assert!(began.elapsed() < CEILING, "the server doesn't answer");
            tokio::time::sleep(POLL).await;
        }
        process.kill().await;
        false
    }

    /// Whether someone there speaks AMQP: the first frame after the client's greeting is of a method, on channel 0.
    async fn answers(&self) -> std::io::Result<bool> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await?;
        stream.write_all(b"AMQP\x00\x00\x09\x01").await?;
        let mut frame = [0; 3];
        stream.read_exact(&mut frame).await?;
        Ok(frame == [1, 0, 0])
    }
}
