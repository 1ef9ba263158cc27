//! Who may call.

use super::{ConfigError, Server, Source, table::NOT_BUILT};

/// Everyone who can connect; nothing else is built yet.
pub(crate) struct Auth {
    /// Whether this was accepted off loopback, which deserves a warning.
    pub(crate) open_to_others: bool,
}

impl Auth {
    pub(crate) fn read(source: &Source, server: &Server) -> Result<Self, ConfigError> {
        for name in NOT_BUILT {
            if let Some(found) = source.get(name) {
                return Err(found.wrong("nothing: OAuth isn't built yet, and leaving it out silently would let everyone in"));
            }
        }
        let on_loopback = server.address.ip().is_loopback();
        match source.get("AUTH_MODE") {
            Some(found) if found.text.trim() == "none" => Ok(Self { open_to_others: !on_loopback }),
            Some(found) if found.text.trim() == "oauth" => Err(found.wrong("none: OAuth isn't built yet")),
            Some(found) => Err(found.wrong("none (oauth isn't built yet)")),
            None if on_loopback => Ok(Self { open_to_others: false }),
            None => Err(ConfigError::new(format!(
                "SERVER_HOST is {:?}, where everyone who can connect may read and change every profile; \
                 set AUTH_MODE=none to accept that, or listen on 127.0.0.1",
                server.address.ip().to_string()
            ))),
        }
    }

    pub(super) fn in_force() -> Vec<(&'static str, String)> {
        vec![("AUTH_MODE", "none".into())]
    }
}
