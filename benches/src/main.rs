//! Measures the service, as it ships, against bare programs on the same libraries, and writes `BENCHMARKS.md`.
//!
//! Read in this order: [`cases`] (what is measured), [`load`] (how), [`bare`] (the floor), [`report`]. It deliberately depends
//! on no crate of the service: it knows its address and its tables. Files it makes lie in `target/bench`.

mod bare;
mod bulk;
mod cases;
mod check;
mod database;
mod fixture;
mod http;
mod load;
mod machine;
mod processes;
mod redis;
mod report;
mod sample;
mod settings;
mod statistics;

use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::{Parser, Subcommand};

use crate::{cases::CASES, machine::Usage, report::Report, settings::Bench};

/// As in the service, so that both sides allocate alike.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
#[command(name = "profile-bench", version, about = "Measures profile-service against bare programs")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the cases whose names begin with one of these, or all, and write BENCHMARKS.md
    Run {
        cases: Vec<String>,
        /// Each case once and for a moment: that they work, not how fast. Writes nothing
        #[arg(long)]
        smoke: bool,
    },
    /// Print the names of the cases
    List,
    /// Serve as a bare program
    Bare {
        #[command(subcommand)]
        kind: bare::Kind,
    },
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Run { cases, smoke } => run(&cases, smoke),
        Command::List => {
            for case in CASES {
                print(&format!("{:<16} {}", case.name, case.what));
            }
            Ok(())
        }
        Command::Bare { kind } => bare::run(&kind),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("profile-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(wanted: &[String], smoke: bool) -> Result<()> {
    let bench = Bench::new(smoke)?;
    let chosen: Vec<_> =
        CASES.iter().filter(|case| wanted.is_empty() || wanted.iter().any(|name| case.name.starts_with(name))).collect();
    if chosen.is_empty() {
        bail!("no case begins with {}; `profile-bench list` names them", wanted.join(" or "));
    }
    let mut report = Report::open(&bench, wanted.is_empty());
    let postmaster = bench.postgres.as_ref().and_then(|_| database::postmaster(&bench).ok());
    let mut failed = Vec::new();
    for case in chosen {
        eprintln!("{}: {}", case.name, case.what);
        let before = Usage::now(postmaster)?;
        match (case.run)(&bench) {
            Ok(rows) => {
                report.add(case.name, rows, Usage::now(postmaster)?.by_others_since(&before));
                // After each, so that a run that is broken off isn't lost.
                if !smoke {
                    report.write()?;
                }
            }
            Err(error) => {
                eprintln!("{}: FAILED: {error:#}", case.name);
                failed.push(case.name);
            }
        }
    }
    print(&report.table());
    if !failed.is_empty() {
        bail!("these cases could not be measured: {}", failed.join(", "));
    }
    Ok(())
}

/// To standard output; a reader that has gone doesn't matter.
fn print(text: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stdout(), "{text}");
}
