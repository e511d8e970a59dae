//! The language of the table: one step a line, `[exec.]verb words -> expectation`. Behind `2/` it is about a second
//! task of the same shim.
//!
//! An expectation is what [`crate::stage`] writes down, or a code with a part of its sentence:
//! `NotFound: already finished`. ` | ` separates what is right as well (where containerd's shim itself has a race),
//! ` // ` what a shim answers from what containerd makes of it. A step behind `!` is asked about our Wasm
//! guests alone: others would be waited for for ever, or containerd's shim does not survive it.

/// Who is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    /// The shim, on its socket.
    Shim,
    /// containerd, through its Tasks API.
    Containerd,
}

impl Level {
    pub(crate) const ALL: [Level; 2] = [Level::Shim, Level::Containerd];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Level::Shim => "shim",
            Level::Containerd => "containerd",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    /// As written, before the arrow: its name in the table.
    pub(crate) text: &'static str,
    /// About the other task.
    pub(crate) second: bool,
    /// The exec that is meant; empty for init.
    pub(crate) exec: &'static str,
    pub(crate) verb: &'static str,
    pub(crate) words: &'static str,
    /// Asked about Wasm alone.
    pub(crate) wasm: bool,
    expected: &'static str,
}

impl Step {
    pub(crate) fn whole(&self) -> &'static str {
        self.expected
    }

    pub(crate) fn expected(&self, level: Level) -> &'static str {
        at(self.expected, level)
    }
}

/// The steps of a row, in order.
pub(crate) fn steps(text: &'static str) -> Vec<Step> {
    text.lines().map(str::trim).filter(|line| !line.is_empty()).map(step).collect()
}

fn step(line: &'static str) -> Step {
    let Some((text, expected)) = line.split_once("->") else { panic!("no arrow in {line:?}") };
    let (text, expected) = (text.trim(), expected.trim());
    let (wasm, text) = text.strip_prefix("! ").map_or((false, text), |text| (true, text));
    let (head, words) = text.split_once(' ').unwrap_or((text, ""));
    let (second, head) = head.strip_prefix("2/").map_or((false, head), |head| (true, head));
    let (exec, verb) = head.split_once('.').unwrap_or(("", head));
    Step { text, second, exec, verb, words, wasm, expected }
}

/// The part of an expectation that is about this level.
pub(crate) fn at(expected: &'static str, level: Level) -> &'static str {
    match (expected.split_once(" // "), level) {
        (Some((shim, _)), Level::Shim) => shim.trim(),
        (Some((_, containerd)), Level::Containerd) => containerd.trim(),
        (None, _) => expected,
    }
}

/// Whether what was seen is one of what was expected.
pub(crate) fn fits(expected: &str, seen: &str) -> bool {
    expected.split(" | ").any(|one| one.trim() == seen || is_refusal_of(one.trim(), seen))
}

/// `Code`, or `Code: part of the sentence`.
fn is_refusal_of(expected: &str, seen: &str) -> bool {
    let Some((code, sentence)) = seen.split_once(": ") else { return false };
    match expected.split_once(": ") {
        Some((wanted, part)) => code == wanted && sentence.contains(part),
        None => code == expected,
    }
}

/// What holds of the language itself, asked before anything is played.
pub(crate) fn check() {
    let check = |expected, seen, fit| assert_eq!(fits(expected, seen), fit, "{expected} {seen}");
    check("ok", "ok", true);
    check("exit 7", "exit 7 (exited_at unset)", false);
    check("NotFound", "NotFound: task c1 not found", true);
    check("NotFound: already finished", "NotFound: process already finished", true);
    check("NotFound: already finished", "NotFound: no such container", false);
    check("Unknown | NotFound", "NotFound: container not created", true);
    let [both] = steps("e.kill 9 all -> ok // NotFound")[..] else { panic!("one step") };
    assert_eq!((both.exec, both.verb, both.words), ("e", "kill", "9 all"));
    assert_eq!((both.expected(Level::Shim), both.expected(Level::Containerd)), ("ok", "NotFound"));
}
