//! The binary: configuration, wiring, telemetry, command line. No logic.
//!
//! Read in this order: [`cli`], [`config`], [`serve`], [`store`].

mod bulk;
mod caches;
mod cleanup;
mod cli;
mod config;
mod demo;
mod environment;
mod healthcheck;
mod json_lines;
mod log_lines;
mod queue;
mod serve;
mod startup;
mod store;
mod telemetry;
mod tools;
mod views;

use std::{io::Write, process::ExitCode, time::Duration};

use anyhow::Context;
use clap::Parser;
use profile_ports::Deadline;
use prometheus::Registry;

use crate::{
    cli::{Cli, Command, Print},
    config::{Config, ConfigError, Database, Logging, Server, Source, Sqlite, table},
    serve::Content,
    store::{Opened, Purpose},
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The exit code where whoever starts the process must change something first, as for wrong arguments.
const EXIT_USAGE: u8 = 2;
/// How long a command waits for the store.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(10);

fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = run(cli);
    telemetry::flush();
    match outcome {
        Ok(code) => code,
        Err(error) => {
            // One line, whatever lies beneath it says.
            eprintln!("profile-service: {}", format!("{error:#}").replace(['\n', '\r'], " "));
            let served = matches!(error.downcast_ref(), Some(profile_sqlite::OpenError::Served { .. }));
            if served || error.is::<ConfigError>() { ExitCode::from(EXIT_USAGE) } else { ExitCode::FAILURE }
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    let file = cli.config.as_deref();
    let load = || {
        Config::load(environment::variable, file).map(|config| Config { further_migrations: cli.further_migrations, ..config })
    };
    let done = match cli.command.unwrap_or_else(|| Command::Serve(cli::Serve::default())) {
        Command::Serve(options) => {
            let config = load()?;
            telemetry::start(&config.logging)?;
            on_main_runtime(serve::run(config, &options, Content::Stored))
        }
        Command::Demo(options) => {
            let mut config = load()?;
            let temporary = tempfile::tempdir().context("can't make a temporary folder")?;
            let data_dir = options.data_dir.unwrap_or_else(|| temporary.path().to_owned());
            config.database = Database::Sqlite(Sqlite { data_dir });
            // What is printed is for a person, who wants to see the calls and not the log.
            telemetry::start(&Logging { level: tracing_subscriber::filter::LevelFilter::WARN, ..config.logging })?;
            on_main_runtime(serve::run(config, &options.serve, Content::Demo(options.profiles)))
        }
        Command::Migrate => {
            let config = load()?;
            on_main_runtime(migrate(&config))
        }
        Command::RotateSecret => {
            let config = load()?;
            on_main_runtime(rotate_secret(&config))
        }
        Command::Cleanup(options) => {
            let config = load()?;
            on_main_runtime(cleanup::run(&config, &options))
        }
        Command::Import(options) => {
            let config = load()?;
            return on_main_runtime(bulk::import(&config, &options));
        }
        Command::Export(options) => {
            let config = load()?;
            return on_main_runtime(bulk::export(&config, &options));
        }
        Command::Reresolve(options) => {
            let config = load()?;
            return on_main_runtime(bulk::reresolve(&config, &options));
        }
        Command::Config(Print { markdown: true, .. }) => {
            print(&table::markdown());
            Ok(())
        }
        Command::Config(Print { env_example: true, .. }) => {
            print(&table::env_example());
            Ok(())
        }
        Command::Config(_) => {
            let config = load()?;
            for (variable, value) in config.in_force() {
                print(&format!("{variable}={value}"));
            }
            for line in config.rules_in_force() {
                print(&line);
            }
            Ok(())
        }
        Command::Openapi => {
            print(&serde_json::to_string_pretty(&profile_http::openapi())?);
            Ok(())
        }
        Command::Healthcheck(options) => {
            // Nothing else of the configuration matters here, and the service itself has checked it.
            let server = Server::read(&Source::load(environment::variable, file)?)?;
            healthcheck::run(server.address, if options.ready { "/readyz" } else { "/livez" })
        }
    };
    done.map(|()| ExitCode::SUCCESS)
}

/// The one runtime for all but HTTP: commits, connections and background loops live here, and no client's going ends them.
fn on_main_runtime<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .map_err(|_| anyhow::anyhow!("another TLS provider is installed already"))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().thread_name("profile-main").build()?;
    let result = runtime.block_on(work);
    // Whatever still blocks a thread holds nothing that was acknowledged.
    runtime.shutdown_timeout(Duration::from_secs(1));
    result
}

async fn migrate(config: &Config) -> anyhow::Result<()> {
    let registry = Registry::new();
    let opened = Opened::open(config, Purpose::Command, caches::redis(config, &registry)?, &registry).await?;
    opened.migrate().await.context("the store can't be migrated")?;
    // The first one to ask for the secrets makes them.
    serve::app(&opened, config).check(Deadline::within(COMMAND_TIMEOUT)).await?;
    opened.close().await;
    print("The store has the newest schema, and its secrets.");
    Ok(())
}

async fn rotate_secret(config: &Config) -> anyhow::Result<()> {
    if !config.secrets.keys.is_empty() {
        return Err(ConfigError::new(
            "SECRET_KEY or SECRET_KEY_FILE is set, so that the store's secrets aren't used; put the new key before the old one there",
        )
        .into());
    }
    let registry = Registry::new();
    let opened = Opened::open(config, Purpose::Command, caches::redis(config, &registry)?, &registry).await?;
    opened.store().rotate_secrets(environment::new_secret(), Deadline::within(COMMAND_TIMEOUT)).await?;
    opened.close().await;
    print("A new secret signs from now on; the one before stays valid until the next rotation.");
    Ok(())
}

/// A line to standard output. Whoever closed it, as `head` does, wants no more.
fn print(text: &str) {
    let mut line = text.to_owned();
    if !line.ends_with('\n') {
        line.push('\n');
    }
    let _ = std::io::stdout().write_all(line.as_bytes());
}
