//! The node's cache of compiled code.
