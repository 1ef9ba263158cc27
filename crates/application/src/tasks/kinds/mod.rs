//! Every kind of task, one file each. A new one is a file here and a line in [`ALL`].

mod cache_warm;
mod echo;
mod profile_export;
mod profile_patch;
mod webhook;

use super::kind::Kind;

pub(crate) use profile_export::is_export;

/// In the order in which they are documented.
pub(super) const ALL: &[&Kind] = &[&echo::KIND, &profile_patch::KIND, &profile_export::KIND, &webhook::KIND, &cache_warm::KIND];
