//! Views over sources and a clock of a test's own.
