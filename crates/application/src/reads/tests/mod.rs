//! Two instances over one store, with a shared tier between: what readers are shown, whatever happens in which order.

mod schedules;
mod single;
mod world;
