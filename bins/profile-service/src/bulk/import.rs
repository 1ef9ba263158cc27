//! `import`: the lines of a file, as over HTTP.

use std::{
    io::{self, Write},
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use anyhow::Context;
use futures_util::StreamExt;
use profile_application::{App, ImportError, ImportOptions, LineOutcome, LineResult, StoreError, Tally};
use profile_domain::TenantId;

use super::{STEP_TIMEOUT, files, progress::Progress, restore, with_store};
use crate::{cli, config::Config, print};

/// Exit code 1 where a line was refused.
pub(crate) async fn import(config: &Config, options: &cli::Import) -> anyhow::Result<ExitCode> {
    with_store(config, async |opened, app| {
        opened.migrate().await.context("the store can't be migrated")?;
        if options.restore {
            return restore::restore(app, &options.file, options.tenant.clone(), options.all_tenants).await;
        }
        lines(app, options).await
    })
    .await
}

async fn lines(app: &App, options: &cli::Import) -> anyhow::Result<ExitCode> {
    let (chunks, size) = files::chunks(&options.file).await?;
    let read = Arc::new(AtomicU64::new(0));
    let counted = chunks.inspect({
        let read = Arc::clone(&read);
        move |chunk| {
            let bytes = chunk.as_ref().map_or(0, bytes::Bytes::len);
            read.fetch_add(bytes as u64, Ordering::Relaxed);
        }
    });
    let tenant = options.tenant.clone().unwrap_or_else(TenantId::default_tenant);
    let facts = ImportOptions { source: options.source.clone(), reference_date: options.reference_date };
    let mut outcomes = app.import(&tenant, facts, counted, STEP_TIMEOUT);
    let (mut tally, mut progress) = (Tally::default(), Progress::new("importing"));
    while let Some(batch) = outcomes.next().await {
        let batch = batch.map_err(|error| ended_early(error, &tally))?;
        progress.clear();
        tell_refused(&batch)?;
        for outcome in &batch {
            tally.count(&outcome.result);
        }
        let part = size.map(|size| (read.load(Ordering::Relaxed), size));
        progress.show(part, format_args!("{} lines, {} of them refused", tally.lines(), tally.refused));
    }
    drop(progress);
    print(&summary(&tally));
    Ok(if tally.refused == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn summary(tally: &Tally) -> String {
    let Tally { created, updated, unchanged, refused } = tally;
    format!("{} lines: {created} created, {updated} updated, {unchanged} unchanged, {refused} refused", tally.lines())
}

/// To standard error, as in an answer over HTTP.
fn tell_refused(outcomes: &[LineOutcome]) -> io::Result<()> {
    let mut lines = Vec::new();
    for outcome in outcomes.iter().filter(|outcome| matches!(outcome.result, LineResult::Refused(_))) {
        outcome.write_json(&mut lines);
    }
    io::stderr().lock().write_all(&lines)
}

fn ended_early(error: ImportError<io::Error>, tally: &Tally) -> anyhow::Error {
    let done = summary(tally);
    match error {
        ImportError::Input(error) => anyhow::Error::new(error).context(format!("the lines can't be read on, after {done}")),
        ImportError::Store { error, lines } => {
            let (first, last) = (lines.start(), lines.end());
            let written = match error {
                StoreError::OutcomeUnknown(_) => format!("lines {first} to {last} may have been written, later ones weren't"),
                _ => format!("line {first} and later ones weren't written"),
            };
            anyhow::Error::new(error).context(format!("{done}; {written}; import the same again to go on"))
        }
    }
}
