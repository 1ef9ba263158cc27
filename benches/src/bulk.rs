//! An import over HTTP: lines sent while their outcomes are read.

use std::{
    io::{Read, Write},
    net::TcpStream,
    thread,
    time::Duration,
};

use anyhow::{Context, Result, anyhow, bail, ensure};
use serde::Deserialize;

use crate::{processes::Server, sample};

/// Longer than the service waits for anything.
const TIMEOUT: Duration = Duration::from_mins(2);
/// Bytes of lines sent at once.
const CHUNK: usize = 64 * 1024;
/// Bytes of the answer that are kept: its last line is shorter.
const TAIL: usize = 4 * 1024;

/// The last line of the answer.
#[derive(Debug, Deserialize, PartialEq, Eq)]
pub(crate) struct Summary {
    pub(crate) created: u64,
    pub(crate) updated: u64,
    pub(crate) unchanged: u64,
    pub(crate) refused: u64,
    complete: bool,
}

#[derive(Deserialize)]
struct Last {
    summary: Summary,
}

/// Imports profiles `0..count`, without ids.
pub(crate) fn import(server: Server, count: u64) -> Result<Summary> {
    let mut stream = TcpStream::connect(server.address)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    let sending = stream.try_clone()?;
    let sender = thread::spawn(move || send(sending, count));
    let mut chunk = vec![0; CHUNK];
    let (mut head, mut tail) = (Vec::new(), Vec::new());
    loop {
        let read = stream.read(&mut chunk)?;
        if read == 0 {
            break;
        }
        if head.len() < 12 {
            head.extend_from_slice(&chunk[..read.min(400)]);
        }
        tail.extend_from_slice(&chunk[..read]);
        tail.drain(..tail.len().saturating_sub(TAIL));
    }
    let tail = String::from_utf8_lossy(&tail);
    ensure!(head.starts_with(b"HTTP/1.1 200"), "the import was refused: {tail}");
    sender.join().map_err(|_| anyhow!("the sender panicked"))??;
    let start = tail.rfind("{\"summary\"").with_context(|| format!("the import ended without a summary: {tail}"))?;
    let last: Last = serde_json::Deserializer::from_str(&tail[start..]).into_iter().next().context("no summary")??;
    if !last.summary.complete || last.summary.refused > 0 {
        bail!("not all lines were taken: {tail}");
    }
    Ok(last.summary)
}

fn send(mut stream: TcpStream, count: u64) -> Result<()> {
    stream.write_all(
        b"POST /api/v1/profiles/import HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/x-ndjson\r\n\
          transfer-encoding: chunked\r\nconnection: close\r\n\r\n",
    )?;
    let mut lines = String::with_capacity(CHUNK + 1024);
    for number in 0..count {
        lines += &sample::document(number);
        lines.push('\n');
        if lines.len() >= CHUNK || number + 1 == count {
            stream.write_all(format!("{:x}\r\n", lines.len()).as_bytes())?;
            stream.write_all(lines.as_bytes())?;
            stream.write_all(b"\r\n")?;
            lines.clear();
        }
    }
    stream.write_all(b"0\r\n\r\n")?;
    Ok(())
}
