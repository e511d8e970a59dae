//! Panics, which is a message on stderr and an abort.
fn main() {
    println!("before the panic");
    panic!("all is lost");
}
