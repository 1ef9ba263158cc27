//! `BENCHMARKS.md`. The rows of earlier runs are kept in `target/bench/results.json`, so that a run of one case renews its rows
//! and leaves the others.

use std::{collections::BTreeMap, fmt::Write as _, fs, path::PathBuf};

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::{cases::CASES, database, load::CONNECTIONS, machine, settings::Bench, statistics::Figure};

/// What a figure must be.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) enum Target {
    AtLeast(f64),
    AtMost(f64),
    /// More than the other side.
    MoreByAtMost(f64),
}

/// A row of the table.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Row {
    what: String,
    against: String,
    /// Of both sides.
    unit: String,
    ours: Figure,
    theirs: Option<Figure>,
    /// What the target is about.
    result: Figure,
    target: Target,
}

/// The rows of one case, with what they were measured under.
#[derive(Serialize, Deserialize)]
struct Measured {
    rows: Vec<Row>,
    commit: String,
    date: String,
    rounds: usize,
    seconds: f64,
    /// The share of the processors that others used meanwhile.
    busy: f64,
}

pub(crate) struct Report {
    results: PathBuf,
    page: PathBuf,
    cases: BTreeMap<String, Measured>,
    commit: String,
    date: String,
    rounds: usize,
    seconds: f64,
    machine: Vec<(&'static str, String)>,
}

/// Above this share the figures are called noisy.
const NOISY: f64 = 0.10;

impl Row {
    /// Two rates; the ratio of ours to theirs counts.
    pub(crate) fn ratio(what: impl Into<String>, against: &str, ours: &[f64], theirs: &[f64], target: Target) -> Self {
        Self::of(what, against, "/s", ours, theirs, Figure::ratio(ours, theirs), target)
    }

    /// Two rates; the ratio of the times counts, which are their inverse.
    pub(crate) fn time_ratio(what: impl Into<String>, against: &str, ours: &[f64], theirs: &[f64], target: Target) -> Self {
        Self::of(what, against, "/s", ours, theirs, Figure::ratio(theirs, ours), target)
    }

    /// Two latencies in ms; the ratio of ours to theirs counts.
    pub(crate) fn latency(what: impl Into<String>, against: &str, ours: &[f64], theirs: &[f64], target: Target) -> Self {
        Self::of(what, against, "ms", ours, theirs, Figure::ratio(ours, theirs), target)
    }

    /// Two latencies in ms; what ours is longer by counts.
    pub(crate) fn added(what: impl Into<String>, against: &str, ours: &[f64], theirs: &[f64], most: f64) -> Self {
        let added = Figure::of(ours.iter().zip(theirs).map(|(ours, theirs)| ours - theirs));
        Self::of(what, against, "ms", ours, theirs, added, Target::MoreByAtMost(most))
    }

    /// Two sizes in bytes; the ratio of ours to theirs counts.
    pub(crate) fn size(what: &str, against: &str, ours: f64, theirs: f64, target: Target) -> Self {
        Self::of(what, against, "B", &[ours], &[theirs], Figure::ratio(&[ours], &[theirs]), target)
    }

    /// A figure by itself.
    pub(crate) fn absolute(what: &str, unit: &str, values: &[f64], target: Target) -> Self {
        let figure = Figure::of(values.iter().copied());
        let (what, unit) = (what.to_owned(), unit.to_owned());
        Self { what, against: "–".into(), unit, ours: figure, theirs: None, result: figure, target }
    }

    fn of(
        what: impl Into<String>,
        against: &str,
        unit: &str,
        ours: &[f64],
        theirs: &[f64],
        result: Figure,
        target: Target,
    ) -> Self {
        Self {
            what: what.into(),
            against: against.to_owned(),
            unit: unit.to_owned(),
            ours: Figure::of(ours.iter().copied()),
            theirs: Some(Figure::of(theirs.iter().copied())),
            result,
            target,
        }
    }

    fn verdict(&self) -> &str {
        let met = match self.target {
            Target::AtLeast(least) => self.result.median >= least,
            Target::AtMost(most) | Target::MoreByAtMost(most) => self.result.median <= most,
        };
        if met { "yes" } else { "**no**" }
    }

    fn line(&self, remark: &str) -> String {
        let Figure { median, lowest, highest } = self.result;
        let theirs = self.theirs.map_or_else(|| "–".into(), |theirs| amount(theirs.median, &self.unit));
        let result = match (self.target, self.theirs) {
            (Target::MoreByAtMost(_), _) => format!("{median:+.2} {} ({lowest:+.2}–{highest:+.2})", self.unit),
            (_, Some(_)) => format!("{median:.2} ({lowest:.2}–{highest:.2})"),
            (_, None) => format!("{median:.0} {} ({lowest:.0}–{highest:.0})", self.unit),
        };
        let target = match self.target {
            Target::AtLeast(least) => format!("≥ {least}"),
            Target::AtMost(most) => format!("≤ {most}"),
            Target::MoreByAtMost(most) => format!("≤ +{most}"),
        };
        let (what, against, met) = (&self.what, &self.against, self.verdict());
        let ours = amount(self.ours.median, &self.unit);
        format!("| {what} | {against} | {ours} | {theirs} | {result} | {target} | {met}{remark} |")
    }
}

fn amount(value: f64, unit: &str) -> String {
    match unit {
        "/s" => format!("{value:.0}/s"),
        "B" => format!("{value:.0} B"),
        unit => format!("{value:.2} {unit}"),
    }
}

impl Report {
    /// With the rows of earlier runs, unless all are measured anew.
    pub(crate) fn open(bench: &Bench, anew: bool) -> Self {
        let results = bench.root.join("target/bench/results.json");
        let cases = match fs::read(&results) {
            Ok(bytes) if !anew && !bench.smoke => serde_json::from_slice(&bytes).unwrap_or_default(),
            _ => BTreeMap::new(),
        };
        let postgres = database::server_version(bench).unwrap_or_else(|_| "none".into());
        Self {
            results,
            page: bench.root.join("BENCHMARKS.md"),
            cases,
            commit: machine::commit(&bench.root),
            date: today(),
            rounds: bench.rounds,
            seconds: bench.seconds,
            machine: machine::describe(&bench.root, &postgres),
        }
    }

    pub(crate) fn add(&mut self, case: &str, rows: Vec<Row>, busy: f64) {
        for row in &rows {
            eprintln!("    {}", row.line(""));
        }
        let (commit, date) = (self.commit.clone(), self.date.clone());
        let measured = Measured { rows, commit, date, rounds: self.rounds, seconds: self.seconds, busy };
        self.cases.insert(case.to_owned(), measured);
    }

    /// The rows in the order of the cases. What differs from this run, and what was measured beside other work, is said.
    pub(crate) fn table(&self) -> String {
        let mut table = String::from(
            "| Case | Measured against | Service | Against | Result (spread) | Wanted | Met |\n|---|---|--:|--:|--:|--:|---|\n",
        );
        for measured in CASES.iter().filter_map(|case| self.cases.get(case.name)) {
            let mut remark = String::new();
            if measured.commit != self.commit {
                let _ = write!(remark, "; at {}, {}", measured.commit, measured.date);
            }
            if (measured.rounds, measured.seconds) != (self.rounds, self.seconds) {
                let _ = write!(remark, "; {} rounds of {} s", measured.rounds, measured.seconds);
            }
            if measured.busy > NOISY {
                let _ = write!(remark, "; **noisy**: {:.0} % used by others", measured.busy * 100.0);
            }
            for row in &measured.rows {
                table += &row.line(&remark);
                table.push('\n');
            }
        }
        table
    }

    /// Writes the page, and keeps the rows for the next run.
    pub(crate) fn write(&self) -> Result<()> {
        fs::write(&self.results, serde_json::to_vec_pretty(&self.cases)?)?;
        let mut page = format!(
            "# Benchmarks\n\n\
             Written by `make bench`; `make bench CASE=get` renews the rows of the cases whose names begin so. \
             `target/release/profile-bench list` names them.\n\n\
             Each side ran {} rounds of {} s by turns (service, bare, service, bare …), {CONNECTIONS} connections in a closed \
             loop unless the case says otherwise. Service and Against are medians; the result is the median of the quotients of \
             the rounds, with the lowest and the highest. Latency is counted from when a request was due in an open loop. \
             The service runs as it ships: logs at `info` to a file, metrics, deadlines; its bare counterpart (`benches/src/bare`) \
             uses the same libraries, pools and allocator. Sender, server and database share the machine. Before a case \
             is measured, both sides must answer the same bytes and write the same rows.\n\n",
            self.rounds, self.seconds
        );
        page += &self.table();
        let _ = write!(page, "\n| | |\n|---|---|\n| Commit | {} ({}) |\n", self.commit, self.date);
        for (name, value) in &self.machine {
            let _ = writeln!(page, "| {name} | {value} |");
        }
        page += "\nTo repeat: `make bench`. `BENCH_SECONDS` (per side and round), `BENCH_ROUNDS` and `BENCH_SCALE` (of the large store; \
                 1 is 1,000,000 profiles) change how much is measured.\n";
        Ok(fs::write(&self.page, page)?)
    }
}

#[expect(clippy::disallowed_methods, reason = "the date of a measurement")]
fn today() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%d").to_string()
}
