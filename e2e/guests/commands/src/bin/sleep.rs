//! Sleeps as many seconds as its argument says, or for ever.
use std::time::Duration;

fn main() {
    println!("sleeping");
    match std::env::args().nth(1).and_then(|word| word.parse().ok()) {
        Some(seconds) => std::thread::sleep(Duration::from_secs_f64(seconds)),
        None => loop {
            std::thread::sleep(Duration::from_secs(3600));
        },
    }
    println!("woken");
}
