//! Annotations, the administrator's options, and the features that are told.

use expect_test::{Expect, expect};
use serde_json::Value;
use wherry_core::plan::Plan;
use wherry_core::spec::{self, Options};

use crate::{changed, node, plan, told};

#[test]
fn annotations_are_ours_or_refused() {
    let annotations =
        |list: &str| format!(r#"{{"io.kubernetes.cri.container-name": "web", {list}}}"#);
    let lists = [
        r#""example.org/http.listen": "9""#,
        r#""wherry.dev/http.listen": "9000""#,
        r#""wherry.dev/http.listen": ":9000""#,
        r#""wherry.dev/http.listen": "[::1]:9000""#,
        r#""wherry.dev/http.listen.web": "9001", "wherry.dev/http.listen": "9000""#,
        r#""wherry.dev/http.listen.other": "9001""#,
        r#""wherry.dev/http.listen": "0""#,
        r#""wherry.dev/http.listen": "http""#,
        r#""wherry.dev/root": "maybe""#,
        r#""wherry.dev/http.lisen": "9000""#,
        r#""wherry.dev/http-listen.web": "9000""#,
        r#""wherry.dev/roots": "none""#,
        r#""wherry.dev/frobnicate": "1""#,
        r#""wherry.dev/": "1""#,
    ]
    .map(annotations);
    let outside_of_pods = [
        r#"{"wherry.dev/root": "none"}"#,
        r#"{"wherry.dev/root.web": "none"}"#,
        r#"{"wherry.dev/root.web": "none", "io.kubernetes.cri.container-type": "sandbox"}"#,
    ];
    let cases: Vec<(&str, &str)> = lists
        .iter()
        .map(String::as_str)
        .chain(outside_of_pods)
        .map(|list| ("/annotations", list))
        .collect();
    let tell = |plan: &Plan| format!("{} {}", plan.run.http_listen, plan.run.preopens.len());
    told(
        &cases,
        "",
        &node(),
        tell,
        expect![[r#"
            {"io.kubernetes.cri.container-name": "web", "example.org/http.listen": "9"}: 0.0.0.0:8080 1
            {"io.kubernetes.cri.container-name": "web", "wherry.dev/http.listen": "9000"}: 0.0.0.0:9000 1
            {"io.kubernetes.cri.container-name": "web", "wherry.dev/http.listen": ":9000"}: 0.0.0.0:9000 1
            {"io.kubernetes.cri.container-name": "web", "wherry.dev/http.listen": "[::1]:9000"}: [::1]:9000 1
            {"io.kubernetes.cri.container-name": "web", "wherry.dev/http.listen.web": "9001", "wherry.dev/http.listen": "9000"}: 0.0.0.0:9001 1
            {"io.kubernetes.cri.container-name": "web", "wherry.dev/http.listen.other": "9001"}: 0.0.0.0:8080 1
            {"io.kubernetes.cri.container-name": "web", "wherry.dev/http.listen": "0"}: refused: wherry.dev/http.listen is "0": it must be a port or an address with a port, such as 8080 or 127.0.0.1:8080
            {"io.kubernetes.cri.container-name": "web", "wherry.dev/http.listen": "http"}: refused: wherry.dev/http.listen is "http": it must be a port or an address with a port, such as 8080 or 127.0.0.1:8080
            {"io.kubernetes.cri.container-name": "web", "wherry.dev/root": "maybe"}: refused: wherry.dev/root is "maybe": it must be none or default
            {"io.kubernetes.cri.container-name": "web", "wherry.dev/http.lisen": "9000"}: refused: wherry.dev/http.lisen is not a key Wherry knows, did you mean http.listen? (known: http.listen, root)
            {"io.kubernetes.cri.container-name": "web", "wherry.dev/http-listen.web": "9000"}: refused: wherry.dev/http-listen.web is not a key Wherry knows, did you mean http.listen? (known: http.listen, root)
            {"io.kubernetes.cri.container-name": "web", "wherry.dev/roots": "none"}: refused: wherry.dev/roots is not a key Wherry knows, did you mean root? (known: http.listen, root)
            {"io.kubernetes.cri.container-name": "web", "wherry.dev/frobnicate": "1"}: refused: wherry.dev/frobnicate is not a key Wherry knows (known: http.listen, root)
            {"io.kubernetes.cri.container-name": "web", "wherry.dev/": "1"}: refused: wherry.dev/ is not a key Wherry knows (known: http.listen, root)
            {"wherry.dev/root": "none"}: 0.0.0.0:8080 0
            {"wherry.dev/root.web": "none"}: refused: wherry.dev/root.web is for "web", and only containers of a pod have such names: leave it out
            {"wherry.dev/root.web": "none", "io.kubernetes.cri.container-type": "sandbox"}: 0.0.0.0:8080 1
        "#]],
    );
    told(
        &cases[..3],
        "locked = [\"http.listen\"]\n[defaults]\nhttp.listen = 7000",
        &node(),
        tell,
        expect![[r#"
            {"io.kubernetes.cri.container-name": "web", "example.org/http.listen": "9"}: 0.0.0.0:7000 1
            {"io.kubernetes.cri.container-name": "web", "wherry.dev/http.listen": "9000"}: refused: wherry.dev/http.listen is locked by the administrator of this node: remove the annotation
            {"io.kubernetes.cri.container-name": "web", "wherry.dev/http.listen": ":9000"}: refused: wherry.dev/http.listen is locked by the administrator of this node: remove the annotation
        "#]],
    );
}

#[test]
fn options_are_known_or_refused() {
    let check = |text: &str, expected: Expect| {
        expected.assert_eq(&match Options::parse(text) {
            Ok(options) => format!("{options:?}"),
            Err(refusal) => format!("refused: {refusal}"),
        });
    };
    check(
        "",
        expect![[
            r#"Options { cgroup_driver: Auto, cache_dir: "/var/lib/wherry/cache", cache_max_bytes: 4294967296, compile_memory_bytes: 2147483648, compile_timeout_seconds: 120, runc: RuncOptions { binary_name: "runc", root: "/run/containerd/runc", no_pivot_root: false, no_new_keyring: false, shim_cgroup: "", io_uid: 0, io_gid: 0 }, defaults: {}, locked: {} }"#
        ]],
    );
    check(
        "TypeUrl = \"runtimeoptions.v1.Options\"\ncache_dir = \"/c\"\n[defaults]\n\"http.listen\" = \"80\"",
        expect![[
            r#"Options { cgroup_driver: Auto, cache_dir: "/c", cache_max_bytes: 4294967296, compile_memory_bytes: 2147483648, compile_timeout_seconds: 120, runc: RuncOptions { binary_name: "runc", root: "/run/containerd/runc", no_pivot_root: false, no_new_keyring: false, shim_cgroup: "", io_uid: 0, io_gid: 0 }, defaults: {HttpListen: "80"}, locked: {} }"#
        ]],
    );
    check(
        "BinaryName = \"crun\"\nRoot = \"/run/r\"\nNoPivotRoot = true\nIoUid = 7\nCriuPath = \"\"",
        expect![[
            r#"Options { cgroup_driver: Auto, cache_dir: "/var/lib/wherry/cache", cache_max_bytes: 4294967296, compile_memory_bytes: 2147483648, compile_timeout_seconds: 120, runc: RuncOptions { binary_name: "crun", root: "/run/r", no_pivot_root: true, no_new_keyring: false, shim_cgroup: "", io_uid: 7, io_gid: 0 }, defaults: {}, locked: {} }"#
        ]],
    );
    check(
        "CriuWorkPath = \"/w\"",
        expect![[
            r#"refused: CriuWorkPath is "/w" in the runtime's options: checkpoints are not supported, leave it out"#
        ]],
    );
    check(
        "cache_dirs = \"/c\"",
        expect![
            "refused: the runtime's options can't be read: line 1: unknown field `cache_dirs`, expected one of `SystemdCgroup`, `systemd_cgroup`, `BinaryName`, `Root`, `NoPivotRoot`, `NoNewKeyring`, `ShimCgroup`, `IoUid`, `IoGid`, `CriuPath`, `CriuImagePath`, `CriuWorkPath`, `cache_dir`, `cache_max_bytes`, `compile_memory_bytes`, `compile_timeout_seconds`, `defaults`, `locked`, `TypeUrl`"
        ],
    );
    check(
        "\ncache_dir = 7",
        expect![
            "refused: the runtime's options can't be read: line 2: invalid type: integer `7`, expected path string"
        ],
    );
    check(
        "cache_dir = \"c\"",
        expect![[
            r#"refused: the runtime's options set cache_dir to "c": it must be an absolute path"#
        ]],
    );
    check(
        "cache_dir",
        expect![
            "refused: the runtime's options can't be read: line 1: key with no value, expected `=`"
        ],
    );
    check(
        "compile_memory_bytes = 0",
        expect![
            "refused: the runtime's options set compile_memory_bytes to 0: nothing could be compiled"
        ],
    );
    check(
        "compile_memory_bytes = -1",
        expect![
            "refused: the runtime's options can't be read: line 1: invalid value: integer `-1`, expected u64"
        ],
    );
    check(
        "locked = [\"http.lisen\"]",
        expect![[
            r#"refused: the runtime's options lock "http.lisen", which is not a key Wherry knows, did you mean http.listen? (known: http.listen, root)"#
        ]],
    );
    check(
        "[defaults]\nhttp.listen = true",
        expect![
            "refused: [defaults] http.listen of the runtime's options is a boolean: write a string"
        ],
    );
    check(
        "[defaults]\nroots = \"none\"",
        expect![
            "refused: [defaults] roots of the runtime's options is not a key Wherry knows, did you mean root? (known: http.listen, root)"
        ],
    );
    check(
        "[defaults]\nroot = \"all\"",
        expect![[
            r#"refused: [defaults] root of the runtime's options is "all": it must be none or default"#
        ]],
    );
}

#[test]
fn features_tell_what_is_honoured() {
    let features = spec::features();
    let words = |pointer: &str| -> Vec<String> {
        let list = features.pointer(pointer).and_then(Value::as_array).expect("a list");
        list.iter().map(|word| word.as_str().expect("a word").to_owned()).collect()
    };
    for word in words("/mountOptions") {
        let kind = match word.as_str() {
            "tmpcopyup" => "tmpfs",
            "idmap" | "ridmap" => "bind",
            _ => "ext4",
        };
        let one = r#"[{"containerID": 0, "hostID": 1, "size": 1}]"#;
        let ids = match kind {
            "bind" => format!(r#", "uidMappings": {one}, "gidMappings": {one}"#),
            _ => String::new(),
        };
        let mount = format!(
            r#"[{{"destination": "/a", "type": "{kind}", "source": "/b", "options": ["{word}"]{ids}}}]"#
        );
        let plan = plan(&changed("/mounts", &mount), "", &node()).expect("honoured");
        assert_eq!(
            plan.sandbox.mounts[0].data, "",
            "{word} is taken for an option of the file system"
        );
    }
    for kind in words("/linux/namespaces").iter().filter(|kind| *kind != "mount" && *kind != "user")
    {
        plan(
            &changed(
                "/linux/namespaces",
                &format!(r#"[{{"type": "mount"}}, {{"type": "{kind}"}}]"#),
            ),
            "",
            &node(),
        )
        .expect("honoured");
    }
    assert!(serde_json::from_value::<oci_spec::runtime::Features>(features.clone()).is_ok());
    assert_eq!(features["linux"]["mountExtensions"]["idmap"]["enabled"], true);
}
