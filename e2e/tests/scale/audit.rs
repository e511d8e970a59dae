//! What the operators asked of the API server, by its audit log.

use std::collections::BTreeMap;

use anyhow::Result;
use k8s_openapi::jiff::Timestamp;
use serde_json::Value;
use wherry_e2e::cluster::audit;
use wherry_e2e::place::Place;

/// One request that was answered.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) at: Timestamp,
    pub(crate) verb: String,
    /// With its part: `nodes/status`.
    pub(crate) resource: String,
    pub(crate) name: String,
    pub(crate) code: u64,
}

/// All of them, in order.
pub(crate) fn requests(place: &Place) -> Result<Vec<Request>> {
    let mut all: Vec<Request> = audit::events(place)?.iter().filter_map(request).collect();
    all.sort_by_key(|request| request.at);
    Ok(all)
}

fn request(event: &Value) -> Option<Request> {
    let word = |path: &str| audit::word(event, path);
    let user = word("/user/username");
    // A watch is told of when it begins and when it ends.
    let begins = word("/stage") == "ResponseStarted";
    if !user.ends_with(":wherry-operator") || (word("/verb") == "watch") != begins {
        return None;
    }
    Some(Request {
        at: word("/requestReceivedTimestamp").parse().ok()?,
        verb: word("/verb").to_string(),
        resource: audit::resource(event),
        name: word("/objectRef/name").to_string(),
        code: event.pointer("/responseStatus/code").and_then(Value::as_u64).unwrap_or(0),
    })
}

/// Jobs that were made more than once: a name stands for one order.
pub(crate) fn made_twice(all: &[Request]) -> Vec<String> {
    let mut made: BTreeMap<&str, usize> = BTreeMap::new();
    let jobs = all.iter().filter(|it| it.verb == "create" && it.resource == "jobs");
    for job in jobs.filter(|it| it.code == 201) {
        *made.entry(&job.name).or_default() += 1;
    }
    made.into_iter().filter(|(_, times)| *times > 1).map(|(name, _)| name.to_string()).collect()
}

/// So many of each kind, for people.
pub(crate) fn by_kind(all: &[Request]) -> BTreeMap<String, usize> {
    let mut kinds = BTreeMap::new();
    for request in all {
        *kinds.entry(format!("{} {}", request.verb, request.resource)).or_default() += 1;
    }
    kinds
}
