//! `healthcheck`: for containers, whose images hold no curl.

use std::{
    io::{Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream},
    time::Duration,
};

use anyhow::{Context, bail};

/// Longer than any probe of a healthy service takes.
const TIMEOUT: Duration = Duration::from_secs(3);

/// Asks the service on this machine; an error says what is wrong.
pub(crate) fn run(address: SocketAddr, path: &str) -> anyhow::Result<()> {
    let address = SocketAddr::new(reachable(address.ip()), address.port());
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT).with_context(|| format!("nothing answers on {address}"))?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    write!(stream, "GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n")?;
    // The status line is all that counts: "HTTP/1.1 200 OK".
    let mut head = [0; 12];
    stream.read_exact(&mut head).with_context(|| format!("{address} closed the connection or took too long"))?;
    match &head[9..] {
        b"200" => Ok(()),
        status => bail!("{path} answered {}", String::from_utf8_lossy(status)),
    }
}

/// Where a service that listens on all addresses is found.
fn reachable(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    }
}
