//! Says a word and runs into an instruction that can't be executed.
fn main() {
    println!("before the trap");
    fall();
}

#[inline(never)]
fn fall() {
    #[cfg(target_arch = "wasm32")]
    core::arch::wasm32::unreachable();
    #[cfg(not(target_arch = "wasm32"))]
    std::process::abort();
}
