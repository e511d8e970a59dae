//! The shell calls itself for each construct in another, so its stack is larger than the usual
//! megabyte. Pages of it that nobody touches cost nothing.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var("CARGO_CFG_TARGET_FAMILY").is_ok_and(|family| family == "wasm") {
        println!("cargo::rustc-link-arg-bins=-zstack-size=4194304");
    }
}
