//! What stands in the files of a node: pure text, made of its name, address and containerd.

use std::net::Ipv4Addr;

use serde_json::{Value, json};

use super::control::ADDRESS;
use crate::cgroups::Driver;
use crate::rig::Version;

/// What a node is.
#[derive(Clone, Copy, Debug)]
pub struct About {
    pub name: &'static str,
    /// Of its address, and of the addresses of its pods.
    pub number: u8,
    pub containerd: Version,
    pub cgroups: Driver,
    /// Wherry is on it from the beginning, as by hand. Without, nothing there has ever heard of it.
    pub wherry: bool,
}

const OLD: About = About {
    name: "old",
    number: 11,
    containerd: Version::V1_7,
    cgroups: Driver::Cgroupfs,
    wherry: true,
};
const NEW: About = About {
    name: "new",
    number: 12,
    containerd: Version::V2_4,
    cgroups: Driver::Systemd,
    wherry: true,
};

/// Between them they have both ends of what is supported.
pub const NODES: [About; 2] = [OLD, NEW];

/// Nodes that somebody else brings Wherry to, with a containerd between the two ends.
pub const FLEET: [About; 3] = [
    About { wherry: false, ..OLD },
    About { wherry: false, ..NEW },
    About {
        name: "mid",
        number: 13,
        containerd: Version::V2_1,
        cgroups: Driver::Cgroupfs,
        wherry: false,
    },
];

/// The address of a DNS server that the cluster would have.
pub const DNS: &str = "10.96.0.10";

impl About {
    pub fn address(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, 90, 0, self.number)
    }

    pub fn pods(&self) -> String {
        format!("10.91.{}.0/24", self.number)
    }

    /// Every file that makes the tree of [`fetch.sh`](crate::rig) a node, but for its keys.
    pub fn all(&self) -> Vec<(String, String)> {
        let unit = |name: &str| format!("etc/systemd/system/{name}.service");
        vec![
            (
                "etc/hosts".into(),
                format!("127.0.0.1 localhost\n{} {}\n", self.address(), self.name),
            ),
            ("etc/resolv.conf".into(), "nameserver 192.0.2.53\nsearch node.test\n".into()),
            ("etc/hostname".into(), format!("{}\n", self.name)),
            // Not missing, which would be a first boot, and not the same on all nodes.
            ("etc/machine-id".into(), String::new()),
            ("etc/containerd/config.toml".into(), self.containerd_config()),
            ("etc/containerd/certs.d/_default/hosts.toml".into(), registry()),
            ("etc/cni/net.d/10-pods.conflist".into(), self.network().to_string()),
            ("etc/kubernetes/kubelet.json".into(), self.kubelet().to_string()),
            ("etc/kubernetes/proxy.json".into(), proxy().to_string()),
            (unit("network"), self.network_unit()),
            (unit("containerd"), CONTAINERD_UNIT.into()),
            (unit("kubelet"), self.kubelet_unit()),
            (unit("proxy"), self.proxy_unit()),
        ]
    }

    /// containerd's configuration, with the handler `wherry` as people write it.
    fn containerd_config(&self) -> String {
        let systemd = self.cgroups == Driver::Systemd;
        let (config, plugin) = match self.containerd {
            Version::V1_7 => (CONTAINERD_1, "io.containerd.grpc.v1.cri"),
            Version::V2_1 | Version::V2_4 => (CONTAINERD_2, "io.containerd.cri.v1.runtime"),
        };
        let mut all = config.replace("SYSTEMD", &systemd.to_string());
        if self.wherry {
            all += &HANDLER.replace("PLUGIN", plugin);
            all += if self.containerd >= Version::V2_1 { SANDBOX } else { "" };
        }
        all
    }

    /// Every packet of a pod goes through the node's routing, and with it through kube-proxy's rules: behind a
    /// bridge it would need a module of the kernel (br_netfilter) for that.
    fn network(&self) -> Value {
        json!({ "cniVersion": "1.0.0", "name": "pods", "plugins": [
            { "type": "ptp", "ipMasq": false, "ipam": {
                "type": "host-local", "ranges": [[{ "subnet": self.pods() }]],
                "routes": [{ "dst": "0.0.0.0/0" }],
            }},
            { "type": "portmap", "capabilities": { "portMappings": true }},
        ]})
    }

    fn kubelet(&self) -> Value {
        let own = |name| format!("/etc/kubernetes/{name}");
        let mut config = json!({
            "apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
            "authentication": {
                "x509": { "clientCAFile": own("ca.crt") }, "webhook": { "enabled": true },
            },
            "authorization": { "mode": "Webhook" },
            "tlsCertFile": own("kubelet.crt"), "tlsPrivateKeyFile": own("kubelet.key"),
            "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
            "cgroupDriver": match self.cgroups {
                Driver::Cgroupfs => "cgroupfs",
                Driver::Systemd => "systemd",
            },
            "clusterDNS": [DNS], "clusterDomain": "cluster.local",
            "maxPods": 250,
            "allowedUnsafeSysctls": ["net.*"],
        });
        // What a machine in a container has: its cgroups, swap and disk are the machine's outside.
        let outside = json!({
            "failCgroupV1": false, "failSwapOn": false,
            "evictionHard": { "memory.available": "100Mi" }, "imageGCHighThresholdPercent": 100,
        });
        // A suite waits for all of this.
        let quick = json!({
            "serializeImagePulls": false, "registryPullQPS": 0, "eventRecordQPS": 0, "kubeAPIQPS": 200,
            "kubeAPIBurst": 400, "syncFrequency": "2s", "nodeStatusUpdateFrequency": "2s",
            "crashLoopBackOff": { "maxContainerRestartPeriod": "2s" },
        });
        for part in [outside, quick] {
            for (key, value) in part.as_object().into_iter().flatten() {
                config[key] = value.clone();
            }
        }
        config
    }

    fn network_unit(&self) -> String {
        let mut lines = vec![
            format!("ip addr add {}/24 dev host0", self.address()),
            "ip link set host0 up".into(),
            format!("ip route add default via {ADDRESS}"),
            "sysctl -qw net.ipv4.ip_forward=1".into(),
        ];
        // The work of a network plugin: whatever is on this node reaches the pods of the others.
        let others = FLEET.iter().filter(|other| other.number != self.number);
        lines.extend(others.map(|it| format!("ip route add {} via {}", it.pods(), it.address())));
        let lines = lines.join("; ");
        let body = format!("Type=oneshot\nRemainAfterExit=yes\nExecStart=/bin/sh -ec '{lines}'");
        service("", &body)
    }

    fn kubelet_unit(&self) -> String {
        let words = format!(
            "kubelet --config=/etc/kubernetes/kubelet.json --kubeconfig=/etc/kubernetes/kubelet.conf \
             --hostname-override={name} --node-ip={address} --node-labels=e2e/containerd={version} -v=2",
            name = self.name,
            address = self.address(),
            version = self.containerd.name(),
        );
        let flags = format!("ExecStartPre=/bin/sh -c '{KERNEL_FLAGS}'\n");
        service("containerd.service network.service", &(flags + &daemon(&words)))
    }

    fn proxy_unit(&self) -> String {
        let words = "proxy --config=/etc/kubernetes/proxy.json --hostname-override=";
        service("network.service", &daemon(&format!("{words}{}", self.name)))
    }
}

/// The services that are files above; what else the tree would start is not wanted.
pub const UNITS: [&str; 4] = ["network", "containerd", "kubelet", "proxy"];
pub const UNWANTED: [&str; 6] = [
    "getty.target",
    "console-getty.service",
    "systemd-networkd.service",
    "systemd-resolved.service",
    "systemd-timesyncd.service",
    "systemd-udevd.service",
];

fn service(after: &str, body: &str) -> String {
    format!("[Unit]\nAfter={after}\n[Service]\n{body}\n[Install]\nWantedBy=multi-user.target\n")
}

/// A program of Kubernetes; what it started lives on without it.
fn daemon(words: &str) -> String {
    format!("ExecStart=/opt/kube {words}\nRestart=always\nRestartSec=1\nKillMode=process")
}

/// What kubelet wants of the kernel, which is the machine's: it reads that it is so, and nothing is changed.
const KERNEL_FLAGS: &str = "for flag in vm/overcommit_memory:1 kernel/panic:10 kernel/panic_on_oops:1 \
    kernel/keys/root_maxkeys:1000000 kernel/keys/root_maxbytes:25000000; do \
    at=/proc/sys/$${flag%%:*} value=$${flag##*:}; [ \"$$(cat $$at)\" = $$value ] && continue; \
    said=$$(mktemp) && echo $$value > $$said && mount --bind $$said $$at; done";

/// All images of all registries come from ours, which knows them by their full names.
fn registry() -> String {
    format!(
        "[host.\"https://{ADDRESS}\"]\ncapabilities = [\"pull\", \"resolve\"]\n\
         ca = \"/etc/containerd/certs.d/_default/ca.pem\"\n"
    )
}

fn proxy() -> Value {
    json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "kind": "KubeProxyConfiguration",
        "mode": "iptables", "clusterCIDR": "10.91.0.0/16",
        "clientConnection": { "kubeconfig": "/etc/kubernetes/proxy.conf" },
        // Its limits are the machine's.
        "conntrack": { "maxPerCore": 0, "min": 0 },
        "iptables": { "minSyncPeriod": "100ms" },
    })
}

// restrict_oom_score_adj: where a machine may not lower it, sandboxes still ask for -998.
const CONTAINERD_1: &str = r#"version = 2
[plugins."io.containerd.grpc.v1.cri"]
restrict_oom_score_adj = true
sandbox_image = "wherry.test/pause:1"
[plugins."io.containerd.grpc.v1.cri".registry]
config_path = "/etc/containerd/certs.d"
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/usr/lib/cni"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
SystemdCgroup = SYSTEMD
"#;

const CONTAINERD_2: &str = r#"version = 3
[plugins."io.containerd.cri.v1.images".pinned_images]
sandbox = "wherry.test/pause:1"
[plugins."io.containerd.cri.v1.images".registry]
config_path = "/etc/containerd/certs.d"
[plugins."io.containerd.cri.v1.runtime"]
restrict_oom_score_adj = true
[plugins."io.containerd.cri.v1.runtime".cni]
bin_dirs = ["/usr/lib/cni"]
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
SystemdCgroup = SYSTEMD
"#;

const HANDLER: &str = r#"[plugins."PLUGIN".containerd.runtimes.wherry]
runtime_type = "io.containerd.wherry.v1"
pod_annotations = ["wherry.dev/*"]
"#;

// For pods without a sandbox container, which 2.x offers.
const SANDBOX: &str = r#"[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.wherry-sandbox]
runtime_type = "io.containerd.wherry.v1"
sandboxer = "shim"
disable_pause_image_pull = true
pod_annotations = ["wherry.dev/*"]
"#;

// systemd-nspawn hands the controllers of version 1 over read-only.
const CONTAINERD_UNIT: &str = "[Unit]\nAfter=network.service\n[Service]\n\
    ExecStartPre=-/bin/sh -c 'for at in /sys/fs/cgroup /sys/fs/cgroup/*/; do \
    mount -o remount,rw,bind $$at 2>/dev/null; done; true'\n\
    Environment=PATH=/usr/local/bin:/opt/runc:/opt/containerd:/usr/sbin:/usr/bin:/sbin:/bin\n\
    ExecStart=/opt/containerd/containerd\nType=notify\nDelegate=yes\nKillMode=process\n\
    Restart=always\nRestartSec=1\nOOMScoreAdjust=0\n\
    [Install]\nWantedBy=multi-user.target\n";
