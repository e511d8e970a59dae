//! Findings, for people and for programs.

use std::fmt::Write;

use serde_json::json;

use super::judge::{Finding, Level};

pub(super) fn text(findings: &[Finding]) -> String {
    let width = findings.iter().map(|finding| finding.check.len()).max().unwrap_or(0);
    let mut text = String::new();
    for finding in findings {
        let Finding { check, level, what, todo } = finding;
        let _ = writeln!(text, "{:<4}  {check:<width$}  {what}", level.name());
        for line in todo.lines() {
            let _ = writeln!(text, "{:<4}  {:<width$}  → {line}", "", "");
        }
    }
    let of = |level| findings.iter().filter(|finding| finding.level == level).count();
    let summary = match (of(Level::Fail), of(Level::Warn)) {
        (0, 0) => "all is well".to_owned(),
        (0, warned) => format!("nothing failed, {warned} to look at"),
        (failed, 0) => format!("{failed} failed"),
        (failed, warned) => format!("{failed} failed, {warned} to look at"),
    };
    let _ = writeln!(text, "{summary}");
    text
}

/// `{"version", "level", "findings": [{"check", "level", "what", "do"}]}`. Names of checks and levels stay what they
/// are; fields and checks are added.
pub(super) fn json(findings: &[Finding]) -> String {
    let worst = findings.iter().map(|finding| finding.level).max().unwrap_or(Level::Ok);
    let all: Vec<_> = findings
        .iter()
        .map(|finding| {
            json!({
                "check": finding.check,
                "level": finding.level.name(),
                "what": finding.what,
                "do": finding.todo,
            })
        })
        .collect();
    let told = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "level": worst.name(),
        "findings": all,
    });
    format!("{told}\n")
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    fn findings() -> Vec<Finding> {
        vec![
            Finding::ok("kernel", "Linux 6.1"),
            Finding::fail("handler", "there is none", "write one:\n[a]\nand restart"),
            Finding::warn("cgroups", "old", "look"),
        ]
    }

    #[test]
    fn people_read_what_to_do() {
        expect![[r#"
            ok    kernel   Linux 6.1
            fail  handler  there is none
                           → write one:
                           → [a]
                           → and restart
            warn  cgroups  old
                           → look
            1 failed, 1 to look at
        "#]]
        .assert_eq(&text(&findings()));
        expect![[r#"
            ok    kernel  Linux 6.1
            all is well
        "#]]
        .assert_eq(&text(&findings()[..1]));
    }

    #[test]
    fn programs_read_json() {
        expect![[r#"
            {"findings":[{"check":"kernel","do":"","level":"ok","what":"Linux 6.1"},{"check":"handler","do":"write one:\n[a]\nand restart","level":"fail","what":"there is none"},{"check":"cgroups","do":"look","level":"warn","what":"old"}],"level":"fail","version":"0.1.0"}
        "#]]
        .assert_eq(&json(&findings()));
    }
}
