//! Rollouts over fleets that are not there: as people read them, and by the thousand.

mod properties;
mod refusals;
mod stories;
mod world;
