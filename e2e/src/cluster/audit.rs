//! What the API server was asked by the service accounts of our namespace, beside what they may ask.
//!
//! The API server writes down every call of theirs, and of nobody else. A rule of a role is small enough if each of its
//! verbs was needed, and large enough if no call was denied.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::helm::NAMESPACE;
use crate::place::Place;

/// For the API server's command line.
pub fn words(place: &Place) -> Result<[String; 2]> {
    let policy = json!({
        "apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"],
        "rules": [
            { "level": "Metadata", "userGroups": [format!("system:serviceaccounts:{NAMESPACE}")] },
            { "level": "None" },
        ],
    });
    let file = place.path("audit.json");
    fs::write(&file, policy.to_string())?;
    let word = |flag: &str, name: &str| format!("--audit-{flag}={}", place.path(name).display());
    Ok([word("policy-file", "audit.json"), word("log-path", LOG)])
}

const LOG: &str = "audit.log";

/// One call of an account.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Call {
    pub account: String,
    pub allowed: bool,
    pub verb: String,
    pub group: String,
    /// With its part: `nodes/status`.
    pub resource: String,
    pub namespace: String,
    pub name: String,
    /// The object was not there before.
    pub made: bool,
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Call { account, verb, group, resource, namespace, name, .. } = self;
        write!(f, "{account}: {verb} {group}/{resource} {name:?} in {namespace:?}")
    }
}

/// What the API server has written so far. It begins another file when one is long.
pub fn events(place: &Place) -> Result<Vec<Value>> {
    let mut all = Vec::new();
    for entry in fs::read_dir(place.root())? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if !(name.starts_with("audit") && name.ends_with(".log")) {
            continue;
        }
        let text = fs::read_to_string(&path).context(name)?;
        // The last line may be half written.
        for line in text.split_inclusive('\n').filter(|line| line.ends_with('\n')) {
            all.push(serde_json::from_str(line).with_context(|| format!("audit log: {line}"))?);
        }
    }
    Ok(all)
}

/// A text of an event, by its JSON pointer; empty if it is not there.
pub fn word<'a>(event: &'a Value, path: &str) -> &'a str {
    event.pointer(path).and_then(Value::as_str).unwrap_or_default()
}

/// Of an event, with its part: `nodes/status`.
pub fn resource(event: &Value) -> String {
    let (whole, part) = ("/objectRef/resource", "/objectRef/subresource");
    match (word(event, whole), word(event, part)) {
        (whole, "") => whole.to_string(),
        (whole, part) => format!("{whole}/{part}"),
    }
}

/// Each once.
pub fn calls(place: &Place) -> Result<BTreeSet<Call>> {
    Ok(events(place)?.iter().filter_map(call).collect())
}

fn call(event: &Value) -> Option<Call> {
    let word = |path: &str| word(event, path).to_string();
    let account = word("/user/username").rsplit(':').next()?.to_string();
    // What is no object, as the server's version, everybody may ask for.
    event.get("objectRef")?;
    Some(Call {
        account,
        allowed: word("/annotations/authorization.k8s.io~1decision") != "forbid",
        verb: word("/verb"),
        group: word("/objectRef/apiGroup"),
        resource: resource(event),
        namespace: word("/objectRef/namespace"),
        name: word("/objectRef/name"),
        made: event.pointer("/responseStatus/code").is_some_and(|code| code == 201),
    })
}

/// One verb of a rule of a role that is bound to an account.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Right {
    pub account: String,
    /// None for all of them, and for what is in none.
    pub namespace: Option<String>,
    pub group: String,
    pub resource: String,
    pub verb: String,
    pub names: Vec<String>,
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.verb, self.resource)?;
        if !self.group.is_empty() {
            write!(f, ".{}", self.group)?;
        }
        if let Some(namespace) = &self.namespace {
            write!(f, " in {namespace}")?;
        }
        Ok(())
    }
}

impl Right {
    /// Whether a call was made by it.
    fn is_for(&self, call: &Call) -> bool {
        // An object that is applied and not there is made, for which the API server asks for both rights.
        let verb =
            self.verb == call.verb || (self.verb == "create" && call.verb == "patch" && call.made);
        verb && call.allowed
            && (&self.account, &self.group, &self.resource)
                == (&call.account, &call.group, &call.resource)
            && self.namespace.as_ref().is_none_or(|it| *it == call.namespace)
            && (self.names.is_empty() || self.names.contains(&call.name))
    }
}

/// The rights of all service accounts, by the roles and bindings among these objects.
pub fn rights(objects: &[Value]) -> Vec<Right> {
    let bindings = objects
        .iter()
        .filter(|it| it["kind"].as_str().is_some_and(|kind| kind.ends_with("RoleBinding")));
    bindings.flat_map(|binding| of_binding(objects, binding)).collect()
}

fn of_binding(objects: &[Value], binding: &Value) -> Vec<Right> {
    let namespace = &binding["metadata"]["namespace"];
    let role = objects.iter().find(|it| {
        it["kind"] == binding["roleRef"]["kind"]
            && it["metadata"]["name"] == binding["roleRef"]["name"]
            && it["metadata"]["namespace"] == *namespace
    });
    let rules = role.map(|role| list(&role["rules"])).unwrap_or_default();
    let mut all = Vec::new();
    for subject in list(&binding["subjects"]) {
        for rule in &rules {
            for (group, resource, verb) in products(rule) {
                all.push(Right {
                    account: subject["name"].as_str().unwrap_or_default().to_string(),
                    namespace: namespace.as_str().map(str::to_string),
                    group,
                    resource,
                    verb,
                    names: strings(&rule["resourceNames"]),
                });
            }
        }
    }
    all
}

fn products(rule: &Value) -> Vec<(String, String, String)> {
    let mut all = Vec::new();
    for group in strings(&rule["apiGroups"]) {
        for resource in strings(&rule["resources"]) {
            for verb in strings(&rule["verbs"]) {
                all.push((group.clone(), resource.clone(), verb));
            }
        }
    }
    all
}

fn list(value: &Value) -> Vec<Value> {
    value.as_array().cloned().unwrap_or_default()
}

fn strings(value: &Value) -> Vec<String> {
    list(value).iter().filter_map(|it| it.as_str().map(str::to_string)).collect()
}

/// Calls that were denied.
pub fn denied(calls: &BTreeSet<Call>) -> Vec<String> {
    calls.iter().filter(|call| !call.allowed).map(|call| format!("denied: {call}")).collect()
}

/// Rights that no call needed, but for those with an excuse; and excuses that nobody needs.
pub fn idle(rights: &[Right], calls: &BTreeSet<Call>, excused: &[(&str, &str)]) -> Vec<String> {
    let mut told = Vec::new();
    for right in rights {
        let used = calls.iter().any(|call| right.is_for(call));
        let text = right.to_string();
        let excuse = excused.iter().find(|(what, _)| *what == text);
        match (used, excuse) {
            (false, None) => told.push(format!("{} may {right}, and never does", right.account)),
            (true, Some((what, _))) => told.push(format!("an excuse for what is done: {what}")),
            (true, None) | (false, Some(_)) => {}
        }
    }
    for (what, _) in excused {
        if !rights.iter().any(|right| right.to_string() == *what) {
            told.push(format!("an excuse for what nobody may: {what}"));
        }
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    fn role(verbs: Value) -> Vec<Value> {
        vec![
            json!({ "kind": "Role", "metadata": { "name": "r", "namespace": "n" }, "rules": [
                { "apiGroups": ["batch"], "resources": ["jobs"], "verbs": verbs },
            ]}),
            json!({ "kind": "RoleBinding", "metadata": { "name": "b", "namespace": "n" },
                "roleRef": { "kind": "Role", "name": "r" }, "subjects": [{ "name": "a" }] }),
        ]
    }

    fn seen(verb: &str, namespace: &str, decision: &str, code: u16) -> BTreeSet<Call> {
        let event = json!({
            "user": { "username": "system:serviceaccount:n:a" }, "verb": verb,
            "objectRef": { "apiGroup": "batch", "resource": "jobs", "namespace": namespace },
            "responseStatus": { "code": code },
            "annotations": { "authorization.k8s.io/decision": decision },
        });
        call(&event).into_iter().collect()
    }

    #[test]
    fn a_right_is_idle_unless_a_call_needed_it_there() {
        let rights = rights(&role(json!(["create"])));
        let idle = |calls| idle(&rights, &calls, &[]);
        assert_eq!(idle(seen("create", "n", "allow", 201)), Vec::<String>::new());
        assert_eq!(idle(seen("patch", "n", "allow", 201)), Vec::<String>::new(), "it was made");
        for calls in [
            seen("patch", "n", "allow", 200),
            seen("create", "other", "allow", 201),
            seen("create", "n", "forbid", 403),
        ] {
            assert_eq!(idle(calls), ["a may create jobs.batch in n, and never does"]);
        }
    }

    #[test]
    fn an_excuse_is_for_a_right_that_is_there_and_idle() {
        let rights = rights(&role(json!(["create"])));
        let excused = [("create jobs.batch in n", "because")];
        assert!(idle(&rights, &BTreeSet::new(), &excused).is_empty());
        assert_eq!(idle(&rights, &seen("create", "n", "allow", 201), &excused).len(), 1);
        assert_eq!(idle(&rights, &seen("create", "n", "allow", 201), &[("get x", "why")]).len(), 1);
        assert_eq!(denied(&seen("get", "n", "forbid", 403)).len(), 1);
    }
}
