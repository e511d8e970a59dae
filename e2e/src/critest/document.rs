//! `CRITEST.md`: how each case ended on each containerd, and why where it did not pass.

use std::fmt::Write;

use super::expected;
use crate::foreign::report::{self, Run};
use crate::foreign::{Column, Outcome};
use crate::rig::Version;

const HEAD: &str = "\
# critest

`make test-critest` runs critest 1.36.0 of [cri-tools](https://github.com/kubernetes-sigs/cri-tools), the suite by which
runtimes of Kubernetes are judged, three times on each of two containerds, and wrote this page
(`make test-critest CRITEST=--write`):

| column | handler | programs in the images |
|---|---|---|
| `runc` | `runc`, containerd's own shim with runc 1.5.2: the control | busybox |
| `native` | `wherry` | busybox |
| `wasmbox` | `wherry` | one multi-call Wasm program under busybox's names; a `wasi:http` component in the place of nginx |

**How.** critest and crictl are built of the sources of their Go module (`rig/fetch.sh critest`). critest pulls images
of others by fixed names, so a small registry (`rig/registry`) answers under those names with images that
`src/critest/images.rs` makes. `rig/critest.sh` runs it in namespaces of its own, on a containerd whose pods have a
network by CNI's `ptp` and `portmap`, and looks at the end whether shims, bundles, sockets or network namespaces are
left, which makes the run fail. NRI is off; the cases of SELinux are not there, because the kernel has none.

**What counts.** `src/critest/expected.rs` has every case that does not pass with its reason, and each run is compared
with it: a result that it does not explain, a failure with another message, and a reason that is no longer needed each
make the run fail.
";

/// What the runs on one containerd ended with.
#[derive(Debug)]
pub struct Section {
    pub version: Version,
    pub runs: Vec<Run>,
}

pub fn write(sections: &[Section]) -> String {
    let mut text = HEAD.to_string();
    for section in sections {
        totals(&mut text, section);
    }
    for section in sections {
        reasons(&mut text, section);
    }
    text.push_str("\n## All cases\n\n");
    line(&mut text, "case", sections, |version, column| format!("{version} {column}"));
    line(&mut text, "---", sections, |_, _| "---".into());
    let mut names: Vec<&str> = sections.iter().flat_map(|one| report::names(&one.runs)).collect();
    names.sort_unstable();
    names.dedup();
    for name in names {
        let cells = sections.iter().flat_map(|section| &section.runs);
        let cells: Vec<&str> =
            cells.map(|run| run.outcome(name).map_or("-", Outcome::name)).collect();
        writeln!(text, "| {name} | {} |", cells.join(" | ")).expect("a string");
    }
    text
}

fn line(text: &mut String, first: &str, sections: &[Section], cell: impl Fn(&str, &str) -> String) {
    let cells: Vec<String> = sections
        .iter()
        .flat_map(|one| one.runs.iter().map(|run| cell(one.version.name(), run.column.name())))
        .collect();
    writeln!(text, "| {first} | {} |", cells.join(" | ")).expect("a string");
}

fn totals(text: &mut String, section: &Section) {
    let columns: Vec<&str> = section.runs.iter().map(|run| run.column.name()).collect();
    let dashes = "---|".repeat(columns.len());
    let version = section.version.name();
    let head = format!(
        "\n## Figures on containerd {version}\n\n| | {} |\n|---|{dashes}\n",
        columns.join(" | ")
    );
    text.push_str(&head);
    for outcome in [Outcome::Pass, Outcome::Fail, Outcome::Skip, Outcome::Unfinished] {
        let counts: Vec<usize> = section.runs.iter().map(|run| run.count(outcome)).collect();
        if outcome == Outcome::Unfinished && counts.iter().all(|count| *count == 0) {
            continue;
        }
        let cells: Vec<String> = counts.iter().map(usize::to_string).collect();
        writeln!(text, "| {} | {} |", outcome.name(), cells.join(" | ")).expect("a string");
    }
    let seconds: Vec<String> =
        section.runs.iter().map(|run| format!("{:.0}", run.took.as_secs_f64())).collect();
    writeln!(text, "| seconds, all three at once | {} |", seconds.join(" | ")).expect("a string");
}

fn reasons(text: &mut String, section: &Section) {
    let rows = expected::rows(section.version);
    let version = section.version.name();
    write!(text, "\n## What does not pass on containerd {version}, and why\n\n").expect("a string");
    if rows.is_empty() {
        text.push_str("Everything passes.\n");
        return;
    }
    text.push_str(
        "| case | runc | native | wasmbox | it says | why |\n|---|---|---|---|---|---|\n",
    );
    for row in rows {
        let cells = Column::ALL.map(|column| row.allowed(column).name());
        let says = row.says.split_whitespace().collect::<Vec<_>>().join(" ");
        writeln!(text, "| {} | {} | `{says}` | {} |", row.test, cells.join(" | "), row.why)
            .expect("a string");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::critest::VERSIONS;

    #[test]
    fn the_page_has_the_reasons_of_today() {
        let page = include_str!("../../CRITEST.md");
        assert!(page.starts_with(HEAD));
        for row in VERSIONS.into_iter().flat_map(expected::rows) {
            assert!(page.contains(&row.test) && page.contains(&row.why), "{}", row.test);
        }
    }
}
