//! The state machine of the tasks of one shim.
