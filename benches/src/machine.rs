//! What the figures were measured on.

use std::{fs, path::Path, process::Command, thread, time::Duration};

use anyhow::{Context, Result};

use crate::database;

/// The share of the processors' time that was used within a span, from 0 to 1: by others, when nothing is measured.
pub(crate) fn busy(span: Duration) -> Result<f64> {
    let (idle, all) = times()?;
    thread::sleep(span);
    let (idle_after, all_after) = times()?;
    let (idle, all) = (idle_after - idle, all_after - all);
    Ok(if all > 0.0 { 1.0 - idle / all } else { 0.0 })
}

fn times() -> Result<(f64, f64)> {
    let stat = fs::read_to_string("/proc/stat")?;
    let line = stat.lines().next().context("/proc/stat is empty")?;
    let ticks: Vec<f64> = line.split_whitespace().skip(1).filter_map(|field| field.parse().ok()).collect();
    let idle = ticks.iter().skip(3).take(2).sum();
    Ok((idle, ticks.iter().take(8).sum()))
}

/// Processor time used so far.
#[derive(Clone, Copy)]
pub(crate) struct ProcessorTime {
    server: Duration,
    /// By all of PostgreSQL that works for what is measured.
    database: Duration,
}

/// Of a process, and of the backends of the databases made here.
pub(crate) fn processor_time(server: u32) -> ProcessorTime {
    let numbers = fs::read_dir("/proc").into_iter().flatten().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let backends = numbers.filter(|process: &u32| {
        let line = fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
        line.starts_with(b"postgres: ") && String::from_utf8_lossy(&line).contains(database::PREFIX)
    });
    ProcessorTime { server: used_by(server), database: backends.map(used_by).sum() }
}

/// Nothing, once it has gone.
fn used_by(process: u32) -> Duration {
    /// Linux counts in hundredths of a second here, whatever its own clock.
    const TICK: Duration = Duration::from_millis(10);
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    // The second field is a name in parentheses, which may hold spaces. What follows begins with the third; user and system
    // time are the 14th and 15th.
    let fields = stat.rsplit_once(") ").map_or("", |(_, fields)| fields).split(' ');
    let ticks: u32 = fields.skip(11).take(2).filter_map(|field| field.parse::<u32>().ok()).sum();
    TICK * ticks
}

impl ProcessorTime {
    /// What each of so many requests took.
    pub(crate) fn since(self, before: Self, requests: u32) -> String {
        let each =
            |after: Duration, before: Duration| after.saturating_sub(before).as_secs_f64() * 1e6 / f64::from(requests.max(1));
        format!("{:.1} µs, in PostgreSQL {:.1} µs", each(self.server, before.server), each(self.database, before.database))
    }
}

/// Lines for the report.
pub(crate) fn describe(root: &Path, postgres: &str) -> Vec<(&'static str, String)> {
    let info = |file: &str, key: &str| {
        let text = fs::read_to_string(file).unwrap_or_default();
        let line = text.lines().find(|line| line.starts_with(key)).unwrap_or_default();
        line.split_once(':').map_or_else(|| "unknown".into(), |(_, value)| value.trim().to_owned())
    };
    let cores = thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let memory: f64 = info("/proc/meminfo", "MemTotal").trim_end_matches(" kB").parse().unwrap_or(f64::NAN);
    let disk = output(Command::new("df").args(["--output=source,fstype", "."]).current_dir(root));
    vec![
        ("Processor", format!("{}, {cores} cores", info("/proc/cpuinfo", "model name"))),
        ("Memory", format!("{:.0} GiB", memory / 1024.0 / 1024.0)),
        ("Disk", disk.lines().last().unwrap_or("unknown").split_whitespace().collect::<Vec<_>>().join(", ")),
        ("Kernel", output(Command::new("uname").args(["-sr"]))),
        ("PostgreSQL", postgres.to_owned()),
        ("Compiler", output(Command::new("rustc").arg("--version"))),
    ]
}

/// The commit that is checked out, with `+` where the working copy has changes of what is measured.
pub(crate) fn commit(root: &Path) -> String {
    let git = |arguments: &[&str]| output(Command::new("git").args(arguments).current_dir(root));
    let changed = !git(&["status", "--porcelain", "--", "crates", "bins", "migrations", "benches", "Cargo.lock"]).is_empty();
    format!("{}{}", git(&["rev-parse", "--short=10", "HEAD"]), if changed { "+" } else { "" })
}

/// What a command prints, or nothing.
fn output(command: &mut Command) -> String {
    let output = command.output().map(|output| output.stdout).unwrap_or_default();
    String::from_utf8_lossy(&output).trim().to_owned()
}
