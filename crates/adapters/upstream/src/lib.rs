//! What is called over HTTP: never an address that wasn't allowed, and never where a redirect leads.

pub mod guard;
