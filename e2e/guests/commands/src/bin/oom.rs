//! Takes memory and touches it, 1 MiB at a time, until there is no more. With `gently`, a refusal is an
//! answer (exit code 3); without, the program is written as most are, and dies. With `files FOLDER` it fills a
//! folder in memory (a tmpfs), which no `memory.grow` stands before.
fn main() {
    if std::env::args().nth(1).as_deref() == Some("files") {
        let folder = std::env::args().nth(2).unwrap_or_default();
        let chunk = vec![1; 1 << 20];
        for number in 0.. {
            std::fs::write(format!("{folder}/{number}"), &chunk).expect("room");
        }
    }
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
