//! What a kind of task is: a name, what its payload must be, and what it does. Each is one file in [`super::kinds`] and one line there.

use std::{num::NonZeroU32, time::Duration};

use futures_util::future::BoxFuture;
use profile_domain::{
    EntityWrite, Reference, TenantId,
    profile::FieldProblem,
    task::{Again, Run},
};
use serde_json::Value;

use super::kinds;
use crate::App;

/// A kind of task.
pub(crate) struct Kind {
    /// As `type` names it.
    pub(crate) name: &'static str,
    /// For the documentation.
    pub(crate) does: &'static str,
    /// JSON Schema of its payload, for the documentation.
    pub(crate) schema: fn() -> Value,
    /// A payload that is taken.
    pub(crate) example: fn() -> Value,
    /// Whether it must belong to a profile.
    pub(crate) needs_profile: bool,
    /// What is wrong with a payload.
    pub(crate) check: fn(&Payload<'_>) -> Vec<FieldProblem>,
    /// Does the work. It may be dropped at any point where it waits, and be run again: what must happen once it returns as an
    /// [`Effect`].
    pub(crate) run: fn(Job) -> BoxFuture<'static, Result<Effect, Failure>>,
    /// How long a run may take.
    pub(crate) timeout: Duration,
    /// How many may start in a second, in this process.
    pub(crate) rate: Option<NonZeroU32>,
}

impl Kind {
    /// The kind of this name.
    pub(crate) fn of(name: &str) -> Option<&'static Self> {
        kinds::ALL.iter().copied().find(|kind| kind.name == name)
    }

    /// The names of all.
    pub(crate) fn names() -> String {
        kinds::ALL.iter().map(|kind| kind.name).collect::<Vec<_>>().join(", ")
    }
}

/// What was submitted, to be checked.
pub(crate) struct Payload<'p>(pub(crate) &'p Value);

impl Payload<'_> {
    /// Refuses every member but these.
    pub(crate) fn only(&self, allowed: &[&str]) -> Vec<FieldProblem> {
        let members = self.0.as_object().into_iter().flatten();
        let unknown = members.filter(|(member, _)| !allowed.contains(&member.as_str()));
        let message = if allowed.is_empty() {
            "there are no members here".into()
        } else {
            format!("members here are {}", allowed.join(", "))
        };
        unknown.map(|(member, _)| problem(member, "UNKNOWN_MEMBER", &message)).collect()
    }
}

/// A problem with a member of a payload; with the payload itself, where none is named.
pub(crate) fn problem(member: &str, code: &'static str, message: &str) -> FieldProblem {
    let member: String = member.chars().take(128).collect();
    let field = if member.is_empty() { "payload".to_owned() } else { format!("payload.{member}") };
    FieldProblem { field, code, message: message.into() }
}

/// One run.
pub(crate) struct Job {
    pub(crate) app: App,
    pub(crate) tenant: TenantId,
    pub(crate) run: Run,
    pub(crate) payload: Value,
    pub(crate) profile: Option<Reference>,
}

/// What a run leads to.
pub(crate) enum Effect {
    /// Nothing that is kept here, or nothing that would do harm if it came about twice.
    None,
    /// These, committed together with the run's success, or not at all.
    Write(Vec<EntityWrite>),
}

/// Why a run failed.
#[derive(Debug)]
pub(crate) struct Failure {
    /// For whoever looks at the task: nothing that is secret, nothing of the payload.
    pub(crate) error: String,
    pub(crate) again: Again,
}

impl Failure {
    /// It may go well another time.
    pub(crate) fn for_now(error: impl Into<String>) -> Self {
        Self { error: error.into(), again: Again::Maybe }
    }

    /// It can't go well.
    pub(crate) fn for_good(error: impl Into<String>) -> Self {
        Self { error: error.into(), again: Again::Never }
    }
}
