//! `POST /api/v1/profiles/import`.

use std::convert::Infallible;

use actix_web::{HttpRequest, HttpResponse, http::header, web::Data};
use bytes::Bytes;
use futures_util::{
    Stream, StreamExt,
    stream::{self, LocalBoxStream},
};
use profile_application::{App, ImportError, ImportOptions, LineOutcome, StoreError, Tally};
use profile_domain::SourceName;
use serde_json::{Value, json};
use tracing::Span;

use crate::{
    caller::Caller,
    ndjson::{Moved, NDJSON, NdjsonBody},
    once,
    operations::Operations,
    problem::{Code, Problem},
    query::{Parameters, invalid},
    schema,
    settings::Settings,
};

#[utoipa::path(
    post, path = "/api/v1/profiles/import", tag = "profiles", operation_id = "importProfiles", summary = "Import profiles",
    description = "Lines of JSON, as many as there are; each is a profile as GET shows it, whole or in part, of at most 1 MiB. A \
        line changes the profile whose `id` it has; without an id, the one that has reserved its `email`, else the only one that \
        serves it; else it makes a new one. Fields that it doesn't name stay; `null` removes.\n\n\
        The answer has one line for each that isn't empty, in order, and ends with a `summary`. A line that can't be taken harms \
        no other. They are written some thousands at a time: **read the answer while you send**, for nothing is taken while its \
        outcomes aren't. Where `complete` is false the import ended early, and lines that have no outcome were not written; \
        after `COMMIT_UNKNOWN` those that the error names may have been. Importing the same again finds what was \
        written unchanged; therefore there is no `Idempotency-Key` here.\n\n\
        The connection is closed where less than 1 KiB/s moves over 30 seconds, or nothing for 15.",
    params(schema::ImportParameters),
    request_body(content(
        (schema::ImportLine = "application/x-ndjson"),
        (schema::ImportLine = "application/ndjson"),
        (schema::ImportLine = "application/jsonl"),
    )),
    responses((
        status = 200, description = "Lines of JSON: outcomes, and a summary last", body = schema::ImportOutcome,
        content_type = "application/x-ndjson",
    ))
)]
pub(crate) async fn import(
    request: HttpRequest,
    caller: Caller,
    body: NdjsonBody,
    app: Data<App>,
    settings: Data<Settings>,
    operations: Data<Operations>,
) -> Result<HttpResponse, Problem> {
    let options = options(&request)?;
    once::refuse(&request, "an import takes no Idempotency-Key: repeat it as it is, and what was written is found unchanged")?;
    let moved = Moved::default();
    let bytes = until_stopped(body.bytes(moved.clone()), operations, moved.clone());
    let outcomes = app.import(&caller.tenant, options, bytes, settings.batch_timeout);
    let answer = Answer::begin(outcomes, moved).await?;
    let mut head = HttpResponse::Ok();
    head.content_type(NDJSON).insert_header((header::CACHE_CONTROL, "no-store"));
    Ok(head.streaming(answer.chunks()))
}

fn options(request: &HttpRequest) -> Result<ImportOptions, Problem> {
    let mut parameters = Parameters::of(request)?;
    let source = match parameters.take("source")? {
        None => SourceName::api(),
        Some(text) => SourceName::parse(&text).map_err(|error| invalid("source", format!("must be {}", error.allowed)))?,
    };
    let reference_date = match parameters.take("reference_date")? {
        None => None,
        Some(text) => Some(text.parse().map_err(|_| {
            invalid("reference_date", "must be an RFC 3339 time between the years 0001 and 9999, such as 2026-01-31T12:00:00Z")
        })?),
    };
    parameters.end()?;
    Ok(ImportOptions { source, reference_date })
}

/// A stop doesn't wait for the end of a long body; one that has had no answer yet is likely to be short.
fn until_stopped<S: Stream<Item = Result<Bytes, Problem>>>(
    bytes: S,
    operations: Data<Operations>,
    moved: Moved,
) -> impl Stream<Item = S::Item> {
    bytes.map(move |chunk| {
        if moved.has_answered() && operations.is_draining() {
            return Err(Problem::new(Code::Unavailable, "the service is stopping: send the lines that have no outcome again"));
        }
        chunk
    })
}

type Outcomes = LocalBoxStream<'static, Result<Vec<LineOutcome>, ImportError<Problem>>>;

/// The answer, changeset by changeset.
struct Answer {
    outcomes: Outcomes,
    moved: Moved,
    /// The request's, for what is logged after its handler.
    span: Span,
    tally: Tally,
    ended: bool,
}

impl Answer {
    /// Waits for the first outcomes, so that what fails before them is an ordinary problem.
    async fn begin(mut outcomes: Outcomes, moved: Moved) -> Result<Self, Problem> {
        let outcomes = match outcomes.next().await {
            None => stream::empty().boxed_local(),
            Some(Err(error)) => return Err(problem(error)),
            Some(first) => stream::once(async { first }).chain(outcomes).boxed_local(),
        };
        Ok(Self { outcomes, moved, span: Span::current(), tally: Tally::default(), ended: false })
    }

    fn chunks(self) -> impl Stream<Item = Result<Bytes, Infallible>> + 'static {
        stream::unfold(Some(self), async |answer| {
            let mut answer = answer?;
            match answer.outcomes.next().await {
                Some(Ok(outcomes)) => Some((Ok(answer.write(&outcomes)), Some(answer))),
                Some(Err(error)) => Some((Ok(answer.end(Some(&problem(error)))), None)),
                None => Some((Ok(answer.end(None)), None)),
            }
        })
    }

    fn write(&mut self, outcomes: &[LineOutcome]) -> Bytes {
        let mut lines = Vec::with_capacity(outcomes.len() * 112);
        for outcome in outcomes {
            self.tally.count(&outcome.result);
            outcome.write_json(&mut lines);
        }
        self.moved.sent(lines.len());
        lines.into()
    }

    /// The last line.
    fn end(&mut self, problem: Option<&Problem>) -> Bytes {
        self.ended = true;
        let Tally { created, updated, unchanged, refused } = self.tally;
        let lines = self.tally.lines();
        let complete = problem.is_none();
        let mut summary = json!({
            "lines": lines, "created": created, "updated": updated, "unchanged": unchanged, "refused": refused,
            "complete": complete,
        });
        let _entered = self.span.clone().entered();
        let code = problem.map_or("", |problem| problem.code().text());
        if let Some(problem) = problem {
            summary["error"] = Value::Object(problem.error());
            if problem.code().status().is_server_error() {
                tracing::warn!(code, cause = problem.cause().unwrap_or_default(), "an import ended early");
            }
        }
        tracing::info!(lines, created, updated, unchanged, refused, complete, code, "import");
        format!("{}\n", json!({"summary": summary})).into()
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if !self.ended {
            let lines = self.tally.lines();
            self.span.in_scope(|| tracing::info!(lines, complete = false, "import: its client went away"));
        }
    }
}

fn problem(error: ImportError<Problem>) -> Problem {
    match error {
        ImportError::Input(problem) => problem,
        ImportError::Store { error, lines } => {
            let detail = match &error {
                StoreError::OutcomeUnknown(_) => Some(format!(
                    "lines {} to {} may or may not have been written, and later ones were not: import them again",
                    lines.start(),
                    lines.end()
                )),
                StoreError::Unavailable(_) => Some(format!("line {} and later ones were not written; try again", lines.start())),
                StoreError::Full(_) => Some(format!("line {} and later ones were not written", lines.start())),
                StoreError::Corrupt(_) => None,
            };
            let problem = Problem::from(error);
            if let Some(detail) = detail { problem.with_detail(detail) } else { problem }
        }
    }
}
