//! critest's report, which is Ginkgo's (`-ginkgo.json-report`), read.

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::foreign::{Case, Outcome};

/// Every case that the suite has, in the order of their names. What was left out by a filter is left out.
pub fn read(report: &str) -> Result<Vec<Case>> {
    let suites: Vec<Value> = serde_json::from_str(report).context("the report is no JSON")?;
    let specs = suites.iter().filter_map(|suite| suite["SpecReports"].as_array()).flatten();
    let mut cases = Vec::new();
    for spec in specs {
        if spec["LeafNodeType"] != "It" {
            setup(spec)?;
        } else if let Some(case) = case(spec)? {
            cases.push(case);
        }
    }
    cases.sort_by(|a: &Case, b: &Case| a.name.cmp(&b.name));
    Ok(cases)
}

/// What is done before and behind all cases must do well, or there are no results.
fn setup(spec: &Value) -> Result<()> {
    if spec["State"] != "passed" {
        bail!("{}: {}", spec["LeafNodeType"], said(spec));
    }
    Ok(())
}

fn case(spec: &Value) -> Result<Option<Case>> {
    let outcome = match spec["State"].as_str().unwrap_or_default() {
        "passed" => Outcome::Pass,
        "skipped" if said(spec).is_empty() => return Ok(None),
        "skipped" | "pending" => Outcome::Skip,
        "failed" | "panicked" | "timedout" => Outcome::Fail,
        "aborted" | "interrupted" | "" => Outcome::Unfinished,
        other => bail!("{other} is no state of Ginkgo's that we know"),
    };
    let name = name(spec);
    let message = if outcome == Outcome::Pass { String::new() } else { said(spec) };
    Ok(Some(Case { name, outcome, message }))
}

/// The last of its texts, which says all; with the one before it where that is not so.
fn name(spec: &Value) -> String {
    let above = spec["ContainerHierarchyTexts"].as_array().into_iter().flatten();
    let mut texts: Vec<&str> = above.filter_map(Value::as_str).collect();
    texts.push(spec["LeafNodeText"].as_str().unwrap_or_default());
    let plain = |text: &str| text.replace("[k8s.io] ", "").replace(" [Conformance]", "");
    texts.into_iter().map(plain).collect::<Vec<_>>().join(": ").replace('|', "or")
}

fn said(spec: &Value) -> String {
    spec["Failure"]["Message"].as_str().unwrap_or_default().trim().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(specs: &str, expected: &[(&str, Outcome, &str)]) {
        let cases = read(&format!(r#"[{{"SpecReports": [{specs}]}}]"#)).expect("a good report");
        let cases: Vec<_> =
            cases.iter().map(|c| (c.name.as_str(), c.outcome, c.message.as_str())).collect();
        assert_eq!(cases, expected);
    }

    #[test]
    fn states_become_outcomes_with_what_was_said() {
        check(
            r#"{"LeafNodeType": "BeforeSuite", "State": "passed"},
               {"LeafNodeType": "It", "ContainerHierarchyTexts": ["[k8s.io] Pod", "basics"],
                "LeafNodeText": "runs [Conformance]", "State": "passed"},
               {"LeafNodeType": "It", "ContainerHierarchyTexts": ["[k8s.io] Log"], "LeafNodeText": "logs",
                "State": "failed", "Failure": {"Message": "nothing\n"}},
               {"LeafNodeType": "It", "ContainerHierarchyTexts": [], "LeafNodeText": "a",
                "State": "skipped", "Failure": {"Message": "not here"}}"#,
            &[
                ("Log: logs", Outcome::Fail, "nothing"),
                ("Pod: basics: runs", Outcome::Pass, ""),
                ("a", Outcome::Skip, "not here"),
            ],
        );
    }

    #[test]
    fn what_a_filter_left_out_is_no_case() {
        check(r#"{"LeafNodeType": "It", "LeafNodeText": "a", "State": "skipped"}"#, &[]);
    }

    #[test]
    fn a_suite_that_cannot_begin_has_no_results() {
        let report = r#"[{"SpecReports": [{"LeafNodeType": "BeforeSuite", "State": "panicked",
            "Failure": {"Message": "no socket"}}]}]"#;
        assert!(read(report).is_err());
    }
}
