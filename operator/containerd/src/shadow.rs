//! A daemon beside the one that runs: on the same configuration, with nothing of it in common.

use std::path::Path;

use toml::{Table, Value};

use crate::effective::{CRI_1, CRI_2, Effective};

/// Plugins that would take hold of what is not below `root` and `state`: the socket of NRI, a folder in `/opt`, and
/// the disks of snapshotters.
const OUTSIDE: [&str; 6] = [
    "io.containerd.nri.v1.nri",
    "io.containerd.internal.v1.opt",
    "io.containerd.snapshotter.v1.devmapper",
    "io.containerd.snapshotter.v1.btrfs",
    "io.containerd.snapshotter.v1.zfs",
    "io.containerd.snapshotter.v1.blockfile",
];

/// Sections with sockets, and what they become. From version 4 of the configuration on they are plugins.
const SERVERS: [(&str, &str); 5] =
    [("grpc", "s"), ("ttrpc", "t"), ("debug", ""), ("metrics", ""), ("grpc-tcp", "")];
const SERVER: &str = "io.containerd.server.v1.";

impl Effective {
    /// The configuration of a daemon which keeps all that it has in `folder`, listens at `folder/s`, and ends with an
    /// error if its CRI plugin does not load.
    pub fn shadow(&self, folder: &Path) -> String {
        let mut table = self.table().clone();
        let at = |name: &str| Value::from(folder.join(name).display().to_string());
        table.remove("imports");
        table.insert("root".into(), at("root"));
        table.insert("state".into(), at("state"));
        add(&mut table, "disabled_plugins", &OUTSIDE);
        // What is switched off cannot be required: a daemon without it would end.
        if let Some(required) = table.get_mut("required_plugins").and_then(Value::as_array_mut) {
            required.retain(|one| !OUTSIDE.iter().any(|name| one.as_str() == Some(name)));
        }
        if let Some(cri) = self.cri() {
            add(&mut table, "required_plugins", &[cri.plugin]);
        }
        for (section, name) in SERVERS {
            let address = if name.is_empty() { Value::from("") } else { at(name) };
            let plugin = format!("{SERVER}{section}");
            if let Some(section) = table.get_mut(section).and_then(Value::as_table_mut) {
                section.insert("address".into(), address.clone());
                section.remove("tcp_address");
            }
            let plugins = table.get_mut("plugins").and_then(Value::as_table_mut);
            let plugin = plugins.and_then(|all| all.get_mut(&plugin)?.as_table_mut());
            plugin.map(|plugin| plugin.insert("address".into(), address));
        }
        // A cgroup that it would go into, and a folder for what it unpacks.
        table.remove("cgroup");
        table.remove("temp");
        let plugins = table.get_mut("plugins").and_then(Value::as_table_mut);
        for (name, plugin) in plugins.into_iter().flatten() {
            let Some(plugin) = plugin.as_table_mut() else { continue };
            // Of snapshotters that have a disk of their own.
            plugin.remove("root_path");
            if [CRI_1, CRI_2].contains(&name.as_str()) && plugin.contains_key("stream_server_port")
            {
                plugin.insert("stream_server_port".into(), "0".into());
            }
        }
        table.to_string()
    }
}

fn add(table: &mut Table, list: &str, names: &[&str]) {
    let list = table.entry(list).or_insert_with(|| Value::Array(Vec::new()));
    let Some(list) = list.as_array_mut() else { return };
    for name in names {
        if !list.iter().any(|one| one.as_str() == Some(name)) {
            list.push((*name).into());
        }
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn a_shadow_shares_nothing() {
        let dump = r#"
version = 4
root = '/data'
imports = ['/etc/containerd/conf.d/*.toml']
required_plugins = ['io.containerd.nri.v1.nri']
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
[plugins.'io.containerd.grpc.v1.cri']
stream_server_port = '10010'
[plugins.'io.containerd.server.v1.grpc']
address = '/run/containerd/containerd.sock'
[plugins.'io.containerd.server.v1.ttrpc']
address = '/run/containerd/containerd.sock.ttrpc'
[plugins.'io.containerd.snapshotter.v1.overlayfs']
root_path = '/disk'
"#;
        let shadow = Effective::read(dump).expect("TOML").shadow(Path::new("/t"));
        expect![[r#"
            disabled_plugins = ["io.containerd.nri.v1.nri", "io.containerd.internal.v1.opt", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.blockfile"]
            required_plugins = ["io.containerd.cri.v1.runtime"]
            root = "/t/root"
            state = "/t/state"
            version = 4

            [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]

            [plugins."io.containerd.grpc.v1.cri"]
            stream_server_port = "0"

            [plugins."io.containerd.server.v1.grpc"]
            address = "/t/s"

            [plugins."io.containerd.server.v1.ttrpc"]
            address = "/t/t"

            [plugins."io.containerd.snapshotter.v1.overlayfs"]
        "#]].assert_eq(&shadow);
    }
}
