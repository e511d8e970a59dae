//! Prints the folder that WASI says it starts in.
fn main() {
    println!("{:?}", wasip2::cli::environment::initial_cwd());
}
