//! Looks at both clocks and at random numbers, and says whether they are what they should be.
use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

fn main() {
    let start = Instant::now();
    std::thread::sleep(Duration::from_millis(20));
    println!("monotonic: {}", start.elapsed() >= Duration::from_millis(20));
    let since_2026 = SystemTime::now().duration_since(UNIX_EPOCH).map(|d| d.as_secs() > 1_767_225_600);
    println!("wall: {}", since_2026.unwrap_or(false));
    let seeds: HashSet<u64> = (0..8).map(|_| RandomState::new().hash_one(0)).collect();
    println!("random: {}", seeds.len() > 1);
}
