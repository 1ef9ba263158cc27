//! Views: named aggregations of sources that are asked when a view is read.
//!
//! What a source answers becomes facts by its [`Mapping`]; the facts about a field become the value that is served by the same
//! order that stored facts go by ([`crate::rules`]); what is served takes the view's form ([`shape`]). Nothing here knows when or
//! in what order sources answered, so an answer can't depend on it.
//!
//! Deliberately lacking: who is called and how, what becomes of a source that fails, caching. Those are the application's.

mod believe;
mod catalog;
mod mapping;
mod period;
mod pointer;
mod shape;

pub use believe::{Believed, Priorities};
pub use catalog::{Catalog, DEADLINE, LiveSource, Panel, Section, View, ViewName};
pub use mapping::{Mapping, MappingError};
pub use period::{Period, PeriodError};
pub use pointer::Pointer;
pub use shape::{ShapeError, check, profile, section};
