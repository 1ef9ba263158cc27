//! As much of Redis' protocol as tests need to speak to a server beside the client under test.

use std::{future::Future, io, pin::Pin, time::Duration};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufStream},
    net::TcpStream,
};

/// A server that is stopped is not waited for.
const TIMEOUT: Duration = Duration::from_secs(5);

pub(super) async fn ask(port: u16, password: Option<&str>, command: &[&str]) -> io::Result<String> {
    let asked = async {
        let mut stream = BufStream::new(TcpStream::connect(("127.0.0.1", port)).await?);
        if let Some(password) = password {
            send(&mut stream, &["AUTH", password]).await?;
            answer(&mut stream).await?;
        }
        send(&mut stream, command).await?;
        answer(&mut stream).await
    };
    tokio::time::timeout(TIMEOUT, asked).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

async fn send(stream: &mut BufStream<TcpStream>, command: &[&str]) -> io::Result<()> {
    stream.write_all(format!("*{}\r\n", command.len()).as_bytes()).await?;
    for argument in command {
        stream.write_all(format!("${}\r\n{argument}\r\n", argument.len()).as_bytes()).await?;
    }
    stream.flush().await
}

fn answer(stream: &mut BufStream<TcpStream>) -> Pin<Box<dyn Future<Output = io::Result<String>> + Send + '_>> {
    Box::pin(async move {
        let mut line = String::new();
        stream.read_line(&mut line).await?;
        let line = line.trim_end();
        let length = || line[1..].parse::<usize>().unwrap_or_default();
        match line.as_bytes().first() {
            Some(b'+' | b':') => Ok(line[1..].to_owned()),
            Some(b'$') if line == "$-1" => Ok(String::new()),
            Some(b'$') => {
                let mut bytes = vec![0; length() + 2];
                stream.read_exact(&mut bytes).await?;
                bytes.truncate(bytes.len() - 2);
                Ok(String::from_utf8_lossy(&bytes).into_owned())
            }
            Some(b'*') => {
                let mut lines = Vec::new();
                for _ in 0..length() {
                    lines.push(answer(stream).await?);
                }
                Ok(lines.join("\n"))
            }
            _ => Err(io::Error::other(line.to_owned())),
        }
    })
}
