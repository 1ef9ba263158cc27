//! Lines of an import: cut out of the bytes that come, gathered into batches, parsed away from the thread that serves.

use std::{
    ops::{Range, RangeInclusive},
    panic::resume_unwind,
    pin::Pin,
    sync::Arc,
};

use bytes::{Buf, Bytes};
use futures_util::{
    Stream, StreamExt,
    stream::{self, FusedStream},
};
use profile_domain::{
    Rejection, SourceName,
    json::{self, JsonError},
    line::{self, ImportLine, MAX_LINE_BYTES},
    profile::{DocumentError, FieldProblem},
};
use serde_json::Value;
use tokio::task::spawn_blocking;

use super::{ImportOptions, LineProblem, outcome::rejected};

/// Lines in one changeset, at most.
pub(crate) const BATCH_LINES: usize = 2_000;
/// Bytes of lines in one changeset, about.
const BATCH_BYTES: usize = 2 * 1024 * 1024;
/// Bytes that are parsed on the spot, because handing them over would take longer.
const SMALL_BYTES: usize = 16 * 1024;

/// The lines of one changeset, parsed; at least one.
pub(super) struct Batch(pub(super) Vec<Parsed>);

/// One line.
pub(super) struct Parsed {
    pub(super) line: u64,
    pub(super) content: Result<ImportLine, LineProblem>,
}

impl Batch {
    /// From the first to the last.
    pub(super) fn lines(&self) -> RangeInclusive<u64> {
        let number = |parsed: Option<&Parsed>| parsed.map_or(0, |parsed| parsed.line);
        number(self.0.first())..=number(self.0.last())
    }
}

/// All batches of a stream of bytes.
pub(super) fn batches<E: 'static>(
    options: ImportOptions,
    bytes: impl Stream<Item = Result<Bytes, E>> + 'static,
) -> impl FusedStream<Item = Result<Batch, E>> + Unpin {
    let options = Arc::new(options);
    let batches = stream::unfold((Cutter::default(), Box::pin(bytes.fuse())), move |(mut cutter, mut bytes)| {
        let options = Arc::clone(&options);
        async move {
            let raw = cutter.next(bytes.as_mut()).await.transpose()?;
            let batch = match raw {
                Ok(raw) => Ok(raw.parse(options).await),
                Err(error) => Err(error),
            };
            Some((batch, (cutter, bytes)))
        }
    });
    Box::pin(batches.fuse())
}

/// Lines as they came.
#[derive(Default)]
struct Raw {
    text: Vec<u8>,
    lines: Vec<(u64, Cut)>,
}

enum Cut {
    /// Where in the text it is.
    Line(Range<usize>),
    TooLong,
}

/// Cuts bytes into lines.
#[derive(Default)]
struct Cutter {
    /// Not looked at yet.
    waiting: Bytes,
    /// Whole lines, and then the beginning of one.
    raw: Raw,
    /// Where that one begins.
    start: usize,
    /// It is too long already: what comes is dropped up to its end.
    skipping: bool,
    /// Lines that have ended, the empty ones included.
    ended: u64,
}

impl Cutter {
    /// The next batch; `None` at the end.
    async fn next<E>(&mut self, mut bytes: Pin<&mut impl Stream<Item = Result<Bytes, E>>>) -> Result<Option<Raw>, E> {
        loop {
            if let Some(full) = self.cut() {
                return Ok(Some(full));
            }
            let Some(chunk) = bytes.next().await else {
                if self.raw.text.len() > self.start || self.skipping {
                    self.end_line();
                }
                return Ok(Some(self.take()).filter(|raw| !raw.lines.is_empty()));
            };
            self.waiting = chunk?;
        }
    }

    /// Cuts what waits, until a batch is full.
    fn cut(&mut self) -> Option<Raw> {
        while !self.waiting.is_empty() {
            match self.waiting.iter().position(|byte| *byte == b'\n') {
                Some(end) => {
                    self.keep(end);
                    self.waiting.advance(1);
                    self.end_line();
                }
                None => self.keep(self.waiting.len()),
            }
            if self.raw.lines.len() >= BATCH_LINES || self.start >= BATCH_BYTES {
                return Some(self.take());
            }
        }
        None
    }

    fn take(&mut self) -> Raw {
        self.start = 0;
        std::mem::take(&mut self.raw)
    }

    /// Takes so many bytes as part of the current line.
    fn keep(&mut self, count: usize) {
        let bytes = self.waiting.split_to(count);
        if self.raw.text.len() - self.start + bytes.len() > MAX_LINE_BYTES {
            self.skipping = true;
        }
        if self.skipping {
            self.raw.text.truncate(self.start);
        } else {
            self.raw.text.extend_from_slice(&bytes);
        }
    }

    fn end_line(&mut self) {
        self.ended += 1;
        let line = self.start..self.raw.text.len();
        if std::mem::take(&mut self.skipping) {
            self.raw.lines.push((self.ended, Cut::TooLong));
        } else if self.raw.text[line.clone()].trim_ascii().is_empty() {
            self.raw.text.truncate(self.start);
        } else {
            self.start = line.end;
            self.raw.lines.push((self.ended, Cut::Line(line)));
        }
    }
}

impl Raw {
    async fn parse(self, options: Arc<ImportOptions>) -> Batch {
        if self.text.len() <= SMALL_BYTES {
            return self.parse_here(&options);
        }
        match spawn_blocking(move || self.parse_here(&options)).await {
            Ok(batch) => batch,
            // Nobody aborts it; where the runtime ends, so does this.
            Err(error) => resume_unwind(error.into_panic()),
        }
    }

    fn parse_here(self, options: &ImportOptions) -> Batch {
        let parsed = self.lines.into_iter().map(|(line, cut)| {
            let content = match cut {
                Cut::Line(range) => parse(&self.text[range], options),
                Cut::TooLong => Err(too_long()),
            };
            Parsed { line, content }
        });
        Batch(parsed.collect())
    }
}

fn too_long() -> LineProblem {
    let message = format!("a line may have at most {MAX_LINE_BYTES} bytes");
    LineProblem { code: "LINE_TOO_LONG", message, fields: Vec::new() }
}

fn parse(bytes: &[u8], options: &ImportOptions) -> Result<ImportLine, LineProblem> {
    let value = json::parse(bytes).map_err(unreadable)?;
    let content = line::parse_import(&value).map_err(invalid)?;
    if content.id.is_none() && options.source == SourceName::api() && !content.fields.get("name").is_some_and(Value::is_string) {
        let name = FieldProblem { field: "name".into(), code: "REQUIRED", message: "is required where there is no id".into() };
        return Err(invalid(DocumentError::Invalid(vec![name])));
    }
    Ok(content)
}

pub(crate) fn unreadable(error: JsonError) -> LineProblem {
    let message = error.to_string();
    let (code, fields) = match error {
        JsonError::Syntax { .. } => ("INVALID_JSON", Vec::new()),
        JsonError::TooDeep => ("JSON_TOO_DEEP", Vec::new()),
        JsonError::Duplicate { .. } => ("DUPLICATE_MEMBER", Vec::new()),
        JsonError::Inexact { path, why } => {
            ("VALIDATION_FAILED", vec![FieldProblem { field: path, code: "INEXACT", message: why.to_string() }])
        }
    };
    LineProblem { code, message, fields }
}

fn invalid(error: DocumentError) -> LineProblem {
    match error {
        DocumentError::NotAnObject => {
            LineProblem { code: "VALIDATION_FAILED", message: "a line must be a JSON object".into(), fields: Vec::new() }
        }
        DocumentError::UnknownMembers(members) => LineProblem {
            code: "UNKNOWN_MEMBER",
            message: format!("a profile has no {}; free fields go into attributes", members.join(", ")),
            fields: Vec::new(),
        },
        DocumentError::Invalid(fields) => rejected(Rejection::Invalid(fields)),
    }
}
