//! `serve`: from the listener to the last commit.

use std::{
    io::Write,
    net::{SocketAddr, TcpListener},
    path::Path,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, bail};
use profile_application::{App, Deadline, Keyring, WorkSettings};
use profile_http::{Admin, BuildInfo, Offer, Operations, Service, Settings};
use profile_ports::Queue;
use prometheus::Registry;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::oneshot,
};

use crate::{
    caches::{redis, with_caches},
    cli::{self, Role},
    config::{Config, ConfigError, Database},
    demo, environment, print, queue,
    startup::bring_up,
    store::{Opened, Purpose},
    telemetry,
    tools::tools,
    views::{Sources, with_views},
};

/// How long requests that are being answered may still take when the service stops. With the longest `SHUTDOWN_GRACE` and
/// [`QUEUE_TIMEOUT`] and [`CLOSE_TIMEOUT`] this stays within 30 s.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);
/// How long commits that have begun may still take then.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(6);
/// How long the queue may take to let go.
const QUEUE_TIMEOUT: Duration = Duration::from_secs(1);

/// What is served.
#[derive(Clone, Copy)]
pub(crate) enum Content {
    /// What the store holds.
    Stored,
    /// So many generated profiles.
    Demo(u32),
}

/// Serves until a signal ends it. A second signal ends the process at once.
pub(crate) async fn run(mut config: Config, options: &cli::Serve, content: Content) -> anyhow::Result<()> {
    check_role(options.role, &config.database)?;
    let mut signals = Signals::new()?;
    let registry = Registry::new();
    let demo_sources = match content {
        Content::Stored => None,
        Content::Demo(_) => {
            let (address, live) = demo::serve_sources(&config)?;
            config.live = live;
            Some(address)
        }
    };
    let redis = redis(&config, &registry)?;
    let opened = Opened::open(&config, Purpose::Serving, redis.clone(), &registry).await?;
    log_start(&config);
    let queue = queue::start(&config, &registry)?;
    let tools = tools(&config, queue.clone())?;
    let app =
        with_caches(app(&opened, &config), &config, redis, &registry)?.with_work(work_settings(&config), tools, &registry)?;
    let (app, sources) = with_views(app, &config.live, &registry)?;

    let operations = Arc::new(Operations::new());
    let service = Service::new(app.clone(), http_settings(&config, options), Arc::clone(&operations), registry)?;
    let (listener, address) = listen(config.server.address, "SERVER_HOST and SERVER_PORT are")?;
    let (admin_listener, admin_address) = listen(config.server.admin, "ADMIN_ADDRESS is")?;
    let admin = Admin { listener: admin_listener, set_log_level: telemetry::set_level };
    let server = profile_http::serve(listener, Some(admin), service, config.server.workers)?;
    let handle = server.handle();
    let mut server = tokio::spawn(server);
    if let Some(file) = &options.port_file {
        announce(file, address)?;
    }
    tracing::info!(address = %address, admin = %admin_address, "listening");

    let retention = config.cache.feed_retention;
    let (ready, started) = oneshot::channel();
    let worker = (options.role != Role::Api).then(|| tokio::spawn(work(app.clone(), started)));
    let stopping = app.clone();
    let background = tokio::spawn({
        let (opened, operations, app) = (opened.clone(), Arc::clone(&operations), app.clone());
        async move {
            bring_up(&opened, &app).await;
            if let Content::Demo(profiles) = content {
                if let Err(error) = demo::fill(&app, profiles).await {
                    tracing::error!(error = format!("{error:#}"), "not all profiles could be generated");
                }
                print(&demo::calls(address, demo_sources));
            }
            operations.set_started();
            // Nobody listens where there is no worker.
            let _ = ready.send(());
            tokio::join!(app.follow_feed(), app.trim_feed(retention), app.dispatch_tasks());
        }
    });

    tokio::select! {
        signal = signals.next() => tracing::info!(signal, "stopping"),
        () = reloads(&sources, &app, &config, demo_sources.is_some()) => {}
        ended = &mut server => bail!("the HTTP server ended by itself: {ended:?}"),
    }
    operations.set_draining();
    let stop = async {
        // Whoever routes traffic here learns from `/readyz` and goes elsewhere, while what still comes is answered.
        tokio::time::sleep(config.server.shutdown_grace).await;
        background.abort();
        // Those who wait for a task's end have their answer now, and tasks that run their time while requests end.
        stopping.stop_tasks();
        let drained = async {
            if let Some(worker) = worker
                && tokio::time::timeout(DRAIN_TIMEOUT, worker).await.is_err()
            {
                tracing::warn!("tasks that ran could not be handed back in time; their leases end by themselves");
            }
        };
        tokio::join!(handle.stop(true), drained);
        if let Some(queue) = queue {
            queue.close(Deadline::within(QUEUE_TIMEOUT)).await;
        }
        tokio::time::timeout(CLOSE_TIMEOUT, opened.close()).await
    };
    tokio::select! {
        closed = stop => closed.context("commits that had begun did not end in time")?,
        signal = signals.next() => bail!("{signal} came twice: ended without waiting"),
    }
    tracing::info!("stopped");
    Ok(())
}

/// An embedded store belongs to one process, which does everything.
fn check_role(role: Role, database: &Database) -> Result<(), ConfigError> {
    match (role, database) {
        (Role::All, _) | (_, Database::Postgres(_)) => Ok(()),
        (Role::Api | Role::Worker, Database::Sqlite(_)) => Err(ConfigError::new(
            "--role api and --role worker need PostgreSQL, which several processes can share: an embedded store belongs to one \
             process; set DB_HOST, or leave --role out",
        )),
    }
}

/// Works on tasks once the start is done, if it ever is.
async fn work(app: App, started: oneshot::Receiver<()>) {
    if started.await.is_ok() {
        app.work().await;
    }
}

fn work_settings(config: &Config) -> WorkSettings {
    WorkSettings {
        // Known to nobody else, and short enough to be read.
        worker: format!("{}-{}", std::process::id(), &(environment::environment().new_id)().simple().to_string()[20..]),
        lease: config.tasks.lease,
        backoff: config.tasks.backoff,
        retention: config.tasks.retention,
        concurrency: config.tasks.concurrency,
        ..WorkSettings::default()
    }
}

/// Reads sources and views anew with each SIGHUP, until it is dropped. Those of a demonstration stay as they are.
async fn reloads(sources: &Sources, app: &App, config: &Config, demo: bool) {
    let Ok(mut hangup) = signal(SignalKind::hangup()) else { return std::future::pending().await };
    while hangup.recv().await.is_some() {
        if !demo {
            sources.reload(app, config);
        }
    }
}

/// The use cases over the store.
pub(crate) fn app(opened: &Opened, config: &Config) -> App {
    let configured = !config.secrets.keys.is_empty();
    let keyring = configured.then(|| Keyring::configured(config.secrets.exposed()));
    App::new(opened.store(), environment::environment(), keyring, config.policy.clone())
}

fn http_settings(config: &Config, options: &cli::Serve) -> Settings {
    // Given by who builds the image; a build from a working copy may hold what no commit has.
    let build = BuildInfo { version: env!("CARGO_PKG_VERSION"), commit: option_env!("BUILD_COMMIT").unwrap_or("unknown") };
    let store = match config.database {
        Database::Sqlite(_) => "sqlite",
        Database::Postgres(_) => "postgres",
    };
    let mut settings = Settings::new(build, store, environment::environment().new_id);
    settings.request_timeout = config.server.request_timeout;
    settings.shutdown_timeout = DRAIN_TIMEOUT;
    settings.offer = if options.role == Role::Worker { Offer::Operations } else { Offer::Everything };
    settings.hurried(options.hurry.unwrap_or(1))
}

fn log_start(config: &Config) {
    let mut settings: Vec<String> =
        config.in_force().into_iter().map(|(variable, value)| format!("{variable}={value}")).collect();
    settings.extend(config.rules_in_force());
    tracing::info!(version = env!("CARGO_PKG_VERSION"), settings = settings.join(" "), "starting");
    if config.auth.open_to_others {
        tracing::warn!(
            address = %config.server.address,
            "AUTH_MODE=none: everyone who can connect may read and change every profile"
        );
    }
}

fn listen(wanted: SocketAddr, named: &str) -> anyhow::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(wanted)
        .map_err(|error| ConfigError::new(format!("{named} {wanted}, which can't be listened on: {error}")))?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

/// Writes the address for whoever waits for it: a whole file or none.
fn announce(file: &Path, address: SocketAddr) -> anyhow::Result<()> {
    let mut folder = file.parent().unwrap_or(Path::new("."));
    if folder.as_os_str().is_empty() {
        folder = Path::new(".");
    }
    let mut whole = tempfile::NamedTempFile::new_in(folder).with_context(|| format!("can't write {}", file.display()))?;
    writeln!(whole, "{address}")?;
    whole.persist(file).with_context(|| format!("can't write {}", file.display()))?;
    Ok(())
}

/// SIGTERM and SIGINT.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> anyhow::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// The name of the next one.
    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
