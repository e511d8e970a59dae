//! What a program is, read from its imports and exports, never from its name.

use wherry_core::plan::Profile;

/// The shape of a program: how it is entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum World {
    /// A core module with `_start`: WASI preview 1, or its predecessor `wasi_unstable`.
    Preview1,
    /// Exports `wasi:cli/run@0.2`.
    Command2,
    /// Exports `wasi:cli/run@0.3`.
    Command3,
    /// Exports `wasi:http/incoming-handler@0.2`.
    Proxy2,
    /// Exports `wasi:http/handler@0.3`.
    Service3,
}

impl World {
    /// The world of a component, from the names of its exports.
    ///
    /// Components made with a preview 1 adapter export `wasi:cli/run@0.2` next to what they are
    /// really about, so the order of the questions matters.
    pub fn of_exports<'a>(exports: impl Iterator<Item = &'a str>) -> Option<World> {
        exports.filter_map(World::of_export).max_by_key(|world| match world {
            World::Service3 => 4,
            World::Proxy2 => 3,
            World::Command3 => 2,
            World::Command2 => 1,
            World::Preview1 => 0,
        })
    }

    fn of_export(name: &str) -> Option<World> {
        let (interface, version) = name.split_once('@')?;
        let minor = version.strip_prefix("0.")?.split('.').next()?;
        match (interface, minor) {
            ("wasi:http/handler", "3") => Some(World::Service3),
            ("wasi:http/incoming-handler", "2") => Some(World::Proxy2),
            ("wasi:cli/run", "3") => Some(World::Command3),
            ("wasi:cli/run", "2") => Some(World::Command2),
            _ => None,
        }
    }

    pub fn profile(self) -> Profile {
        match self {
            World::Preview1 | World::Command2 | World::Command3 => Profile::Command,
            World::Proxy2 | World::Service3 => Profile::Service,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(exports: &[&str], expected: Option<World>) {
        assert_eq!(World::of_exports(exports.iter().copied()), expected);
    }

    #[test]
    fn a_handler_is_a_service_even_beside_an_adapters_run() {
        check(&["wasi:cli/run@0.2.3", "wasi:http/handler@0.3.0"], Some(World::Service3));
        check(&["wasi:http/incoming-handler@0.2.0", "wasi:cli/run@0.2.0"], Some(World::Proxy2));
        check(&["wasi:cli/run@0.2.0", "wasi:cli/run@0.3.0"], Some(World::Command3));
        check(&["wasi:cli/run@0.2.12"], Some(World::Command2));
    }

    #[test]
    fn unknown_versions_and_other_interfaces_are_no_world() {
        check(&["wasi:cli/run@1.0.0", "wasi:cli/run", "docs:greet/hello@0.1.0", "run"], None);
        check(&["wasi:http/handler@0.2.0"], None);
    }
}
