//! How far a command has come, on standard error: a bar on a terminal, else a line every few seconds.

use std::{
    fmt::Display,
    io::{self, IsTerminal, Write},
    time::{Duration, Instant},
};

/// Often enough to be seen moving.
const REDRAWN_EVERY: Duration = Duration::from_millis(100);
/// Seldom enough for a log.
const SAID_EVERY: Duration = Duration::from_secs(5);
const BAR: usize = 30;

pub(crate) struct Progress {
    what: &'static str,
    terminal: bool,
    shown: Instant,
    drawn: bool,
}

impl Progress {
    pub(crate) fn new(what: &'static str) -> Self {
        Self { what, terminal: io::stderr().is_terminal(), shown: Instant::now(), drawn: false }
    }

    /// Says so, if it is time to. `part` is how much is done and how much there is, where that is known.
    pub(crate) fn show(&mut self, part: Option<(u64, u64)>, done: impl Display) {
        if self.shown.elapsed() < if self.terminal { REDRAWN_EVERY } else { SAID_EVERY } {
            return;
        }
        self.shown = Instant::now();
        let percent = part.map(|(part, whole)| part.saturating_mul(100).checked_div(whole).unwrap_or(100).min(100));
        let mut error = io::stderr().lock();
        // Whoever closed standard error wants no progress.
        let _ = match (self.terminal, percent) {
            (true, Some(percent)) => {
                let bar = "#".repeat(usize::try_from(percent).unwrap_or(0) * BAR / 100);
                write!(error, "\r\x1b[K{} [{bar:-<BAR$}] {percent} % {done}", self.what)
            }
            (true, None) => write!(error, "\r\x1b[K{} {done}", self.what),
            (false, Some(percent)) => writeln!(error, "{} {percent} %, {done}", self.what),
            (false, None) => writeln!(error, "{} {done}", self.what),
        };
        self.drawn = self.terminal;
        let _ = error.flush();
    }

    /// Takes the bar away, so that something else can be said.
    pub(super) fn clear(&mut self) {
        if std::mem::take(&mut self.drawn) {
            let _ = write!(io::stderr().lock(), "\r\x1b[K");
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}
