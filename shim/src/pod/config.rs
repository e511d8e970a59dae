//! CRI's `PodSandboxConfig` (k8s.io/cri-api, `runtime/v1/api.proto`): the fields of it that a sandbox is made from.

use std::collections::{BTreeMap, HashMap};

use containerd_shim_protos::protobuf::well_known_types::any::Any;
use prost::Message;
use wherry_core::lifecycle::Denied;
use wherry_core::plan::IdMapping;
use wherry_core::spec::pod::{Config, Dns, Scope, Users};

use crate::create::invalid;

#[derive(Clone, PartialEq, Message)]
struct PodSandboxConfig {
    #[prost(string, tag = "2")]
    hostname: String,
    #[prost(message, optional, tag = "4")]
    dns_config: Option<DnsConfig>,
    #[prost(message, optional, tag = "8")]
    linux: Option<LinuxPodSandboxConfig>,
}

#[derive(Clone, PartialEq, Message)]
struct DnsConfig {
    #[prost(string, repeated, tag = "1")]
    servers: Vec<String>,
    #[prost(string, repeated, tag = "2")]
    searches: Vec<String>,
    #[prost(string, repeated, tag = "3")]
    options: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
struct LinuxPodSandboxConfig {
    #[prost(string, tag = "1")]
    cgroup_parent: String,
    #[prost(message, optional, tag = "2")]
    security_context: Option<LinuxSandboxSecurityContext>,
    #[prost(map = "string, string", tag = "3")]
    sysctls: HashMap<String, String>,
}

#[derive(Clone, PartialEq, Message)]
struct LinuxSandboxSecurityContext {
    #[prost(message, optional, tag = "1")]
    namespace_options: Option<NamespaceOption>,
}

#[derive(Clone, PartialEq, Message)]
struct NamespaceOption {
    #[prost(int32, tag = "1")]
    network: i32,
    #[prost(int32, tag = "2")]
    pid: i32,
    #[prost(int32, tag = "3")]
    ipc: i32,
    #[prost(message, optional, tag = "5")]
    userns_options: Option<UserNamespace>,
}

#[derive(Clone, PartialEq, Message)]
struct UserNamespace {
    #[prost(int32, tag = "1")]
    mode: i32,
    #[prost(message, repeated, tag = "2")]
    uids: Vec<CriMapping>,
    #[prost(message, repeated, tag = "3")]
    gids: Vec<CriMapping>,
}

#[derive(Clone, PartialEq, Message)]
struct CriMapping {
    #[prost(uint32, tag = "1")]
    host_id: u32,
    #[prost(uint32, tag = "2")]
    container_id: u32,
    #[prost(uint32, tag = "3")]
    length: u32,
}

const TYPE: &str = "runtime.v1.PodSandboxConfig";

pub(super) fn read(options: Option<&Any>) -> Result<Config, Denied> {
    let Some(options) = options.filter(|options| !options.type_url.is_empty()) else {
        return Err(invalid(format!("the options of the sandbox are missing: {TYPE} is wanted")));
    };
    let given = options.type_url.rsplit('/').next().unwrap_or_default();
    if given != TYPE {
        return Err(invalid(format!(
            "the options of the sandbox are of the type {given}: Wherry knows {TYPE}"
        )));
    }
    let given = PodSandboxConfig::decode(&*options.value)
        .map_err(|e| invalid(format!("the options of the sandbox are no {TYPE}: {e}")))?;
    config(given)
}

fn config(given: PodSandboxConfig) -> Result<Config, Denied> {
    let linux = given.linux.unwrap_or_default();
    let namespaces = linux.security_context.and_then(|context| context.namespace_options);
    let namespaces = namespaces.unwrap_or_default();
    let users = namespaces.userns_options.as_ref().map(users).transpose()?.flatten();
    Ok(Config {
        hostname: given.hostname,
        dns: given.dns_config.map(|dns| Dns {
            servers: dns.servers,
            searches: dns.searches,
            options: dns.options,
        }),
        cgroup_parent: linux.cgroup_parent,
        network: scope("network", namespaces.network)?,
        pid: scope("pid", namespaces.pid)?,
        ipc: scope("ipc", namespaces.ipc)?,
        users,
        sysctl: linux.sysctls.into_iter().collect::<BTreeMap<_, _>>(),
    })
}

fn users(given: &UserNamespace) -> Result<Option<Users>, Denied> {
    match scope("user", given.mode)? {
        Scope::Node => Ok(None),
        Scope::Pod => Ok(Some(Users { uids: mappings(&given.uids), gids: mappings(&given.gids) })),
        Scope::Container => {
            Err(invalid("the sandbox is to have no user namespace of its pod: POD or NODE".into()))
        }
    }
}

fn mappings(given: &[CriMapping]) -> Vec<IdMapping> {
    let one =
        |m: &CriMapping| IdMapping { container: m.container_id, host: m.host_id, size: m.length };
    given.iter().map(one).collect()
}

/// `NamespaceMode`. TARGET is for a container that looks into another.
fn scope(kind: &str, mode: i32) -> Result<Scope, Denied> {
    match mode {
        0 => Ok(Scope::Pod),
        1 => Ok(Scope::Container),
        2 => Ok(Scope::Node),
        other => Err(invalid(format!(
            "the {kind} namespace of the sandbox is to be of the mode {other}: it must be POD, CONTAINER or NODE"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn any(config: &PodSandboxConfig) -> Any {
        Any { type_url: TYPE.into(), value: config.encode_to_vec(), ..Any::default() }
    }

    #[test]
    fn what_the_kubelet_sends_is_read() {
        let ids = |host_id| vec![CriMapping { host_id, container_id: 0, length: 65_536 }];
        let namespaces = NamespaceOption {
            network: 2,
            pid: 1,
            ipc: 0,
            userns_options: Some(UserNamespace { mode: 0, uids: ids(1000), gids: ids(2000) }),
        };
        let context = LinuxSandboxSecurityContext { namespace_options: Some(namespaces) };
        let sysctls = [("kernel.sem".to_owned(), "1".to_owned())];
        let given = PodSandboxConfig {
            hostname: "web-0".into(),
            dns_config: Some(DnsConfig {
                servers: vec!["10.0.0.10".into()],
                ..DnsConfig::default()
            }),
            linux: Some(LinuxPodSandboxConfig {
                cgroup_parent: "/kubepods/pod1".into(),
                security_context: Some(context),
                sysctls: sysctls.clone().into(),
            }),
        };
        let mapped = |host| vec![IdMapping { container: 0, host, size: 65_536 }];
        let expected = Config {
            hostname: "web-0".into(),
            dns: Some(Dns { servers: vec!["10.0.0.10".into()], ..Dns::default() }),
            cgroup_parent: "/kubepods/pod1".into(),
            network: Scope::Node,
            pid: Scope::Container,
            ipc: Scope::Pod,
            users: Some(Users { uids: mapped(1000), gids: mapped(2000) }),
            sysctl: sysctls.into(),
        };
        assert_eq!(read(Some(&any(&given))).expect("a config"), expected);
    }

    #[test]
    fn what_is_no_description_of_a_pod_is_refused() {
        let other = Any { type_url: "x/runtime.v2.Config".into(), ..Any::default() };
        let broken = Any { type_url: TYPE.into(), value: vec![0xff], ..Any::default() };
        let namespaces = NamespaceOption { pid: 3, ..NamespaceOption::default() };
        let context = LinuxSandboxSecurityContext { namespace_options: Some(namespaces) };
        let linux = LinuxPodSandboxConfig {
            security_context: Some(context),
            ..LinuxPodSandboxConfig::default()
        };
        let target = PodSandboxConfig { linux: Some(linux), ..PodSandboxConfig::default() };
        for (given, told) in [
            (None, "are missing"),
            (Some(&other), "of the type runtime.v2.Config"),
            (Some(&broken), "are no runtime.v1.PodSandboxConfig"),
            (Some(&any(&target)), "the pid namespace of the sandbox is to be of the mode 3"),
        ] {
            let denied = read(given).expect_err("no config").to_string();
            assert!(denied.contains(told), "{denied}");
        }
    }
}
