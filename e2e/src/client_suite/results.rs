//! What a Go test program prints with `-test.v`, read.

use std::collections::BTreeMap;

use crate::foreign::{Case, Outcome};

/// Reads the output. A test with cases is left out, since its cases say all; unless it failed for itself.
pub fn read(output: &str) -> Vec<Case> {
    let mut cases: BTreeMap<&str, (Outcome, String)> = BTreeMap::new();
    let mut current = "";
    let mut telling = false;
    for line in output.lines() {
        if let Some((word, name)) = control(line) {
            current = name;
            telling = false;
            if word == "RUN" {
                cases.insert(name, (Outcome::Unfinished, String::new()));
            }
        } else if let Some((outcome, name)) = verdict(line) {
            cases.entry(name).or_insert((outcome, String::new())).0 = outcome;
            // The logs of a test that failed may follow its verdict.
            current = name;
            telling = false;
        } else if let Some((_, message)) = cases.get_mut(current) {
            telling = tell(line, telling, message);
        }
    }
    let failed_cases = |name: &str| {
        let prefix = format!("{name}/");
        let mut below = cases.iter().filter(|(other, _)| other.starts_with(&prefix)).peekable();
        let any = below.peek().is_some();
        (any, below.any(|(_, (outcome, _))| *outcome != Outcome::Pass))
    };
    let kept = cases.iter().filter(|(name, (outcome, _))| match failed_cases(name) {
        (false, _) => true,
        (true, some_failed) => *outcome != Outcome::Pass && !some_failed,
    });
    let case = |(name, (outcome, message)): (&&str, &(Outcome, String))| Case {
        name: name.to_string(),
        outcome: *outcome,
        message: message.trim().to_string(),
    };
    kept.map(case).collect()
}

/// `=== RUN   TestA/one`
fn control(line: &str) -> Option<(&str, &str)> {
    let mut words = line.strip_prefix("=== ")?.split_whitespace();
    Some((words.next()?, words.next()?))
}

/// `    --- FAIL: TestA/one (0.01s)`
fn verdict(line: &str) -> Option<(Outcome, &str)> {
    let (word, rest) = line.trim_start().strip_prefix("--- ")?.split_once(": ")?;
    let outcome = Outcome::named(&word.to_lowercase())?;
    Some((outcome, rest.rsplit_once(" (")?.0))
}

/// Takes over what a test says with its file and line, and the indented lines that follow. containerd's log,
/// which goes through `t.Log`, stands under `log_hook.go`.
fn tell(line: &str, telling: bool, message: &mut String) -> bool {
    let said = match line.trim_start().split_once(": ") {
        Some((place, said)) if place.contains(".go:") && line.starts_with(' ') => {
            if place.starts_with("log_hook.go:") {
                return false;
            }
            said
        }
        _ if telling && line.starts_with("        ") => line,
        _ => return false,
    };
    message.push_str(said.trim());
    message.push('\n');
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(output: &str, expected: &[(&str, Outcome, &str)]) {
        let read = read(output);
        let read: Vec<_> =
            read.iter().map(|c| (c.name.as_str(), c.outcome, c.message.as_str())).collect();
        assert_eq!(read, expected);
    }

    #[test]
    fn verdicts_and_their_messages_are_read() {
        check(
            "=== RUN   TestA\n\
             === PAUSE TestA\n\
             === RUN   TestB\n    \
                 testsuite.go:4: of a package for all\n    \
                 log_hook.go:47: time=\"now\" msg=noise\n    \
                 container_test.go:12: expected 7\n        \
                     but received 8\n\
             --- FAIL: TestB (0.10s)\n\
             === CONT  TestA\n    \
                 a_test.go:3: no criu\n\
             --- SKIP: TestA (0.00s)\n",
            &[
                ("TestA", Outcome::Skip, "no criu"),
                ("TestB", Outcome::Fail, "of a package for all\nexpected 7\nbut received 8"),
            ],
        );
    }

    #[test]
    fn a_test_that_never_ended_is_unfinished() {
        check("=== RUN   TestA\npanic: test timed out\n", &[("TestA", Outcome::Unfinished, "")]);
    }

    #[test]
    fn cases_stand_for_their_test() {
        check(
            "=== RUN   TestA\n=== RUN   TestA/one_more\n=== RUN   TestA/two\n\
             --- FAIL: TestA (0.1s)\n    --- PASS: TestA/one_more (0.1s)\n    --- FAIL: TestA/two (0.1s)\n",
            &[("TestA/one_more", Outcome::Pass, ""), ("TestA/two", Outcome::Fail, "")],
        );
    }

    #[test]
    fn a_test_that_fails_behind_its_cases_is_told() {
        check(
            "=== RUN   TestA\n=== RUN   TestA/one\n--- FAIL: TestA (0.1s)\n    --- PASS: TestA/one (0.1s)\n",
            &[("TestA", Outcome::Fail, ""), ("TestA/one", Outcome::Pass, "")],
        );
    }
}
