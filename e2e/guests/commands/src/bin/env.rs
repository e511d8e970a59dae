//! Prints two settings with their defaults, then every variable, sorted.
use std::env;

fn main() {
    let db_url = env::var("DATABASE_URL").unwrap_or_else(|_| "not set".to_string());
    let log_level = env::var("LOG_LEVEL").unwrap_or_else(|_| "info".to_string());
    println!("DB: {db_url}");
    println!("Log Level: {log_level}");
    let mut all: Vec<_> = env::vars().collect();
    all.sort();
    for (key, value) in all {
        println!("{key} = {value}");
    }
}
