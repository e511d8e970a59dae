//! Takes memory and touches it, 1 MiB at a time, until there is no more. With `gently`, a refusal is an
//! answer (exit code 3); without, the program is written as most are, and dies.
fn main() {
    let gently = std::env::args().nth(1).as_deref() == Some("gently");
    let mut held: Vec<Vec<u8>> = Vec::new();
    println!("taking");
    loop {
        let mut chunk = Vec::new();
        if gently && chunk.try_reserve_exact(1 << 20).is_err() {
            println!("refused");
            std::process::exit(3);
        }
        chunk.resize(1 << 20, held.len() as u8);
        held.push(chunk);
    }
}
