//! Every kind of task, one file each. A new one is a file here and a line in [`ALL`].

mod cache_warm;
mod echo;
mod profile_patch;

use super::kind::Kind;

/// In the order in which they are documented.
pub(super) const ALL: &[&Kind] = &[&echo::KIND, &profile_patch::KIND, &cache_warm::KIND];
