//! The contract of [`profile_ports::Bulk`], by theme.

mod exporting;
mod owners;
mod restoring;
mod walking;

pub use exporting::*;
pub use owners::*;
pub use restoring::*;
pub use walking::*;
