//! Calling exported functions: arguments from the command line, results on stdout.

mod support;

use expect_test::{Expect, expect};
use support::Guest;

/// A greeter, a calculator in an interface, and a function that fails on demand.
const COMPONENT: &str = r#"(component
    (core module $m
        (memory (export "memory") 1)
        (global $top (mut i32) (i32.const 8192))
        (data (i32.const 8) "Hello, ")
        (func (export "realloc") (param i32 i32 i32 i32) (result i32)
            (global.get $top)
            (global.set $top (i32.and
                (i32.add (i32.add (global.get $top) (local.get 3)) (i32.const 7))
                (i32.const -8))))
        (func (export "greet") (param $name i32) (param $length i32) (result i32)
            (memory.copy (i32.const 4096) (i32.const 8) (i32.const 7))
            (memory.copy (i32.const 4103) (local.get $name) (local.get $length))
            (i32.store8 (i32.add (i32.const 4103) (local.get $length)) (i32.const 33))
            (i32.store (i32.const 0) (i32.const 4096))
            (i32.store (i32.const 4) (i32.add (local.get $length) (i32.const 8)))
            (i32.const 0))
        (func (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1)))
        (func (export "fail") (param i32) (result i32) (local.get 0)))
    (core instance $i (instantiate $m))
    (func (export "greet") (param "name" string) (result string)
        (canon lift (core func $i "greet") (memory $i "memory") (realloc (func $i "realloc"))))
    (func (export "fail") (param "wanted" bool) (result (result))
        (canon lift (core func $i "fail")))
    (func $add (param "a" u32) (param "b" u32) (result u32) (canon lift (core func $i "add")))
    (instance $calculator (export "add" (func $add)))
    (export "docs:calculator/operations@0.1.0" (instance $calculator)))"#;

const MODULE: &str = r#"(module
    (global $ready (mut i32) (i32.const 0))
    (func (export "_initialize") (global.set $ready (i32.const 1)))
    (func (export "ready") (result i32) (global.get $ready))
    (func (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1)))
    (func (export "halve") (param f64) (result f64) (f64.div (local.get 0) (f64.const 2)))
    (func (export "swap") (param i32 i64) (result i64 i32) (local.get 1) (local.get 0)))"#;

#[track_caller]
fn check(program: &str, calls: &[(&str, &[&str])], expected: Expect) {
    let shown = calls.iter().map(|(export, args)| {
        let output = Guest::new(program).export(export).args(args).show();
        format!("{export} {} -> {output}", args.join(" "))
    });
    expected.assert_eq(&shown.collect::<String>());
}

#[test]
fn components_take_and_give_wave() {
    check(
        COMPONENT,
        &[
            ("greet", &["World"]),
            ("greet", &["\"World\""]),
            ("greet", &["Wörld \"x\""]),
            ("greet", &[""]),
            ("add", &["1", "2"]),
            ("operations#add", &["1", "2"]),
            ("operations.add", &["1", "2"]),
            ("docs:calculator/operations#add", &["1", "2"]),
            ("docs:calculator/operations@0.1.0#add", &["4294967295", "2"]),
            ("fail", &["false"]),
            ("fail", &["true"]),
        ],
        expect![[r#"
            greet World -> "Hello, World!"
            exit 0
            greet "World" -> "Hello, World!"
            exit 0
            greet Wörld "x" -> "Hello, Wörld \"x\"!"
            exit 0
            greet  -> "Hello, !"
            exit 0
            add 1 2 -> 3
            exit 0
            operations#add 1 2 -> 3
            exit 0
            operations.add 1 2 -> 3
            exit 0
            docs:calculator/operations#add 1 2 -> 3
            exit 0
            docs:calculator/operations@0.1.0#add 4294967295 2 -> 1
            exit 0
            fail false -> ok
            exit 0
            fail true -> err
            exit 1
        "#]],
    );
}

#[test]
fn components_refuse_what_they_cannot_take() {
    check(
        COMPONENT,
        &[
            ("add", &["1"]),
            ("add", &["1", "2", "3"]),
            ("add", &["1", "-2"]),
            ("add", &["1", "two"]),
            ("greet", &["\"World"]),
            ("sub", &[]),
            ("other#add", &["1", "2"]),
        ],
        expect![[r#"
            add 1 -> refused: the function `add` takes 2 arguments (`a`: u32 and `b`: u32), and 1 is given
            exit 126
            add 1 2 3 -> refused: the function `add` takes 2 arguments (`a`: u32 and `b`: u32), and 3 are given
            exit 126
            add 1 -2 -> refused: the function `add` takes a value of type u32 as `b`, and `-2` is none: invalid value at 0..2
            exit 126
            add 1 two -> refused: the function `add` takes a value of type u32 as `b`, and `two` is none: invalid value type at 0..3
            exit 126
            greet "World -> refused: the function `greet` takes a value of type string as `name`, and `"World` is none: invalid token at 0..6
            exit 126
            sub  -> refused: the program exports no function `sub` (it exports `docs:calculator/operations@0.1.0#add`, `greet` and `fail`)
            exit 126
            other#add 1 2 -> refused: the program exports no function `other#add` (it exports `docs:calculator/operations@0.1.0#add`, `greet` and `fail`)
            exit 126
        "#]],
    );
}

#[test]
fn modules_take_and_give_numbers() {
    check(
        MODULE,
        &[
            ("add", &["1", "2"]),
            ("add", &["-1", "4294967295"]),
            ("halve", &["3"]),
            ("halve", &["-1e300"]),
            ("swap", &["1", "-9000000000"]),
            ("ready", &[]),
        ],
        expect![[r#"
            add 1 2 -> 3
            exit 0
            add -1 4294967295 -> -2
            exit 0
            halve 3 -> 1.5
            exit 0
            halve -1e300 -> -5e299
            exit 0
            swap 1 -9000000000 -> -9000000000
            1
            exit 0
            ready  -> 1
            exit 0
        "#]],
    );
}

#[test]
fn modules_refuse_what_they_cannot_take() {
    check(
        MODULE,
        &[("add", &["1"]), ("add", &["1", "x"]), ("add", &["1", "4294967296"]), ("sub", &[])],
        expect![[r#"
            add 1 -> refused: the function `add` takes 2 arguments (i32 and i32), and 1 is given
            exit 126
            add 1 x -> refused: the function `add` takes a number of type i32, and `x` is none
            exit 126
            add 1 4294967296 -> refused: the function `add` takes a number of type i32, and `4294967296` is none
            exit 126
            sub  -> refused: the program exports no function `sub` (it exports `_initialize`, `ready`, `add`, `halve` and `swap`)
            exit 126
        "#]],
    );
}
