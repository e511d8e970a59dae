//! A component with a world of its own: functions to be called by `path#export`.
wit_bindgen::generate!({ world: "greeter", path: "wit" });

use exports::example::greeter::{calculator, hello_world};

struct Greeter;

impl Guest for Greeter {
    fn greet(name: String) -> String {
        format!("Hello, {name}!")
    }
}

impl hello_world::Guest for Greeter {
    fn hello() -> String {
        "Hello from WASI Component!".to_string()
    }
}

impl calculator::Guest for Greeter {
    fn add(a: i32, b: i32) -> i32 {
        a.wrapping_add(b)
    }

    fn divide(a: f64, b: f64) -> Result<f64, String> {
        if b == 0.0 { Err("division by zero".to_string()) } else { Ok(a / b) }
    }

    fn sum(values: Vec<u64>) -> u64 {
        values.iter().sum()
    }

    fn mirror(point: calculator::Point) -> calculator::Point {
        calculator::Point { x: point.y, y: point.x }
    }
}

export!(Greeter);
