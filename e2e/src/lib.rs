//! Tests and benchmarks that use only the built programs.
