//! System calls that no crate here wraps.
