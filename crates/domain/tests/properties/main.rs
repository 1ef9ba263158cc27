//! What holds of the domain for any values: its algebra as properties, its decisions as tables.

mod given;

mod facts;
mod json;
mod limits;
mod lines;
mod lives;
mod plans;
mod search;
mod tasks;
mod text;
mod views;
