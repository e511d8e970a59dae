//! What is read of a cluster, whoever reads it.

use std::collections::BTreeMap;

use wherry_operator_core::crd::{NodeShim, ShimRevision, WasmShim};

/// Objects as the API has them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cluster {
    pub(crate) shims: Vec<WasmShim>,
    pub(crate) objects: Vec<NodeShim>,
    pub(crate) revisions: Vec<ShimRevision>,
    /// `None` if the reader may not see them: then only nodes with a `NodeShim` are known.
    pub(crate) machines: Option<Vec<Machine>>,
}

/// A node, as far as its metadata tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Machine {
    pub(crate) name: String,
    pub(crate) labels: BTreeMap<String, String>,
    /// Its administrator wants nothing done to it.
    pub(crate) held: bool,
}

impl Cluster {
    /// The nodes of a `WasmShim`: those that it selects, and those on which something of it may be.
    pub(crate) fn nodes<'a>(&'a self, shim: &WasmShim) -> Vec<Member<'a>> {
        let name = shim.metadata.name.as_deref().unwrap_or_default();
        let mut members: BTreeMap<&str, Member<'a>> = BTreeMap::new();
        let objects = self.objects.iter().filter(|object| object.spec.shim == name);
        for object in objects {
            let known = self.machines.is_none();
            let member = Member {
                name: &object.spec.node,
                object: Some(object),
                selected: known,
                held: false,
            };
            members.insert(&object.spec.node, member);
        }
        for machine in self.machines.iter().flatten() {
            let selected = shim.spec.nodes.select(&machine.labels);
            match members.get_mut(machine.name.as_str()) {
                Some(member) => (member.selected, member.held) = (selected, machine.held),
                None if selected => {
                    let (name, held) = (machine.name.as_str(), machine.held);
                    members.insert(name, Member { name, object: None, selected, held });
                }
                None => {}
            }
        }
        let mut members: Vec<Member<'a>> = members.into_values().collect();
        members.sort_by_cached_key(|member| natural(member.name));
        members
    }

    pub(crate) fn revision(&self, name: &str) -> Option<&ShimRevision> {
        self.revisions.iter().find(|it| it.metadata.name.as_deref() == Some(name))
    }
}

/// One node of one `WasmShim`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Member<'a> {
    pub(crate) name: &'a str,
    pub(crate) object: Option<&'a NodeShim>,
    pub(crate) selected: bool,
    pub(crate) held: bool,
}

/// Numbers in names count as numbers: `n10` comes after `n9`.
fn natural(name: &str) -> Vec<(String, u64)> {
    let mut parts = Vec::new();
    let mut rest = name;
    while !rest.is_empty() {
        let word = rest.find(|it: char| it.is_ascii_digit()).unwrap_or(rest.len());
        let (text, tail) = rest.split_at(word);
        let digits = tail.find(|it: char| !it.is_ascii_digit()).unwrap_or(tail.len());
        let (number, tail) = tail.split_at(digits);
        let none = number.is_empty();
        parts.push((text.to_string(), if none { 0 } else { number.parse().unwrap_or(u64::MAX) }));
        rest = tail;
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_sorted_as_people_count() {
        let mut names = ["n10", "n9", "m", "n9-b", "n", "n9-a"];
        names.sort_by_key(|name| natural(name));
        assert_eq!(names, ["m", "n", "n9", "n9-a", "n9-b", "n10"]);
    }
}
