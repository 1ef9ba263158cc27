//! Plain values and rules: entities, facts, survivorship, profiles, changesets.
//!
//! This crate owns every decision about *what* is stored and served. It deliberately lacks I/O, async, a clock and
//! randomness: given the same input it gives the same output, so both stores and every instance agree. Everything that a
//! store compares (folded e-mail, sort name, search keys, canonical JSON) is computed here, once.
//!
//! Read in this order: [`key`], [`fact`], [`entity`], [`changeset`], [`plan`]; [`task`] stands by itself.

#![warn(missing_docs)]

pub mod changeset;
pub mod entity;
pub mod fact;
pub mod feed;
pub mod json;
pub mod key;
pub mod line;
pub mod moment;
pub mod plan;
pub mod profile;
pub mod properties;
pub mod rules;
pub mod search;
pub mod stored;
pub mod task;
pub mod text;
pub mod views;

pub use changeset::{
    Changeset, EntityWrite, Expect, Idempotency, Intent, ItemOutcome, ItemReceipt, Place, Receipt, Refusal, Rejection, Replay,
};
pub use entity::{Entity, EntityView, Living};
pub use fact::{Fact, FieldFacts};
pub use feed::{FeedChange, FeedPosition, Incarnation};
pub use key::{EntityKey, EntityType, FieldName, ProfileId, Reference, SourceName, TenantId, Version};
pub use moment::Moment;
pub use plan::Policy;
pub use properties::Properties;
pub use rules::{Rule, Rules};
pub use task::{Fence, NewTask, Task, TaskId, TaskReceipt, TaskStatus, TaskType};
