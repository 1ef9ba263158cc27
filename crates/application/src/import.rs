//! `POST /api/v1/profiles/import` and `profile-service import`: many profiles, line by line, in changesets of a few thousand.
//!
//! The caller hands over bytes as they come and passes the outcomes on as they come back; nothing else is kept, so a caller
//! whose client stops reading need only stop handing over. A line that can't be taken harms no other.

use std::collections::HashMap;

use bytes::{Bytes, BytesMut};
use profile_domain::{
    Changeset, EntityKey, EntityWrite, Expect, Fact, FieldName, Intent, ItemOutcome, Moment, ProfileId, Rejection, SourceName,
    TenantId, Version,
    json::{self, JsonError},
    line::{self, ImportLine, MAX_LINE_BYTES},
    profile::{DocumentError, FieldProblem},
    text::{EmailAddress, EmailKey},
};
use profile_ports::{CommitError, Deadline, EmailOwners, StoreError};
use serde_json::{Map, Value};

use crate::App;

/// Lines in one changeset, at most.
pub const BATCH_LINES: usize = 2_000;
/// Bytes of lines in one changeset, about.
const BATCH_BYTES: usize = 4 * 1024 * 1024;

/// Who reports what an import holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportOptions {
    /// `api` unless another is named. Only `api` takes e-mail addresses.
    pub source: SourceName,
    /// When it was true. Without one, `api` reports as a REST write and others as of now.
    pub reference_date: Option<Moment>,
}

/// What became of one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineOutcome {
    /// Counted from 1; empty lines count, and have no outcome.
    pub line: u64,
    /// The profile, where it is known.
    pub id: Option<ProfileId>,
    /// What was done.
    pub result: LineResult,
}

/// What was done with one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LineResult {
    /// A profile was created, at this version.
    Created(Version),
    /// A profile was changed, and is now at this version.
    Updated(Version),
    /// The profile was as the line says already. `None`: the line said nothing, of nobody known.
    Unchanged(Option<Version>),
    /// The line was refused; it did nothing.
    Refused(LineProblem),
}

/// Why a line was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineProblem {
    /// Stable, for programs; the same codes as for single profiles.
    pub code: &'static str,
    /// For people.
    pub message: String,
    /// Which fields, where it is about fields.
    pub fields: Vec<FieldProblem>,
}

/// An import in progress.
pub struct Import {
    app: App,
    tenant: TenantId,
    options: ImportOptions,
    /// The beginning of a line whose end hasn't come.
    rest: BytesMut,
    /// That line is too long already: what comes is dropped up to its end.
    skipping: bool,
    line: u64,
    batch: Vec<Parsed>,
    batch_bytes: usize,
}

struct Parsed {
    line: u64,
    content: Result<ImportLine, LineProblem>,
}

impl App {
    /// Begins an import.
    #[must_use]
    pub fn import(&self, tenant: &TenantId, options: ImportOptions) -> Import {
        Import {
            app: self.clone(),
            tenant: tenant.clone(),
            options,
            rest: BytesMut::new(),
            skipping: false,
            line: 0,
            batch: Vec::new(),
            batch_bytes: 0,
        }
    }
}

impl Import {
    /// Takes bytes, of any length and cut anywhere, and gives the outcomes of the changesets that they filled.
    ///
    /// # Errors
    /// The store's. Every outcome given before holds; of those not given nothing was written, except perhaps under
    /// [`StoreError::OutcomeUnknown`] those of one changeset.
    pub async fn take(&mut self, bytes: &Bytes, deadline: fn() -> Deadline) -> Result<Vec<LineOutcome>, StoreError> {
        let mut outcomes = Vec::new();
        let mut left = &bytes[..];
        while let Some(end) = left.iter().position(|byte| *byte == b'\n') {
            let (head, tail) = left.split_at(end);
            self.end_line(head);
            left = &tail[1..];
            if self.batch.len() >= BATCH_LINES || self.batch_bytes >= BATCH_BYTES {
                outcomes.append(&mut self.commit(deadline()).await?);
            }
        }
        self.keep(left);
        Ok(outcomes)
    }

    /// The bytes have ended: gives the last outcomes. A last line needs no line break.
    ///
    /// # Errors
    /// As [`Self::take`].
    pub async fn end(&mut self, deadline: Deadline) -> Result<Vec<LineOutcome>, StoreError> {
        if !self.rest.is_empty() || self.skipping {
            self.end_line(&[]);
        }
        self.commit(deadline).await
    }

    /// The lines that are taken and have no outcome yet.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.batch.len()
    }

    fn keep(&mut self, bytes: &[u8]) {
        if self.skipping {
            return;
        }
        if self.rest.len() + bytes.len() > MAX_LINE_BYTES {
            self.skipping = true;
            self.rest.clear();
        } else {
            self.rest.extend_from_slice(bytes);
        }
    }

    fn end_line(&mut self, bytes: &[u8]) {
        self.keep(bytes);
        self.line += 1;
        let line = self.rest.split();
        let content = if std::mem::take(&mut self.skipping) {
            let message = format!("a line may have at most {MAX_LINE_BYTES} bytes");
            Err(LineProblem { code: "LINE_TOO_LONG", message, fields: Vec::new() })
        } else if line.trim_ascii().is_empty() {
            return;
        } else {
            self.batch_bytes += line.len();
            parse(&line, &self.options)
        };
        self.batch.push(Parsed { line: self.line, content });
    }

    async fn commit(&mut self, deadline: Deadline) -> Result<Vec<LineOutcome>, StoreError> {
        let batch = std::mem::take(&mut self.batch);
        self.batch_bytes = 0;
        if batch.is_empty() {
            return Ok(Vec::new());
        }
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
        let changeset = Changeset { now, writes, idempotency: None };
        let receipt = self.app.store.commit(&self.tenant, changeset, deadline).await.map_err(|error| match error {
            CommitError::Store(error) => error,
            // Nothing is required, there is no key, and a batch is smaller than a changeset may be.
            error => StoreError::Unavailable(error.into()),
        })?;
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

fn ambiguous() -> LineProblem {
    let message = "several profiles serve this e-mail address and none holds it: name the one that is meant by its id";
    LineProblem { code: "EMAIL_AMBIGUOUS", message: message.into(), fields: Vec::new() }
}

fn result(outcome: ItemOutcome) -> LineResult {
    match outcome {
        ItemOutcome::Created(version) => LineResult::Created(version),
        ItemOutcome::Updated(version) | ItemOutcome::Deleted(version) => LineResult::Updated(version),
        ItemOutcome::Unchanged(version) => LineResult::Unchanged(version),
        ItemOutcome::Rejected(rejection) => LineResult::Refused(rejected(rejection)),
    }
}

fn rejected(rejection: Rejection) -> LineProblem {
    let (code, message) = (rejection.code(), rejection.to_string());
    let fields = if let Rejection::Invalid(fields) = rejection { fields } else { Vec::new() };
    LineProblem { code, message, fields }
}
