//! Views of live sources, as configuration has them, and as it has them after a SIGHUP.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::anyhow;
use profile_application::App;
use profile_upstream::{Clients, HttpSources};
use prometheus::Registry;
use tokio::runtime::Handle;

use crate::{
    config::{Config, Live},
    environment,
};

/// What is called at this time.
#[derive(Clone)]
pub(crate) struct Sources {
    clients: Clients,
    current: Arc<Mutex<Arc<HttpSources>>>,
}

/// The use cases, with the views that configuration names.
pub(crate) fn with_views(app: App, live: &Live, registry: &Registry) -> anyhow::Result<(App, Sources)> {
    let clients = Clients::new(registry).map_err(|error| anyhow!(error))?;
    let current = Arc::new(HttpSources::new(clients.clone(), live.sources.clone(), None));
    let app = app.with_views(live.catalog.clone(), current.clone(), &live.identity, Handle::current(), registry)?;
    Ok((app, Sources { clients, current: Arc::new(Mutex::new(current)) }))
}

impl Sources {
    /// Reads the file again. What is wrong with it is said, and changes nothing. The rules of what is stored, and all other
    /// settings, are those of the start.
    pub(crate) fn reload(&self, app: &App, started: &Config) {
        let read = Config::load(environment::variable, started.file.as_deref());
        match read {
            Ok(config) => {
                let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
                let live = config.live.with_rules(&started.policy.rules);
                let next = Arc::new(HttpSources::new(self.clients.clone(), live.sources, Some(&current)));
                app.replace_views(live.catalog, next.clone(), &live.identity);
                *current = next;
                tracing::info!("sources and views were read anew");
            }
            Err(error) => {
                tracing::error!(cause = %error, "sources and views stay as they were: the configuration is wrong");
            }
        }
    }
}
