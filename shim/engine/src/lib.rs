//! The only user of Wasmtime: compiles, loads and runs guests.
