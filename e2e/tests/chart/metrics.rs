//! Alerts and dashboard ask for what the operator tells, by names that it has.

use std::collections::BTreeSet;
use std::fs;

use promql_parser::parser::{self, Expr};
use serde_json::Value;
use wherry_e2e::helm::{objects, repository};

fn read(path: &str) -> String {
    fs::read_to_string(repository().join(path)).expect(path)
}

/// As Prometheus knows them, by the operator's own list (operator/metrics.txt).
fn told() -> BTreeSet<String> {
    let list = read("operator/metrics.txt");
    let types = list.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let mut names = BTreeSet::new();
    for (name, kind) in types.filter_map(|line| line.split_once(' ')) {
        let endings: &[&str] = match kind {
            "counter" => &["_total"],
            "gauge" => &[""],
            "histogram" => &["_bucket", "_count", "_sum"],
            other => panic!("a kind of metric that is new here: {other}"),
        };
        names.extend(endings.iter().map(|ending| format!("{name}{ending}")));
    }
    names
}

/// The names of the series that an expression asks for.
fn asked(expression: &str) -> BTreeSet<String> {
    // Grafana's.
    let expression = expression.replace("$__rate_interval", "5m").replace("$shim", ".*");
    let tree = parser::parse(&expression).unwrap_or_else(|error| panic!("{expression}: {error}"));
    let mut names = BTreeSet::new();
    walk(&tree, &mut names);
    assert!(!names.is_empty(), "{expression} asks for nothing");
    names
}

fn walk(tree: &Expr, names: &mut BTreeSet<String>) {
    match tree {
        Expr::Aggregate(it) => walk(&it.expr, names),
        Expr::Unary(it) => walk(&it.expr, names),
        Expr::Binary(it) => {
            walk(&it.lhs, names);
            walk(&it.rhs, names);
        }
        Expr::Paren(it) => walk(&it.expr, names),
        Expr::Subquery(it) => walk(&it.expr, names),
        Expr::Call(it) => it.args.args.iter().for_each(|argument| walk(argument, names)),
        Expr::VectorSelector(it) => names.extend(it.name.clone()),
        Expr::MatrixSelector(it) => names.extend(it.vs.name.clone()),
        Expr::NumberLiteral(_) | Expr::StringLiteral(_) => {}
        Expr::Extension(_) => panic!("an extension"),
    }
}

fn known(expression: &str) {
    let unknown: Vec<String> = asked(expression).difference(&told()).cloned().collect();
    assert!(unknown.is_empty(), "{expression}: nobody tells {unknown:?}");
}

#[test]
fn alerts_ask_for_what_is_told() {
    let rules = objects(&read("charts/wherry/files/alerts.yaml")).expect("YAML");
    let rules = rules[0]["groups"][0]["rules"].as_array().expect("rules");
    assert!(rules.len() > 3);
    for rule in rules {
        known(rule["expr"].as_str().expect("an expression"));
        for word in ["summary", "description"] {
            assert!(rule["annotations"][word].is_string(), "{rule}");
        }
    }
}

#[test]
fn the_dashboard_asks_for_what_is_told() {
    let text = read("charts/wherry/files/dashboard.json");
    let dashboard: Value = serde_json::from_str(&text).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let mut shown = BTreeSet::new();
    for target in panels.iter().flat_map(|panel| panel["targets"].as_array().expect("targets")) {
        let expression = target["expr"].as_str().expect("an expression");
        known(expression);
        shown.extend(asked(expression));
    }
    // Whatever is told is shown: of a histogram, its buckets.
    let wanted = told().into_iter().filter(|it| !it.ends_with("_count") && !it.ends_with("_sum"));
    assert_eq!(wanted.filter(|it| !shown.contains(it)).collect::<Vec<_>>(), Vec::<String>::new());
}
