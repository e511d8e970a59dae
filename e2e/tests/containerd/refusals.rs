//! What can't be run is refused when the container is made, with a sentence that names it, and leaves nothing.

use anyhow::{Context, Result, ensure};
use containerd_client::tonic::Code;
use serde_json::{Value, json};
use wherry_e2e::guests;
use wherry_e2e::image::Recipe;
use wherry_e2e::suite::{Case, For, World};
use wherry_e2e::task::Container;

pub(crate) const CASES: &[Case] = &[
    ("an_empty_file_is_refused", For::Wherry, |w| module(w, "empty", b"", &["app.wasm"])),
    ("a_text_is_refused", For::Wherry, |w| {
        module(w, "text", b"hello, I am a poem\n", &["app.wasm"])
    }),
    ("a_truncated_module_is_refused", For::Wherry, |w| {
        let whole = std::fs::read(guests::path("hello")?)?;
        module(w, "truncated", &whole[..whole.len() / 2], &["app.wasm"])
    }),
    ("a_module_of_noise_is_refused", For::Wherry, |w| {
        let noise: Vec<u8> =
            (0..4096u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        module(w, "noise", &[b"\0asm\x01\0\0\0".as_slice(), &noise].concat(), &["app.wasm"])
    }),
    ("broken_text_is_refused", For::Wherry, |w| {
        module(w, "broken-text", b"(module (func", &["app.wasm"])
    }),
    ("an_import_that_nothing_provides_is_named", For::Wherry, |w| {
        let wat =
            b"(module (import \"env\" \"launch_missiles\" (func)) (func (export \"_start\")))";
        module(w, "import", wat, &["env", "launch_missiles"])
    }),
    ("a_module_that_is_no_command_is_refused", For::Wherry, |w| {
        module(w, "no-command", b"(module (func (export \"main_loop\")))", &["_start"])
    }),
    ("a_missing_program_is_named", For::Wherry, |w| {
        let spec = |spec: &mut Value| spec["process"]["args"] = json!(["/nowhere.wasm"]);
        refused(w, w.guest("hello")?.edit(spec), &["/nowhere.wasm"])
    }),
    ("a_missing_export_is_named", For::Wherry, |w| {
        let spec = |spec: &mut Value| spec["process"]["args"] = json!(["/greet.wasm#shout"]);
        refused(w, w.guest("greet")?.edit(spec), &["shout"])
    }),
    ("an_unknown_annotation_of_ours_is_named", For::Wherry, |w| {
        refused(w, w.guest("hello")?.annotation("wherry.dev/fly", "yes"), &["wherry.dev/fly"])
    }),
    ("a_bad_value_of_an_annotation_is_named", For::Wherry, |w| {
        let container = w.guest("http-p2")?.annotation("wherry.dev/http.listen", "somewhere");
        refused(w, container, &["wherry.dev/http.listen", "somewhere"])
    }),
    ("no_arguments_at_all_are_refused", For::Wherry, |w| {
        refused(w, w.guest("hello")?.edit(|spec| spec["process"]["args"] = json!([])), &["args"])
    }),
    ("a_mount_of_nothing_is_named", For::Wherry, |w| {
        let nothing = w.containerd.place.path("does-not-exist");
        refused(w, w.guest("hello")?.bind(&nothing, "/data", &["rw"]), &["does-not-exist"])
    }),
    ("a_cwd_that_is_a_file_is_named", For::Wherry, |w| {
        let spec = |spec: &mut Value| spec["process"]["cwd"] = json!("/hello.wasm");
        refused(w, w.guest("hello")?.edit(spec), &["/hello.wasm"])
    }),
    ("an_unknown_seccomp_action_is_named", For::Wherry, |w| {
        let spec = |spec: &mut Value| {
            spec["linux"]["seccomp"] = json!({ "defaultAction": "SCMP_ACT_MAYBE", "syscalls": [] })
        };
        refused(w, w.guest("hello")?.edit(spec), &["SCMP_ACT_MAYBE"])
    }),
    ("a_component_of_another_world_is_refused", For::Wherry, |w| {
        module(w, "world", b"(component)", &["wasi:cli/run", "wasi:http"])
    }),
    ("a_sysctl_of_the_whole_node_is_named", For::Wherry, |w| {
        let spec = |spec: &mut Value| spec["linux"]["sysctl"] = json!({ "vm.swappiness": "1" });
        refused(w, w.guest("hello")?.edit(spec), &["linux.sysctl", "vm.swappiness"])
    }),
    ("a_limit_above_the_kernels_is_named", For::Wherry, |w| {
        let limit = json!({ "type": "RLIMIT_NOFILE", "soft": 1024, "hard": u32::MAX });
        let spec = move |spec: &mut Value| spec["process"]["rlimits"] = json!([limit]);
        refused(w, w.guest("hello")?.edit(spec), &["process.rlimits RLIMIT_NOFILE", "fs.nr_open"])
    }),
    ("a_capability_that_linux_has_not_is_named", For::Wherry, |w| {
        let spec =
            |spec: &mut Value| spec["process"]["capabilities"]["bounding"] = json!(["CAP_FLY"]);
        refused(w, w.guest("hello")?.edit(spec), &["process.capabilities", "CAP_FLY"])
    }),
    ("a_hook_that_fails_is_told_with_what_it_said", For::Wherry, |w| {
        let hook = json!({ "path": "/bin/sh", "args": ["sh", "-c", "echo no place >&2; exit 3"] });
        let spec = move |spec: &mut Value| spec["hooks"]["createRuntime"] = json!([hook]);
        refused(w, w.guest("hello")?.edit(spec), &["createRuntime", "no place"])
    }),
    ("a_compile_that_takes_too_long_is_ended", For::Wherry, |w| {
        bomb(w, "time", "compile_timeout_seconds = 1")
    }),
    ("a_compile_that_takes_too_much_memory_is_ended", For::Wherry, |w| {
        bomb(w, "memory", "compile_memory_bytes = 100000000")
    }),
    ("a_cache_that_cannot_be_is_named", For::Wherry, |w| {
        let nowhere = w.containerd.place.path("no-folder");
        std::fs::write(&nowhere, "")?;
        let options = format!("cache_dir = {nowhere:?}");
        refused(w, w.guest("hello")?.options(&options), &["cache", "no-folder"])
    }),
    ("an_unknown_option_is_named", For::Wherry, |w| {
        refused(w, w.guest("hello")?.options("cache_folder = '/'"), &["line 1", "cache_folder"])
    }),
];

/// A program that takes long to compile, with an option that allows less.
fn bomb(world: &World, name: &str, option: &str) -> Result<()> {
    let mut program = String::from("(module (memory 1) (func (export \"_start\"))");
    for n in 0..30_000 {
        program += "(func (param i32) (result i32) local.get 0";
        for k in 0..20 {
            program += &format!(" i32.const {} i32.mul i32.load offset={k}", n + k);
        }
        program += ")";
    }
    program += ")";
    let reference = format!("wherry.test/bomb-{name}:1");
    let image = world.pack(Recipe::program(&reference, "app.wat", program.into_bytes()))?;
    let (key, _) = option.split_once(' ').context("a key and its value")?;
    refused(world, Container::of(&image).options(option), &["cannot compile", key])
}

/// A module that is the whole image.
fn module(world: &World, name: &str, content: &[u8], words: &[&str]) -> Result<()> {
    let reference = format!("wherry.test/bad-{name}:1");
    let image = world.pack(Recipe::program(&reference, "app.wasm", content.to_vec()))?;
    refused(world, Container::of(&image), words)
}

fn refused(world: &World, container: Container, words: &[&str]) -> Result<()> {
    static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let id = format!("bad-{}", NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed));
    let told = container.id(&id).create(&world.containerd).err().context("it was made")?;
    for word in words {
        ensure!(told.message.contains(word), "{word:?} is not in: {told}");
    }
    // Unknown is what a runtime says that did not think about it.
    ensure!(told.code != Code::Unknown, "{told}");
    ensure!(told.message.len() < 4000, "a sentence, not {} bytes", told.message.len());
    let bundle = world.containerd.bundle(&id);
    ensure!(!bundle.exists(), "{} is left", bundle.display());
    Ok(())
}
