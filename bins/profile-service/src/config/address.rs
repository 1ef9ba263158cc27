//! Addresses of servers.

/// One or several, separated by commas, with the port of those that name none.
pub(super) fn list(text: &str, port: u16) -> Option<Vec<(String, u16)>> {
    text.split(',').map(|text| one(text.trim(), port)).collect()
}

/// `host`, `host:port` or `[v6]:port`.
fn one(text: &str, port: u16) -> Option<(String, u16)> {
    // The folder of a Unix socket.
    if text.starts_with('/') {
        return Some((text.to_owned(), port));
    }
    let (host, port) = match text.rsplit_once(':') {
        Some((host, _)) if host.contains(':') && !host.starts_with('[') => (text, port),
        Some((host, digits)) if !digits.ends_with(']') => (host, digits.parse().ok().filter(|port| *port > 0)?),
        _ => (text, port),
    };
    let host = host.strip_prefix('[').map_or(Some(host), |rest| rest.strip_suffix(']'))?;
    (!host.is_empty() && !host.contains([' ', '/', '@'])).then(|| (host.to_owned(), port))
}
