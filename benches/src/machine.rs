//! What the figures were measured on.

use std::{
    fs,
    path::Path,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};

use crate::database;

/// Linux counts in hundredths of a second here, whatever its own clock.
const TICK: Duration = Duration::from_millis(10);

/// Processor time used up to a moment, to tell how much of it was not ours.
pub(crate) struct Usage {
    at: Instant,
    by_all: Duration,
    by_us: Duration,
}

impl Usage {
    /// Now. Ours is what this process, its children and PostgreSQL use, the latter by its first process.
    pub(crate) fn now(postmaster: Option<u32>) -> Result<Self> {
        let stat = fs::read_to_string("/proc/stat")?;
        let line = stat.lines().next().context("/proc/stat is empty")?;
        // User, nice and system; interrupts belong to nobody.
        let by_all = line.split_whitespace().skip(1).take(3).filter_map(|ticks| ticks.parse::<u32>().ok()).sum::<u32>() * TICK;
        let family = |first| used_by(first, Whose::WithChildrenThatEnded) + living_children(first);
        Ok(Self { at: Instant::now(), by_all, by_us: family(std::process::id()) + postmaster.map(family).unwrap_or_default() })
    }

    /// The share of all processors that others used since then, from 0 to 1.
    pub(crate) fn by_others_since(&self, before: &Self) -> f64 {
        let cores = thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let others = self.by_all.saturating_sub(before.by_all).saturating_sub(self.by_us.saturating_sub(before.by_us));
        #[expect(clippy::cast_precision_loss, reason = "no machine has so many processors")]
        let whole = (self.at - before.at).as_secs_f64() * cores as f64;
        others.as_secs_f64() / whole
    }
}

fn processes() -> impl Iterator<Item = u32> {
    fs::read_dir("/proc").into_iter().flatten().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

/// The fields of `/proc/PID/stat` from the third on: the second is a name in parentheses, which may hold spaces.
fn stat(process: u32) -> Vec<String> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").map_or("", |(_, fields)| fields).split(' ').map(str::to_owned).collect()
}

/// The process that started this one.
pub(crate) fn parent(process: u32) -> Option<u32> {
    stat(process).get(1)?.parse().ok()
}

fn living_children(of: u32) -> Duration {
    processes().filter(|process| parent(*process) == Some(of)).map(|child| used_by(child, Whose::Own)).sum()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Whose {
    Own,
    WithChildrenThatEnded,
}

/// Nothing, once it has gone.
fn used_by(process: u32, whose: Whose) -> Duration {
    // The 14th to 17th field: user and system time, its own and that of children it waited for.
    let fields = if whose == Whose::Own { 2 } else { 4 };
    stat(process).iter().skip(11).take(fields).filter_map(|field| field.parse::<u32>().ok()).sum::<u32>() * TICK
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
    let backends = processes().filter(|process| {
        let line = fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
        line.starts_with(b"postgres: ") && String::from_utf8_lossy(&line).contains(database::PREFIX)
    });
    ProcessorTime { server: used_by(server, Whose::Own), database: backends.map(|process| used_by(process, Whose::Own)).sum() }
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
