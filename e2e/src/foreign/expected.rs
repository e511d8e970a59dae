//! The table of what does not pass and why, and what differs from it.
//!
//! A table in a document is read: what people read is what is compared.

use anyhow::{Context, Result, bail};

use super::{Case, Column, Outcome};

/// What a cell allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allowed {
    Only(Outcome),
    /// It passes on one run and fails on the next, for a reason that is not ours.
    Flaky,
}

impl Allowed {
    fn named(name: &str) -> Option<Allowed> {
        match name {
            "flaky" => Some(Allowed::Flaky),
            other => Outcome::named(other).map(Allowed::Only),
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Allowed::Only(outcome) => outcome.name(),
            Allowed::Flaky => "flaky",
        }
    }

    fn allows(self, outcome: Outcome) -> bool {
        match self {
            Allowed::Only(only) => outcome == only,
            Allowed::Flaky => matches!(outcome, Outcome::Pass | Outcome::Fail),
        }
    }
}

/// A row: a test which does not pass in at least one column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    pub test: String,
    /// In the order of [`Column::ALL`].
    pub allowed: [Allowed; 3],
    /// Part of what the test says where it does not pass, so that another failure is not taken for this one.
    pub says: String,
    pub why: String,
}

impl Row {
    /// `TestA/*` stands for all cases of `TestA`.
    pub fn is_of(&self, case: &Case) -> bool {
        match self.test.strip_suffix('*') {
            Some(all) => case.name.starts_with(all),
            None => case.name == self.test,
        }
    }

    pub fn allowed(&self, column: Column) -> Allowed {
        self.allowed[column as usize]
    }
}

/// The rows of every table whose first column is a test: `| `TestA` | pass | fail | fail | says | why |`.
pub fn read(markdown: &str) -> Result<Vec<Row>> {
    let rows: Vec<Row> = markdown
        .lines()
        .filter(|line| line.starts_with("| `Test") || line.starts_with("| `Fuzz"))
        .map(row)
        .collect::<Result<_>>()?;
    for (at, row) in rows.iter().enumerate() {
        if rows[..at].iter().any(|other| other.test == row.test) {
            bail!("{} has two rows", row.test);
        }
        if row.allowed == [Allowed::Only(Outcome::Pass); 3] {
            bail!("{} passes everywhere and needs no row", row.test);
        }
    }
    Ok(rows)
}

fn row(line: &str) -> Result<Row> {
    let cells: Vec<&str> = line.trim().trim_matches('|').split(" | ").map(str::trim).collect();
    let [test, runc, native, wasmbox, says, why] = cells[..] else {
        bail!("six cells are wanted: {line}");
    };
    let allowed = |cell: &str| {
        Allowed::named(cell).with_context(|| format!("{cell:?} is no outcome: {line}"))
    };
    if why.is_empty() {
        bail!("a reason is wanted: {line}");
    }
    Ok(Row {
        test: test.trim_matches('`').to_string(),
        allowed: [allowed(runc)?, allowed(native)?, allowed(wasmbox)?],
        says: says.trim_matches('`').to_string(),
        why: why.to_string(),
    })
}

/// What the table does not explain, a sentence each. `whole` says that no test was left out.
pub fn differences(column: Column, whole: bool, cases: &[Case], rows: &[Row]) -> Vec<String> {
    let mut found = Vec::new();
    for case in cases {
        let row = rows.iter().find(|row| row.is_of(case));
        let allowed = row.map_or(Allowed::Only(Outcome::Pass), |row| row.allowed(column));
        let (is, was) = (case.outcome.name(), allowed.name());
        if !allowed.allows(case.outcome) {
            found.push(format!("{}: {is}, and the table says {was}{}", case.name, told(case)));
        } else if let Some(row) = row
            && case.outcome != Outcome::Pass
            && !case.message.contains(&row.says)
        {
            found.push(format!(
                "{}: {is}, for another reason than in the table{}",
                case.name,
                told(case)
            ));
        }
    }
    if whole {
        // A test that is skipped in one column has cases in the others.
        let has = |row: &Row, case: &Case| {
            row.is_of(case) || case.name.starts_with(&format!("{}/", row.test))
        };
        let gone = rows.iter().filter(|row| !cases.iter().any(|case| has(row, case)));
        found.extend(gone.map(|row| format!("{}: in the table, not in the suite", row.test)));
    }
    found
}

/// The first lines of what the test said.
pub fn told(case: &Case) -> String {
    case.message.lines().take(8).map(|line| format!("\n      {line}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
| test | runc | native | wasmbox | it says | why |
|---|---|---|---|---|---|
| `TestA` | skip | skip | skip | `no criu` | Not installed. |
| `TestB/one` | pass | pass | fail | `status 1` | No `nc`. |
";

    fn case(name: &str, outcome: Outcome, message: &str) -> Case {
        Case { name: name.into(), outcome, message: message.into() }
    }

    fn check(column: Column, cases: &[Case], expected: &[&str]) {
        let rows = read(TABLE).expect("a good table");
        assert_eq!(differences(column, true, cases, &rows), expected);
    }

    #[test]
    fn what_the_table_says_is_no_difference() {
        let cases = [
            case("TestA", Outcome::Skip, "there is no criu here"),
            case("TestB/one", Outcome::Fail, "status 1 is not 143"),
            case("TestC", Outcome::Pass, ""),
        ];
        check(Column::Wasmbox, &cases, &[]);
    }

    #[test]
    fn another_outcome_another_reason_and_a_lost_test_are_differences() {
        let cases =
            [case("TestB/one", Outcome::Fail, "timeout"), case("TestC", Outcome::Fail, "boom")];
        check(
            Column::Wasmbox,
            &cases,
            &[
                "TestB/one: fail, for another reason than in the table\n      timeout",
                "TestC: fail, and the table says pass\n      boom",
                "TestA: in the table, not in the suite",
            ],
        );
    }

    #[test]
    fn a_test_that_passes_by_now_makes_its_row_stale() {
        let cases = [case("TestA", Outcome::Pass, ""), case("TestB/one", Outcome::Pass, "")];
        check(Column::Runc, &cases, &["TestA: pass, and the table says skip"]);
    }

    #[test]
    fn a_flaky_test_may_pass_or_fail_as_told() {
        let rows =
            read("| `TestA` | flaky | pass | pass | `race` | Known. |").expect("a good table");
        let difference = |case| differences(Column::Runc, true, &[case], &rows).len();
        assert_eq!(difference(case("TestA", Outcome::Pass, "")), 0);
        assert_eq!(difference(case("TestA", Outcome::Fail, "a race")), 0);
        assert_eq!(difference(case("TestA", Outcome::Fail, "other")), 1);
        assert_eq!(difference(case("TestA", Outcome::Unfinished, "")), 1);
    }

    #[test]
    fn a_row_may_stand_for_all_cases_and_a_skipped_test_may_have_cases_elsewhere() {
        let rows = read(
            "| `TestA/*` | flaky | pass | pass | `race` | Known. |\n\
             | `TestB` | pass | pass | skip | `no runc` | Known. |",
        )
        .expect("a good table");
        let cases = [
            case("TestA/one", Outcome::Fail, "a race"),
            case("TestA/two", Outcome::Pass, ""),
            case("TestB/one", Outcome::Pass, ""),
        ];
        assert_eq!(differences(Column::Runc, true, &cases, &rows), [""; 0]);
        let bad = [case("TestB/one", Outcome::Fail, "no runc")];
        assert_eq!(differences(Column::Runc, false, &bad, &rows).len(), 1);
    }

    #[test]
    fn a_table_with_an_empty_reason_is_refused() {
        let table = "| `TestA` | fail | pass | pass | x |  |";
        assert!(read(table).is_err());
        assert!(read("| `TestA` | pass | pass | pass | x | y |").is_err());
    }

    #[test]
    fn the_table_in_the_docs_can_be_read() {
        let rows = read(include_str!("../../CLIENT-SUITE.md")).expect("a good table");
        assert!(!rows.is_empty());
    }
}
