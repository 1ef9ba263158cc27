//! How the API is served.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use super::{ConfigError, Source, duration, source::Found};

/// `SERVER_…`, `ADMIN_ADDRESS`, `REQUEST_TIMEOUT`, `SHUTDOWN_GRACE`.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    /// Where operators are served.
    pub(crate) admin: SocketAddr,
    pub(crate) workers: usize,
    pub(crate) request_timeout: Duration,
    pub(crate) shutdown_grace: Duration,
}

impl Server {
    pub(crate) fn read(source: &Source) -> Result<Self, ConfigError> {
        let host = source.parse(
            "SERVER_HOST",
            IpAddr::V4(Ipv4Addr::LOCALHOST),
            "an IP address, such as 127.0.0.1, 0.0.0.0 or ::",
            |text| if text == "localhost" { Some(IpAddr::V4(Ipv4Addr::LOCALHOST)) } else { text.parse().ok() },
        )?;
        let port = port(source, "SERVER_PORT", 8080, 0)?;
        let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let grace = if host.is_loopback() { Duration::ZERO } else { Duration::from_secs(3) };
        Ok(Self {
            address: SocketAddr::new(host, port),
            admin: source.parse(
                "ADMIN_ADDRESS",
                SocketAddr::from((Ipv4Addr::LOCALHOST, 8081)),
                "an IP address and a port, such as 127.0.0.1:8081 or [::1]:8081",
                |text| text.parse().ok(),
            )?,
            workers: source.parse("SERVER_WORKERS", cpus, "a number from 1 to 256", |text| {
                text.parse().ok().filter(|workers| (1..=256).contains(workers))
            })?,
            request_timeout: source.parse(
                "REQUEST_TIMEOUT",
                Duration::from_millis(1500),
                "a duration from 100ms to 60s, such as 1500ms or 2s",
                |text| duration::parse(text).filter(|time| (Duration::from_millis(100)..=Duration::from_mins(1)).contains(time)),
            )?,
            shutdown_grace: source.parse("SHUTDOWN_GRACE", grace, "a duration from 0s to 10s, such as 3s", |text| {
                duration::parse(text).filter(|time| *time <= Duration::from_secs(10))
            })?,
        })
    }

    pub(super) fn in_force(&self) -> Vec<(&'static str, String)> {
        vec![
            ("SERVER_PORT", self.address.port().to_string()),
            ("SERVER_HOST", self.address.ip().to_string()),
            ("ADMIN_ADDRESS", self.admin.to_string()),
            ("SERVER_WORKERS", self.workers.to_string()),
            ("REQUEST_TIMEOUT", duration::show(self.request_timeout)),
            ("SHUTDOWN_GRACE", duration::show(self.shutdown_grace)),
        ]
    }
}

/// A port. Kubernetes injects `DB_PORT=tcp://10.0.0.1:5432` for a Service named `db`, which no one who reads it has set.
pub(super) fn port(source: &Source, variable: &str, default: u16, lowest: u16) -> Result<u16, ConfigError> {
    let allowed = |found: &Found| {
        let hint = if found.text.contains("://") {
            " (Kubernetes sets this for a Service of that name: set enableServiceLinks: false in the pod's spec)"
        } else {
            ""
        };
        found.wrong(format!("a port from {lowest} to 65535{hint}"))
    };
    match source.get(variable) {
        None => Ok(default),
        Some(found) => found.text.trim().parse().ok().filter(|port| *port >= lowest).ok_or_else(|| allowed(found)),
    }
}
