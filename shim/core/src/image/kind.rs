//! What a file is, told from its first bytes.

use std::fmt;

/// As many bytes of a file as [`Kind::of`] wants to see. Enough for a licence in front of `.wat` text.
pub const PREFIX: usize = 4096;

/// No program is larger: what browsers take of a module, too (WebAssembly JavaScript Interface,
/// "Implementation-defined Limits").
pub const MAX_PROGRAM_BYTES: u64 = 1 << 30;

/// Wasmtime marks its ELF files with this OS ABI (`wasmtime-environ`, `obj::ELFOSABI_WASMTIME`).
const ELFOSABI_WASMTIME: u8 = 200;

/// The kind of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A core module.
    Module,
    /// A component.
    Component,
    /// A core module as text (`.wat`).
    ModuleText,
    /// A component as text.
    ComponentText,
    /// Native code that Wasmtime made from a module ahead of time.
    Compiled,
    /// A native program.
    Elf,
    /// A script, run by the program its first line names.
    Script,
    Empty,
    /// Starts as Wasm does and ends before its version.
    Truncated,
    /// Wasm of a version or layer that nobody has released.
    UnknownWasm {
        version: u16,
        layer: u16,
    },
    Other,
}

impl Kind {
    /// The kind of the file which starts with `prefix`: its first [`PREFIX`] bytes, or all of it.
    #[must_use]
    pub fn of(prefix: &[u8]) -> Kind {
        match prefix {
            [] => Kind::Empty,
            [0, b'a', b's', b'm', rest @ ..] => wasm(rest),
            [0x7f, b'E', b'L', b'F', rest @ ..] => match rest.get(3) {
                Some(&ELFOSABI_WASMTIME) => Kind::Compiled,
                _ => Kind::Elf,
            },
            [b'#', b'!', ..] => Kind::Script,
            _ => text(prefix),
        }
    }

    /// Whether the engine runs it.
    #[must_use]
    pub fn is_wasm(self) -> bool {
        matches!(self, Kind::Module | Kind::Component | Kind::ModuleText | Kind::ComponentText)
    }

    /// Whether it is text that has to be encoded before it is compiled.
    #[must_use]
    pub fn is_text(self) -> bool {
        matches!(self, Kind::ModuleText | Kind::ComponentText)
    }

    /// Whether the kernel runs it: a program for a native container.
    #[must_use]
    pub fn is_native(self) -> bool {
        matches!(self, Kind::Elf | Kind::Script)
    }

    /// Why it can't be run as Wasm, as the rest of a sentence that starts with the file's name;
    /// `None` for what can.
    #[must_use]
    pub fn refusal(self) -> Option<String> {
        Some(match self {
            Kind::Module | Kind::Component | Kind::ModuleText | Kind::ComponentText => return None,
            Kind::Compiled => {
                "holds native code that was compiled ahead of time: native code from an image is \
                 never trusted, put the .wasm file itself into the image"
                    .into()
            }
            Kind::Elf => "is a native Linux program (ELF), not WebAssembly".into(),
            Kind::Script => "is a script (#!), not WebAssembly".into(),
            Kind::Empty => "is empty".into(),
            Kind::Truncated => {
                "is truncated: it starts as WebAssembly does but ends before its version".into()
            }
            Kind::UnknownWasm { version, layer } => {
                format!("is WebAssembly of an unknown version ({version}, layer {layer})")
            }
            Kind::Other => {
                "is neither WebAssembly (a module, a component or .wat text) nor a Linux program"
                    .into()
            }
        })
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Module => "module",
            Kind::Component => "component",
            Kind::ModuleText => "module text",
            Kind::ComponentText => "component text",
            Kind::Compiled => "compiled code",
            Kind::Elf => "native program",
            Kind::Script => "script",
            Kind::Empty => "empty",
            Kind::Truncated => "truncated",
            Kind::UnknownWasm { .. } => "unknown wasm",
            Kind::Other => "other",
        })
    }
}

/// The two bytes of the version and the two of the layer (component model, `Binary.md`, "Preamble").
fn wasm(rest: &[u8]) -> Kind {
    let &[v0, v1, l0, l1, ..] = rest else {
        return Kind::Truncated;
    };
    match (u16::from_le_bytes([v0, v1]), u16::from_le_bytes([l0, l1])) {
        (1, 0) => Kind::Module,
        (0xd, 1) => Kind::Component,
        (version, layer) => Kind::UnknownWasm { version, layer },
    }
}

/// Text in which `(module` or `(component` comes first, after white space and comments.
fn text(prefix: &[u8]) -> Kind {
    let Some(rest) = after_comments(prefix).strip_prefix(b"(") else {
        return Kind::Other;
    };
    let rest = after_comments(rest);
    let word = rest.iter().position(|b| !b.is_ascii_lowercase()).unwrap_or(rest.len());
    match &rest[..word] {
        b"module" => Kind::ModuleText,
        b"component" => Kind::ComponentText,
        _ => Kind::Other,
    }
}

/// What follows white space, line comments (`;;`) and block comments (`(; ;)`, which nest).
fn after_comments(mut text: &[u8]) -> &[u8] {
    loop {
        text = text.trim_ascii_start();
        text = match text {
            [b';', b';', rest @ ..] => match rest.iter().position(|&b| b == b'\n') {
                Some(end) => &rest[end..],
                None => return &[],
            },
            [b'(', b';', rest @ ..] => after_block(rest),
            _ => return text,
        };
    }
}

fn after_block(mut text: &[u8]) -> &[u8] {
    let mut depth = 1;
    while depth > 0 {
        text = match text {
            [] => return &[],
            [b'(', b';', rest @ ..] => {
                depth += 1;
                rest
            }
            [b';', b')', rest @ ..] => {
                depth -= 1;
                rest
            }
            [_, rest @ ..] => rest,
        };
    }
    text
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn check(cases: &[&[u8]], expected: Expect) {
        let mut lines = String::new();
        for case in cases {
            let kind = Kind::of(case);
            let refusal = kind.refusal().unwrap_or_else(|| "runs".into());
            lines += &format!("{}: {kind}: {refusal}\n", case.escape_ascii());
        }
        expected.assert_eq(&lines);
    }

    #[test]
    fn the_kind_is_in_the_first_bytes() {
        check(
            &[
                b"\0asm\x01\0\0\0",
                b"\0asm\x0d\0\x01\0more",
                b"\0asm\x02\0\0\0",
                b"\0asm\x01",
                b"\0as",
                b"",
                b"\x7fELF\x02\x01\x01\0",
                b"\x7fELF\x02\x01\x01\xc8",
                b"\x7fELF",
                b"#!/bin/sh",
                b"hello",
            ],
            expect![[r#"
                \x00asm\x01\x00\x00\x00: module: runs
                \x00asm\r\x00\x01\x00more: component: runs
                \x00asm\x02\x00\x00\x00: unknown wasm: is WebAssembly of an unknown version (2, layer 0)
                \x00asm\x01: truncated: is truncated: it starts as WebAssembly does but ends before its version
                \x00as: other: is neither WebAssembly (a module, a component or .wat text) nor a Linux program
                : empty: is empty
                \x7fELF\x02\x01\x01\x00: native program: is a native Linux program (ELF), not WebAssembly
                \x7fELF\x02\x01\x01\xc8: compiled code: holds native code that was compiled ahead of time: native code from an image is never trusted, put the .wasm file itself into the image
                \x7fELF: native program: is a native Linux program (ELF), not WebAssembly
                #!/bin/sh: script: is a script (#!), not WebAssembly
                hello: other: is neither WebAssembly (a module, a component or .wat text) nor a Linux program
            "#]],
        );
    }

    #[test]
    fn text_may_start_with_white_space_and_comments() {
        check(
            &[
                b"(module)",
                b"\n\t (component (core module))",
                b";; a licence\n;; of two lines\n(module",
                b"(; a (; nested ;) block ;)(module $m)",
                b"( ;; why\n module)",
                b"(modules)",
                b"(func)",
                b";; only a comment",
                b"(; never closed",
            ],
            expect![[r#"
                (module): module text: runs
                \n\t (component (core module)): component text: runs
                ;; a licence\n;; of two lines\n(module: module text: runs
                (; a (; nested ;) block ;)(module $m): module text: runs
                ( ;; why\n module): module text: runs
                (modules): other: is neither WebAssembly (a module, a component or .wat text) nor a Linux program
                (func): other: is neither WebAssembly (a module, a component or .wat text) nor a Linux program
                ;; only a comment: other: is neither WebAssembly (a module, a component or .wat text) nor a Linux program
                (; never closed: other: is neither WebAssembly (a module, a component or .wat text) nor a Linux program
            "#]],
        );
    }

    proptest::proptest! {
        #[test]
        fn every_file_has_a_kind_and_only_wasm_runs(bytes: Vec<u8>, start in 0..5usize) {
            let starts: [&[u8]; 5] = [b"", b"\0asm", b"\x7fELF", b"(module", b"(;"];
            let kind = Kind::of(&[starts[start], &bytes].concat());
            proptest::prop_assert_eq!(kind.is_wasm(), kind.refusal().is_none());
            proptest::prop_assert!(!(kind.is_wasm() && kind.is_native()));
        }
    }
}
