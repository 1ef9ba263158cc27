//! `POST /api/v1/profiles/import` and `profile-service import`: many profiles, line by line, in changesets of a few thousand.
//!
//! Bytes come in as a stream and outcomes go out as one, changeset by changeset. Nothing happens unless outcomes are asked for,
//! so whoever stops reading them stops the import, and two changesets are all that is in memory: one that is being committed,
//! and the next one, which is read and parsed meanwhile. A line that can't be taken harms no other.

mod lines;
mod outcome;

use std::{
    collections::HashMap,
    ops::RangeInclusive,
    pin::pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{
    FutureExt, Stream, StreamExt,
    future::poll_fn,
    stream::{self, FusedStream, LocalBoxStream},
};
use profile_domain::{
    Changeset, EntityKey, EntityWrite, Expect, Fact, FieldName, Intent, ItemOutcome, Moment, ProfileId, Rejection, SourceName,
    TenantId,
    line::ImportLine,
    text::{EmailAddress, EmailKey},
};
use profile_ports::{CommitError, Deadline, EmailOwners, StoreError};
use serde_json::{Map, Value};
use thiserror::Error;

use crate::App;

pub(crate) use lines::unreadable;
use lines::{Batch, Parsed};
use outcome::result;
pub use outcome::{LineOutcome, LineProblem, LineResult, Tally};

/// Who reports what an import holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportOptions {
    /// `api` unless another is named. Only `api` takes e-mail addresses.
    pub source: SourceName,
    /// When it was true. Without one, `api` reports as a REST write and others as of now.
    pub reference_date: Option<Moment>,
}

/// Why an import ended early. Every outcome given before holds; of the other lines nothing was written, except perhaps, under
/// [`StoreError::OutcomeUnknown`], of those named here.
#[derive(Debug, Error)]
pub enum ImportError<E> {
    /// The bytes ended with an error.
    #[error("the lines can't be read")]
    Input(E),
    /// The store failed.
    #[error("{error}")]
    Store {
        /// How.
        #[source]
        error: StoreError,
        /// The lines of the changeset that it failed with.
        lines: RangeInclusive<u64>,
    },
}

impl App {
    /// Imports lines of NDJSON: bytes of any length, cut anywhere; empty lines are passed over, and the last one needs no line
    /// break. Gives the outcomes of one changeset at a time, in the order of the lines.
    ///
    /// `patience` is how long each changeset may take. Dropping the stream ends the import with a whole changeset.
    pub fn import<E: 'static>(
        &self,
        tenant: &TenantId,
        options: ImportOptions,
        bytes: impl Stream<Item = Result<Bytes, E>> + 'static,
        patience: Duration,
    ) -> LocalBoxStream<'static, Result<Vec<LineOutcome>, ImportError<E>>> {
        let batches = lines::batches(options.clone(), bytes);
        let import = Import { app: self.clone(), tenant: tenant.clone(), options };
        let outcomes = stream::unfold(Some((import, Ahead::new(batches))), move |state| async move {
            let (import, mut batches) = state?;
            let batch = match batches.next().await? {
                Ok(batch) => batch,
                Err(error) => return Some((Err(ImportError::Input(error)), None)),
            };
            let lines = batch.lines();
            match batches.fetch_during(import.commit(batch, Deadline::within(patience))).await {
                Ok(outcomes) => Some((Ok(outcomes), Some((import, batches)))),
                Err(error) => Some((Err(ImportError::Store { error, lines }), None)),
            }
        });
        outcomes.boxed_local()
    }
}

/// A stream whose next item can be fetched while something else is waited for.
struct Ahead<S: Stream> {
    stream: S,
    fetched: Option<S::Item>,
}

impl<S: FusedStream + Unpin> Ahead<S> {
    fn new(stream: S) -> Self {
        Self { stream, fetched: None }
    }

    async fn next(&mut self) -> Option<S::Item> {
        match self.fetched.take() {
            Some(item) => Some(item),
            None => self.stream.next().await,
        }
    }

    async fn fetch_during<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        poll_fn(|context| {
            self.fetch(context);
            work.poll_unpin(context)
        })
        .await
    }

    fn fetch(&mut self, context: &mut Context<'_>) {
        if self.fetched.is_none()
            && !self.stream.is_terminated()
            && let Poll::Ready(item) = self.stream.poll_next_unpin(context)
        {
            self.fetched = item;
        }
    }
}

struct Import {
    app: App,
    tenant: TenantId,
    options: ImportOptions,
}

impl Import {
    async fn commit(&self, Batch(batch): Batch, deadline: Deadline) -> Result<Vec<LineOutcome>, StoreError> {
        let mut outcomes = Vec::with_capacity(batch.len());
        let mut lines = Vec::with_capacity(batch.len());
        for Parsed { line, content } in batch {
            match content {
                Ok(content) => lines.push((line, content)),
                Err(problem) => outcomes.push(LineOutcome { line, id: None, result: LineResult::Refused(problem) }),
            }
        }
        // A line that found nobody behind its address may lose it to another import that runs at the same time; seen anew, it
        // finds the winner.
        for last in [false, true] {
            let mut lost = Vec::new();
            let results = self.write(&lines, deadline).await?;
            for ((line, content), (id, made_here, result)) in lines.into_iter().zip(results) {
                let taken = matches!(&result, LineResult::Refused(problem) if problem.code == Rejection::EmailTaken.code());
                if taken && made_here && !last {
                    lost.push((line, content));
                } else {
                    let id = id.filter(|_| !(made_here && matches!(result, LineResult::Refused(_))));
                    outcomes.push(LineOutcome { line, id, result });
                }
            }
            lines = lost;
            if lines.is_empty() {
                break;
            }
        }
        outcomes.sort_unstable_by_key(|outcome| outcome.line);
        Ok(outcomes)
    }

    /// One changeset. For each line: the profile, whether its id was made for this line, and what became of it.
    async fn write(
        &self,
        lines: &[(u64, ImportLine)],
        deadline: Deadline,
    ) -> Result<Vec<(Option<ProfileId>, bool, LineResult)>, StoreError> {
        let targets = self.targets(lines, deadline).await?;
        let now = (self.app.environment.now)();
        let writes: Vec<EntityWrite> = lines
            .iter()
            .zip(&targets)
            .filter_map(|((_, content), target)| {
                let Target::Found { id, expect, .. } = target else { return None };
                let intent = self.intent(&content.fields, now);
                Some(EntityWrite { key: EntityKey::profile(*id), intent, expect: expect.clone(), required: false })
            })
            .collect();
        let changeset = Changeset::of(now, writes);
        let receipt = self.app.store.commit(&self.tenant, changeset, deadline).await.map_err(|error| match error {
            CommitError::Store(error) => error,
            // Nothing is required, there is no key, and a batch is smaller than a changeset may be.
            error => StoreError::Unavailable(error.into()),
        })?;
        self.app.changed(&self.tenant, &receipt).await;
        let mut done = receipt.outcomes.into_iter();
        let results = targets.into_iter().map(|target| match target {
            Target::Ambiguous => (None, false, LineResult::Refused(ambiguous())),
            Target::Found { id, made_here, .. } => {
                let outcome = done.next().map_or(ItemOutcome::Unchanged(None), |item| item.outcome);
                (Some(id), made_here, result(outcome))
            }
        });
        Ok(results.collect())
    }

    /// Whom each line is about.
    async fn targets(&self, lines: &[(u64, ImportLine)], deadline: Deadline) -> Result<Vec<Target>, StoreError> {
        let mut wanted: Vec<EmailKey> =
            lines.iter().filter(|(_, content)| content.id.is_none()).filter_map(|(_, content)| email(&content.fields)).collect();
        wanted.sort_unstable();
        wanted.dedup();
        let owners =
            if wanted.is_empty() { HashMap::new() } else { self.app.store.email_owners(&self.tenant, &wanted, deadline).await? };
        let nobody = EmailOwners::default();
        // Whom earlier lines of this changeset gave an address.
        let mut given: HashMap<EmailKey, ProfileId> = HashMap::new();
        let mut targets = Vec::with_capacity(lines.len());
        for (_, content) in lines {
            let email = email(&content.fields);
            let target = match (content.id, &email) {
                (Some(id), _) => Target::Found { id, expect: self.expect_of(&content.fields), made_here: false },
                (None, None) => Target::Ambiguous,
                (None, Some(email)) => {
                    let owners = owners.get(email).unwrap_or(&nobody);
                    match (&owners.holder, given.get(email), owners.serving.as_slice()) {
                        (Some(known), _, _) | (None, None, [known]) => match known.as_str().parse() {
                            Ok(id) => Target::Found { id, expect: Expect::Any, made_here: false },
                            Err(_) => Target::Ambiguous,
                        },
                        (None, Some(id), _) => Target::Found { id: *id, expect: Expect::Any, made_here: false },
                        (None, None, []) => {
                            let id = ProfileId((self.app.environment.new_id)());
                            Target::Found { id, expect: Expect::Fresh, made_here: true }
                        }
                        (None, None, _) => Target::Ambiguous,
                    }
                }
            };
            if let (Some(email), Target::Found { id, .. }) = (email, &target) {
                given.entry(email).or_insert(*id);
            }
            targets.push(target);
        }
        Ok(targets)
    }

    /// A profile that doesn't exist can be created by source `api` only with what POST requires.
    fn expect_of(&self, fields: &Map<String, Value>) -> Expect {
        let whole = ["name", "email"].iter().all(|field| fields.get(*field).is_some_and(Value::is_string));
        if whole || self.options.source != SourceName::api() { Expect::Any } else { Expect::Present }
    }

    fn intent(&self, fields: &Map<String, Value>, now: Moment) -> Intent {
        if self.options.source == SourceName::api() && self.options.reference_date.is_none() {
            return Intent::Update(fields.clone());
        }
        let reference_date = self.options.reference_date.unwrap_or(now);
        let fact = |value: &Value| Fact { source: self.options.source.clone(), reference_date, value: value.clone() };
        let facts = fields.iter().filter_map(|(field, value)| Some((FieldName::parse(field).ok()?, fact(value))));
        Intent::Merge(facts.collect())
    }
}

enum Target {
    Found { id: ProfileId, expect: Expect, made_here: bool },
    Ambiguous,
}

fn email(fields: &Map<String, Value>) -> Option<EmailKey> {
    Some(EmailAddress::parse(fields.get("email")?.as_str()?)?.key())
}

fn ambiguous() -> LineProblem {
    let message = "several profiles serve this e-mail address and none holds it: name the one that is meant by its id";
    LineProblem { code: "EMAIL_AMBIGUOUS", message: message.into(), fields: Vec::new() }
}
