//! The command line.

use std::{num::NonZeroU32, path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand};
use profile_domain::{Moment, SourceName, TenantId};

/// Stores profiles, merges what several sources say about them, and serves them over REST.
///
/// Settings come from the environment, then from the file named by --config, then from defaults; `profile-service config` prints
/// what is in force.
#[derive(Parser)]
#[command(name = "profile-service", version)]
pub(crate) struct Cli {
    /// TOML file with settings
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Folder with migrations that come after those in this program: for tests of an upgrade while older instances serve
    #[arg(long, global = true, hide = true, value_name = "FOLDER")]
    pub(crate) further_migrations: Option<PathBuf>,
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Serve the API (the default)
    Serve(Serve),
    /// Bring the store to the newest schema, and make its secrets
    Migrate,
    /// Print the settings in force, secrets hidden
    Config(Print),
    /// Print the OpenAPI document
    Openapi,
    /// Ask the service on this machine how it is: exit code 0 if well
    Healthcheck(Healthcheck),
    /// Delete old entries of the cache in Redis
    Cleanup(Cleanup),
    /// Serve generated profiles, and print calls to try
    Demo(Demo),
    /// Import profiles from lines of JSON; refused lines go to standard error
    Import(Import),
    /// Export all profiles with everything that is kept of them, as lines of JSON
    Export(Export),
    /// Resolve all profiles anew after a change of the rules; it may be ended and run again
    Reresolve(Reresolve),
    /// Make a new secret for signing; the one before stays valid
    RotateSecret,
}

#[derive(Args, Default)]
pub(crate) struct Serve {
    /// Write the address that is listened on to this file, once it is
    #[arg(long, value_name = "FILE")]
    pub(crate) port_file: Option<PathBuf>,
    /// What to do: answer requests, work on tasks, or both. One alone needs PostgreSQL
    #[arg(long, value_name = "ROLE", value_enum, default_value_t = Role::All)]
    pub(crate) role: Role,
    /// Divide the time for which slow clients are waited for by this: for tests
    #[arg(long, hide = true, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..=5))]
    pub(crate) hurry: Option<u32>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Role {
    /// Answer requests
    Api,
    /// Work on tasks, and answer those who ask how it goes
    Worker,
    /// Both
    #[default]
    All,
}

#[derive(Args)]
pub(crate) struct Print {
    /// Print the table of all settings for README.md instead
    #[arg(long, conflicts_with = "env_example")]
    pub(crate) markdown: bool,
    /// Print .env.example instead
    #[arg(long)]
    pub(crate) env_example: bool,
}

#[derive(Args)]
pub(crate) struct Healthcheck {
    /// Ask whether it is ready for requests, not only whether it lives
    #[arg(long)]
    pub(crate) ready: bool,
}

#[derive(Args)]
pub(crate) struct Cleanup {
    /// How old: a number and s, m, h or d
    #[arg(long, value_name = "TIME", default_value = "4h", value_parser = parse_duration)]
    pub(crate) older_than: Duration,
    /// Keys to look at each second, at most
    #[arg(long, value_name = "KEYS", default_value_t = NonZeroU32::new(2_000).expect("more than none"))]
    pub(crate) per_second: NonZeroU32,
}

fn parse_duration(text: &str) -> Result<Duration, String> {
    crate::config::parse_duration(text).ok_or_else(|| "a duration is a number and ms, s, m, h or d, such as 4h".to_owned())
}

#[derive(Args)]
pub(crate) struct Demo {
    /// Keep the data in this folder; without, it is gone afterwards
    #[arg(long, value_name = "FOLDER")]
    pub(crate) data_dir: Option<PathBuf>,
    /// How many profiles to generate
    #[arg(long, value_name = "NUMBER", default_value_t = 300, value_parser = clap::value_parser!(u32).range(3..=100_000))]
    pub(crate) profiles: u32,
    #[command(flatten)]
    pub(crate) serve: Serve,
}

#[derive(Args)]
pub(crate) struct Import {
    /// The lines; `-` for standard input
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Whose profiles they are [default: default]
    #[arg(long, value_parser = TenantId::parse)]
    pub(crate) tenant: Option<TenantId>,
    /// Who reports what the lines say; only `api` reserves e-mail addresses
    #[arg(long, default_value = "api", value_parser = SourceName::parse)]
    pub(crate) source: SourceName,
    /// When it was true, such as 2026-01-31T12:00:00Z [default: as a change over REST, or now]
    #[arg(long, value_name = "TIME")]
    pub(crate) reference_date: Option<Moment>,
    /// Take an export back, into a tenant that is empty: versions, dates, facts of all sources and tombstones
    #[arg(long, conflicts_with_all = ["source", "reference_date"])]
    pub(crate) restore: bool,
    /// With --restore: the file says whose each line is, as `export --all-tenants` writes it
    #[arg(long, requires = "restore", conflicts_with = "tenant")]
    pub(crate) all_tenants: bool,
}

#[derive(Args)]
pub(crate) struct Export {
    /// Where to write them; it appears when it is whole. `-` for standard output
    #[arg(value_name = "FILE", default_value = "-")]
    pub(crate) file: PathBuf,
    /// Whose profiles to write [default: default]
    #[arg(long, value_parser = TenantId::parse)]
    pub(crate) tenant: Option<TenantId>,
    /// Those of every tenant, each after a line `{"tenant":"…"}`
    #[arg(long, conflicts_with = "tenant")]
    pub(crate) all_tenants: bool,
}

#[derive(Args)]
pub(crate) struct Reresolve {
    /// Only those of this tenant
    #[arg(long, value_parser = TenantId::parse)]
    pub(crate) tenant: Option<TenantId>,
}
