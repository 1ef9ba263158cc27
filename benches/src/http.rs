//! As much of HTTP/1.1 as the load needs: requests rendered beforehand, answers with a `Content-Length`.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use anyhow::{Context, Result, bail};

/// Longer than any deadline of the service.
const TIMEOUT: Duration = Duration::from_secs(10);
const MAX_HEAD: usize = 16 * 1024;

/// The bytes of a GET.
pub(crate) fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n").into_bytes()
}

/// The bytes of a request with a JSON body.
pub(crate) fn send(method: &str, path: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "{method} {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

/// Where an answer lies in a buffer that begins with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Framing {
    pub(crate) status: u16,
    /// Bytes before the body.
    pub(crate) head: usize,
    pub(crate) body: usize,
}

impl Framing {
    /// `None` while the head isn't complete.
    pub(crate) fn of(buffer: &[u8]) -> Result<Option<Self>> {
        let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") else {
            if buffer.len() > MAX_HEAD {
                bail!("an answer's head is endless");
            }
            return Ok(None);
        };
        let head = std::str::from_utf8(&buffer[..end]).context("an answer's head isn't text")?;
        let mut lines = head.split("\r\n");
        let status = lines.next().and_then(|line| line.get(9..12)?.parse().ok()).context("an answer without a status")?;
        let length = lines
            .filter_map(|line| line.split_once(':'))
            .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
            .and_then(|(_, value)| value.trim().parse().ok());
        let body = match (length, status) {
            (Some(length), _) => length,
            (None, 204 | 304) => 0,
            (None, _) => bail!("an answer ({status}) without Content-Length"),
        };
        Ok(Some(Self { status, head: end + 4, body }))
    }

    /// All of it.
    pub(crate) fn length(&self) -> usize {
        self.head + self.body
    }
}

/// A connection for one request after the other, waiting for each answer.
pub(crate) struct Blocking {
    stream: TcpStream,
    buffer: Vec<u8>,
    chunk: Vec<u8>,
}

impl Blocking {
    pub(crate) fn connect(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        Ok(Self { stream, buffer: Vec::new(), chunk: vec![0; 64 * 1024] })
    }

    /// The status and the body.
    pub(crate) fn exchange(&mut self, request: &[u8]) -> Result<(u16, &[u8])> {
        self.stream.write_all(request)?;
        self.buffer.clear();
        loop {
            let read = self.stream.read(&mut self.chunk)?;
            if read == 0 {
                bail!("the connection was closed before the answer ended");
            }
            self.buffer.extend_from_slice(&self.chunk[..read]);
            if let Some(framing) = Framing::of(&self.buffer)?
                && self.buffer.len() >= framing.length()
            {
                return Ok((framing.status, &self.buffer[framing.head..framing.length()]));
            }
        }
    }
}

/// One request on a connection of its own; anything but the status expected is an error.
pub(crate) fn once(address: SocketAddr, request: &[u8], expected: u16) -> Result<Vec<u8>> {
    let mut connection = Blocking::connect(address)?;
    let (status, body) = connection.exchange(request)?;
    if status != expected {
        bail!("{status} instead of {expected}: {}", String::from_utf8_lossy(&body[..body.len().min(400)]));
    }
    Ok(body.to_vec())
}

#[cfg(test)]
mod tests {
    use super::Framing;

    #[test]
    fn answers_are_framed_by_their_content_length() {
        let answer = b"HTTP/1.1 201 Created\r\nContent-Length: 5\r\n\r\nhello and more";
        assert_eq!(Framing::of(answer).unwrap(), Some(Framing { status: 201, head: 43, body: 5 }));
        assert_eq!(Framing::of(&answer[..40]).unwrap(), None);
        assert!(Framing::of(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").is_err());
    }
}
