//! Golden tests of every order that matters, and all short orders against what must always hold.

mod golden;
mod invariants;
mod pods;
mod world;
