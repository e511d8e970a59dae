//! Prints its arguments, one a line, quoted, without the program's name.
fn main() {
    for (index, argument) in std::env::args().enumerate().skip(1) {
        println!("{index} {argument:?}");
    }
}
