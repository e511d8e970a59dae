//! Programs that cannot run: each is told in one sentence.

mod support;

use expect_test::{Expect, expect};
use support::{Guest, compiled};

#[track_caller]
fn check_compile(program: &[u8], expected: Expect) {
    let error = compiled(program, &mut Vec::new()).expect_err("a refusal");
    expected.assert_eq(&error.to_string());
}

#[track_caller]
fn check_load(program: &str, expected: Expect) {
    expected.assert_eq(&Guest::new(program).show());
}

#[test]
fn what_is_no_program_is_not_compiled() {
    check_compile(
        b"",
        expect![
            "the program is empty: 0 bytes, where a WebAssembly module or component is expected"
        ],
    );
    check_compile(
        b"\0as",
        expect!["the program is truncated: it ends after 3 bytes, in its header"],
    );
    check_compile(
        b"\0asm\x01\0",
        expect!["the program is truncated: it ends after 6 bytes, in its header"],
    );
    check_compile(
        b"\0asm\x02\0\0\0",
        expect![
            "the program has WebAssembly version 0x2, which is unknown: modules have 0x1 and components 0x1000d"
        ],
    );
    check_compile(
        b"\x7fELF\x02\x01\x01\0",
        expect![
            "the program is native code (an ELF file), not WebAssembly: build it for a target like wasm32-wasip1 or wasm32-wasip2"
        ],
    );
    check_compile(
        b"#!/bin/sh\n",
        expect![[
            r#"the program is not WebAssembly: it starts with the bytes 23 21 2f 62 69 6e 2f 73, not with `\0asm`"#
        ]],
    );
    check_compile(
        b"MZ\x90\0",
        expect![[
            r#"the program is not WebAssembly: it starts with the bytes 4d 5a 90 00, not with `\0asm`"#
        ]],
    );
    check_compile(
        b"(module (func",
        expect![[r#"
        the text is not WebAssembly: expected `)`
             --> <anon>:1:14
              |
            1 | (module (func
              |              ^"#]],
    );
}

#[test]
fn broken_programs_are_not_compiled() {
    let whole = wat::parse_str("(module (func (export \"_start\")))").unwrap();
    check_compile(
        &whole[..whole.len() - 3],
        expect![
            "the program cannot be compiled: failed to parse WebAssembly module: unexpected end-of-file (at offset 0x21)"
        ],
    );
    check_compile(
        b"(module (func (result i32)))",
        expect![
            "the program cannot be compiled: failed to compile: wasm[0]::function[0]: WebAssembly translation error: Invalid input WebAssembly code at offset 24: type mismatch: expected i32 but nothing on stack"
        ],
    );
    let component = wat::parse_str("(component (core module (func)))").unwrap();
    check_compile(
        &component[..component.len() - 2],
        expect!["the program is broken: unexpected end-of-file (at offset 0x20)"],
    );
}

#[test]
fn proposals_that_are_off_are_named() {
    check_compile(
        b"(module (memory 1 (pagesize 1)))",
        expect![
            "the program cannot be compiled: failed to parse WebAssembly module: the custom page sizes proposal must be enabled to customize a memory's page size (at offset 0xb)"
        ],
    );
    check_load(
        "(module (memory 1 1 shared) (func (export \"_start\")))",
        expect![[r#"
        wherry: the guest failed: shared memory support is disabled for this engine -- see `Config::shared_memory`
        exit 134
    "#]],
    );
}

#[test]
fn imports_that_nothing_provides_are_named() {
    check_load(
        r#"(module (import "env" "one" (func)) (import "env" "two" (func)) (func (export "_start")))"#,
        expect![[r#"
            refused: the module imports `one` from `env` and `two` from `env`, which nothing provides
            exit 126
        "#]],
    );
    check_load(
        r#"(module (import "wasi_snapshot_preview1" "fd_write" (func)) (func (export "_start")))"#,
        expect![[r#"
            refused: the module cannot be linked: incompatible import type for `wasi_snapshot_preview1::fd_write`: types incompatible: expected type `(func)`, found type `(func (param i32 i32 i32 i32) (result i32))`
            exit 126
        "#]],
    );
    check_load(
        r#"(component (import "acme:rockets/launch@1.0.0" (instance (export "go" (func)))))"#,
        expect![[r#"
            refused: the component imports `acme:rockets/launch@1.0.0`, which nothing provides
            exit 126
        "#]],
    );
}

#[test]
fn extensions_of_other_runtimes_are_named() {
    check_load(
        r#"(module
            (import "wasi_snapshot_preview1" "sock_open" (func (param i32 i32 i32) (result i32)))
            (func (export "_start")))"#,
        expect![[r#"
            refused: the module uses WasmEdge's socket extension (it imports `sock_open` from `wasi_snapshot_preview1`), which is not supported: build it for wasm32-wasip2, whose sockets are standard
            exit 126
        "#]],
    );
    check_load(
        r#"(module (import "wasix_32v1" "proc_fork" (func)) (func (export "_start")))"#,
        expect![[r#"
            refused: the module is built for WASIX (it imports `proc_fork` from `wasix_32v1`), which is not supported: build it for wasm32-wasip1 or wasm32-wasip2
            exit 126
        "#]],
    );
}

#[test]
fn entry_points_that_are_missing_are_named() {
    check_load(
        r#"(module (func (export "run")) (func (export "stop")))"#,
        expect![[r#"
        refused: the module exports no `_start`, so it is not a command; name the function to call as `path#export` (it exports `run` and `stop`)
        exit 126
    "#]],
    );
    check_load(
        r#"(module)"#,
        expect![[r#"
        refused: the module exports no `_start`, so it is not a command; name the function to call as `path#export` (it exports nothing)
        exit 126
    "#]],
    );
    check_load(
        r#"(component
            (core module $m (func (export "f")))
            (core instance $i (instantiate $m))
            (func (export "work") (canon lift (core func $i "f"))))"#,
        expect![[r#"
            refused: the component is neither a command (`wasi:cli/run`) nor an HTTP service (`wasi:http/incoming-handler`, `wasi:http/handler`); name the function to call as `path#export` (it exports `work`)
            exit 126
        "#]],
    );
}

#[test]
fn folders_that_cannot_be_opened_are_named() {
    let guest = Guest::new("(module (func (export \"_start\")))");
    let guest = guest.preopen("/nonexistent/folder".as_ref(), false);
    expect![[r#"
        refused: the guest's surroundings cannot be set up: cannot open /nonexistent/folder: No such file or directory (os error 2)
        exit 126
    "#]].assert_eq(&guest.show());
}
