//! Logs: one line each to standard output, as JSON or for a terminal.

use std::{fs::File, io::IsTerminal, os::fd::AsFd, panic::PanicHookInfo, sync::OnceLock, time::Duration};

use tracing_subscriber::{
    Layer, Registry,
    filter::{LevelFilter, Targets},
    layer::SubscriberExt,
    reload,
    util::SubscriberInitExt,
};

use crate::{
    config::{Format, Logging},
    json_lines::JsonLines,
    log_lines::LogLines,
};

/// How long a panic, and the end of the process, wait for the log.
const FLUSH_WITHIN: Duration = Duration::from_secs(1);

/// Standard output is one, and so is what is on its way there.
static LINES: OnceLock<LogLines> = OnceLock::new();

/// What operators may set while the process runs.
static FILTER: OnceLock<reload::Handle<Targets, Registry>> = OnceLock::new();

/// Sends logs and panics to standard output from here on. Fails where there can be no thread.
pub(crate) fn start(logging: &Logging) -> std::io::Result<()> {
    let writer = {
        // Without a buffer in between, so that what was refused is known.
        let output = File::from(std::io::stdout().as_fd().try_clone_to_owned()?);
        let lines = LogLines::start(output)?;
        LINES.get_or_init(|| lines).clone()
    };
    let (filter, handle) = reload::Layer::new(filter(logging.level));
    let _ = FILTER.set(handle);
    let lines = match logging.format {
        Format::Json => {
            tracing_subscriber::fmt::layer().event_format(JsonLines).fmt_fields(JsonLines).with_writer(writer).boxed()
        }
        Format::Text => tracing_subscriber::fmt::layer().with_ansi(std::io::stdout().is_terminal()).with_writer(writer).boxed(),
    };
    tracing_subscriber::registry().with(lines.with_filter(filter)).init();
    std::panic::set_hook(Box::new(log_panic));
    Ok(())
}

/// What is logged from now on.
pub(crate) fn set_level(level: &str) -> Result<(), String> {
    let level: LevelFilter = level.parse().map_err(|_| format!("{level} is no level"))?;
    let handle = FILTER.get().ok_or("the log hasn't begun")?;
    handle.reload(filter(level)).map_err(|error| error.to_string())
}

/// Libraries never say more than warnings: at `debug`, drivers log the parameters of statements, which are people's data.
fn filter(level: LevelFilter) -> Targets {
    Targets::new().with_target("profile_", level).with_default(level.min(LevelFilter::WARN))
}

/// Waits for the lines that are on their way: before the process ends.
pub(crate) fn flush() {
    if let Some(lines) = LINES.get() {
        lines.flush(FLUSH_WITHIN);
    }
}

/// One line per panic. Its message is logged only where it is a literal: one that was formatted may hold a value, and with it a
/// person's data. The place tells the rest.
fn log_panic(panic: &PanicHookInfo<'_>) {
    let message = panic.payload().downcast_ref::<&'static str>().copied().unwrap_or("(formatted, so not shown)");
    let place = panic.location().map(ToString::to_string);
    let thread = std::thread::current();
    tracing::error!(panic.message = message, panic.place = place, thread = thread.name(), "panicked");
    flush();
}
