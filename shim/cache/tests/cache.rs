//! The cache in a folder of its own, by one process.

use std::fs::{self, File, Permissions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use wherry_cache::{Cache, Digest, Error, FillError};
use wherry_core::plan::Profile;

const ENGINE: &str = "48.0.8-abc";

struct Rig {
    dir: tempfile::TempDir,
}

impl Rig {
    fn new() -> Rig {
        Rig { dir: tempfile::tempdir().expect("a temporary folder") }
    }

    fn open(&self, max_bytes: u64) -> Cache {
        self.try_open(max_bytes).expect("the cache opens")
    }

    fn try_open(&self, max_bytes: u64) -> Result<Cache, Error> {
        Cache::open_at(&self.dir.path().join("cache"), &self.dir.path().join("run"), max_bytes)
    }

    fn path(&self, digest: &Digest, suffix: &str) -> std::path::PathBuf {
        self.dir.path().join("cache").join(ENGINE).join(format!("{digest}{suffix}"))
    }

    /// All files below the cache's folder.
    fn files(&self) -> Vec<String> {
        let mut names = Vec::new();
        for engine in fs::read_dir(self.dir.path().join("cache")).expect("the cache") {
            let engine = engine.expect("an entry").path();
            for file in fs::read_dir(&engine).expect("an engine's folder") {
                names.push(file.expect("an entry").file_name().to_string_lossy().into_owned());
            }
        }
        names.sort();
        names
    }
}

fn digest(n: u64) -> Digest {
    Digest::of(&n.to_le_bytes())
}

fn code(bytes: usize) -> Vec<u8> {
    let mut code = b"\x7fELF".to_vec();
    code.resize(bytes, 7);
    code
}

fn compiles(bytes: usize) -> impl FnOnce(&File) -> Result<Profile, std::io::Error> {
    move |mut out| out.write_all(&code(bytes)).map(|()| Profile::Command)
}

fn fails_to(what: &str) -> impl FnOnce(&File) -> Result<Profile, std::io::Error> {
    let what = what.to_owned();
    move |_| panic!("compiled again: {what}")
}

fn age(path: &Path, hours: u64) {
    let then = SystemTime::now() - Duration::from_secs(hours * 3600);
    File::open(path).and_then(|f| f.set_modified(then)).expect("the time of use is set");
}

fn told(error: &dyn std::error::Error) -> String {
    let mut told = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        told += &format!(": {cause}");
        source = cause.source();
    }
    told
}

#[test]
fn what_is_filled_is_found_and_read_only() {
    let rig = Rig::new();
    let cache = rig.open(1 << 20);
    assert!(cache.lookup(ENGINE, &digest(1)).expect("a lookup").is_none());
    let filled = cache.fill(ENGINE, &digest(1), compiles(5000)).expect("a fill");
    assert_eq!((filled.profile, filled.bytes), (Profile::Command, 5000));
    let found = cache.lookup(ENGINE, &digest(1)).expect("a lookup").expect("an entry");
    assert_eq!(Digest::of_file(&found.file).expect("a hash"), Digest::of(&code(5000)));
    assert!((&found.file).write_all(b"x").is_err());
    assert_eq!(
        fs::metadata(rig.path(&digest(1), ".cwasm")).expect("the code").mode() & 0o777,
        0o400
    );
    assert_eq!(rig.files(), [format!("{}.cwasm", digest(1)), format!("{}.json", digest(1))]);
    cache.fill(ENGINE, &digest(1), fails_to("what is there")).expect("an entry");
    assert!(cache.lookup("another-engine", &digest(1)).expect("a lookup").is_none());
}

#[test]
fn a_failed_compilation_leaves_nothing() {
    let rig = Rig::new();
    let cache = rig.open(1 << 20);
    let failed = cache.fill(ENGINE, &digest(1), |mut out| {
        out.write_all(b"\x7fELF half").expect("a write");
        Err::<Profile, _>("no such import")
    });
    assert!(matches!(failed, Err(FillError::Compile("no such import"))));
    assert_eq!(rig.files(), [""; 0]);
}

#[test]
fn only_code_is_kept() {
    let rig = Rig::new();
    let cache = rig.open(1 << 20);
    for (bytes, sentence) in [
        (&b""[..], "the compiler left nothing instead of code"),
        (b"\x7fE", "the compiler left a stump instead of code"),
        (b"\0asm\x01\0\0\0", "the compiler left something that is not ELF instead of code"),
    ] {
        let kept = cache
            .fill(ENGINE, &digest(1), |mut out| out.write_all(bytes).map(|()| Profile::Command));
        assert_eq!(kept.map(|_| ()).map_err(|e| e.to_string()), Err(sentence.to_owned()));
    }
    assert_eq!(rig.files(), [""; 0]);
}

#[test]
fn damaged_code_is_compiled_again_and_never_returned() {
    type Damage = fn(&Rig, &Digest);
    let damages: [(&str, Damage); 6] = [
        ("truncated", |rig, digest| {
            let code =
                File::options().write(true).open(rig.path(digest, ".cwasm")).expect("the code");
            code.set_len(100).expect("shorter");
        }),
        ("changed", |rig, digest| {
            let path = rig.path(digest, ".cwasm");
            let mut bytes = fs::read(&path).expect("the code");
            bytes[200] ^= 1;
            // As root nothing stops us, and the change time tells.
            fs::write(&path, bytes).expect("changed");
        }),
        ("gone", |rig, digest| fs::remove_file(rig.path(digest, ".cwasm")).expect("removed")),
        ("without a sidecar", |rig, digest| {
            fs::remove_file(rig.path(digest, ".json")).expect("removed");
        }),
        ("with half a sidecar", |rig, digest| {
            fs::write(rig.path(digest, ".json"), b"{\"profile\":").expect("written");
        }),
        ("with an empty sidecar", |rig, digest| {
            fs::write(rig.path(digest, ".json"), b"").expect("written");
        }),
    ];
    for (name, damage) in damages {
        let rig = Rig::new();
        let cache = rig.open(1 << 20);
        cache.fill(ENGINE, &digest(1), compiles(5000)).expect("a fill");
        damage(&rig, &digest(1));
        assert!(cache.lookup(ENGINE, &digest(1)).expect("a lookup").is_none(), "{name}");
        cache.fill(ENGINE, &digest(1), compiles(6000)).expect("a second fill");
        let found = cache.lookup(ENGINE, &digest(1)).expect("a lookup").expect("an entry");
        assert_eq!(found.bytes, 6000, "{name}");
    }
}

#[test]
fn verify_removes_what_is_damaged_and_tells() {
    let rig = Rig::new();
    let cache = rig.open(1 << 20);
    for n in 1..=3 {
        cache.fill(ENGINE, &digest(n), compiles(5000)).expect("a fill");
    }
    let path = rig.path(&digest(2), ".cwasm");
    let mut bytes = fs::read(&path).expect("the code");
    bytes[4999] ^= 1;
    fs::write(&path, bytes).expect("changed");
    let verified = cache.verify().expect("verified");
    assert_eq!((verified.sound, verified.unsound), (2, vec![(ENGINE.to_owned(), digest(2))]));
    assert_eq!(cache.list().expect("a list").len(), 2);
}

#[test]
fn other_engines_go_first_and_then_the_least_recently_used() {
    let rig = Rig::new();
    let cache = rig.open(20_000);
    for n in 1..=3 {
        cache.fill(ENGINE, &digest(n), compiles(5000)).expect("a fill");
    }
    cache.fill("an-old-engine", &digest(4), compiles(5000)).expect("a fill");
    // The oldest by use, of this engine; the old engine's entry is the youngest.
    for (n, hours) in [(2, 30), (3, 20), (1, 10)] {
        age(&rig.path(&digest(n), ".json"), hours);
    }
    cache.fill(ENGINE, &digest(5), compiles(5000)).expect("a fill");
    let kept = |cache: &Cache| -> Vec<Digest> {
        cache.list().expect("a list").into_iter().map(|entry| entry.digest).collect()
    };
    assert_eq!(kept(&cache), [digest(2), digest(3), digest(1), digest(5)]);
    // Use makes young.
    cache.lookup(ENGINE, &digest(2)).expect("a lookup").expect("an entry");
    cache.fill(ENGINE, &digest(6), compiles(5000)).expect("a fill");
    let left = kept(&cache);
    assert!(left.contains(&digest(2)) && !left.contains(&digest(3)), "{left:?}");
}

#[test]
fn one_entry_may_be_larger_than_the_bound() {
    let rig = Rig::new();
    let cache = rig.open(1000);
    cache.fill(ENGINE, &digest(1), compiles(5000)).expect("a fill");
    assert!(cache.lookup(ENGINE, &digest(1)).expect("a lookup").is_some());
    cache.fill(ENGINE, &digest(2), compiles(5000)).expect("a fill");
    assert!(cache.lookup(ENGINE, &digest(1)).expect("a lookup").is_none());
}

#[test]
fn prune_takes_away_what_crashes_left_and_empty_folders() {
    let rig = Rig::new();
    let cache = rig.open(1 << 20);
    cache.fill(ENGINE, &digest(1), compiles(5000)).expect("a fill");
    for suffix in [".cwasm", ".cwasm.new", ".json.new", ".lock"] {
        fs::write(rig.path(&digest(2), suffix), b"left").expect("written");
    }
    fs::create_dir(rig.dir.path().join("cache/an-old-engine")).expect("a folder");
    fs::create_dir(rig.dir.path().join("cache/lost+found")).expect("a folder");
    cache.prune(Some(ENGINE)).expect("pruned");
    assert_eq!(rig.files(), [format!("{}.cwasm", digest(1)), format!("{}.json", digest(1))]);
    assert!(!rig.dir.path().join("cache/an-old-engine").exists());
    assert!(rig.dir.path().join("cache/lost+found").exists());
}

#[test]
fn a_folder_that_others_could_write_is_refused() {
    let rig = Rig::new();
    let dir = rig.dir.path().join("cache");
    let refusal = || told(&rig.try_open(1).expect_err("a refusal"));
    fs::create_dir(&dir).expect("a folder");
    fs::set_permissions(&dir, Permissions::from_mode(0o777)).expect("a mode");
    assert_eq!(
        refusal(),
        format!(
            "the cache folder {} is writable by others (mode 777): it must belong to root alone (mode 0700)",
            dir.display()
        )
    );
    fs::remove_dir(&dir).expect("removed");
    symlink("/tmp", &dir).expect("a link");
    assert_eq!(
        refusal(),
        format!("can't open the cache folder {}: Not a directory (os error 20)", dir.display())
    );
    fs::remove_file(&dir).expect("removed");
    fs::write(&dir, b"").expect("a file");
    assert!(refusal().ends_with("Not a directory (os error 20)"));
}

#[test]
fn an_engine_id_is_no_path() {
    let rig = Rig::new();
    let cache = rig.open(1);
    for id in ["", "..", "a/b", ".hidden", "a b"] {
        assert!(matches!(cache.lookup(id, &digest(1)), Err(Error::EngineId { .. })), "{id}");
    }
}

#[test]
fn digests_are_read_as_images_write_them() {
    let hex = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!(Digest::of(b"abc").as_str(), hex);
    assert_eq!(format!("sha256:{hex}").parse::<Digest>().expect("a digest").as_str(), hex);
    for wrong in ["", "sha256:", &hex[1..], &hex.to_uppercase(), "sha512:00"] {
        assert!(wrong.parse::<Digest>().is_err(), "{wrong}");
    }
}

/// A small file system of its own, for as long as it lives.
struct Disk(std::path::PathBuf);

impl Disk {
    fn mount(at: &Path, size: &str) -> Disk {
        let data = std::ffi::CString::new(format!("size={size}")).expect("text");
        rustix::mount::mount(
            "none",
            at,
            "tmpfs",
            rustix::mount::MountFlags::empty(),
            Some(data.as_c_str()),
        )
        .expect("this test mounts a tmpfs, which takes root and CAP_SYS_ADMIN");
        Disk(at.to_owned())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        rustix::mount::unmount(&self.0, rustix::mount::UnmountFlags::DETACH).expect("unmounted");
    }
}

#[test]
fn a_full_disk_is_told_and_leaves_nothing() {
    let rig = Rig::new();
    let dir = rig.dir.path().join("cache");
    fs::create_dir(&dir).expect("a folder");
    let _disk = Disk::mount(&dir, "64k");
    fs::set_permissions(&dir, Permissions::from_mode(0o700)).expect("a mode");
    let cache = rig.open(1 << 20);
    let sentence = |suffix| {
        let path = rig.path(&digest(1), suffix);
        let path = path.display();
        format!("no space is left for {path} in the cache: free some, or lower cache_max_bytes")
    };
    // The compiler runs out of space in the middle.
    let full = cache.fill(ENGINE, &digest(1), compiles(1 << 20)).expect_err("no space");
    assert_eq!(full.to_string(), sentence(".cwasm"));
    assert_eq!(rig.files(), [""; 0]);
    // Code that leaves no room for its sidecar.
    let full = cache.fill(ENGINE, &digest(1), compiles(64 << 10)).expect_err("no space");
    assert_eq!(full.to_string(), sentence(".json"));
    assert!(cache.lookup(ENGINE, &digest(1)).expect("a lookup").is_none());
    cache.prune(None).expect("pruned");
    cache.fill(ENGINE, &digest(1), compiles(5000)).expect("what fits is kept");
}

#[test]
fn a_warm_lookup_takes_microseconds() {
    let rig = Rig::new();
    let cache = rig.open(1 << 30);
    cache.fill(ENGINE, &digest(1), compiles(8 << 20)).expect("a fill");
    let mut times: Vec<_> = (0..200)
        .map(|_| {
            let start = Instant::now();
            cache.lookup(ENGINE, &digest(1)).expect("a lookup").expect("an entry");
            start.elapsed()
        })
        .collect();
    times.sort();
    let median = times[times.len() / 2];
    println!("median {median:?}");
    // Hashing eight megabytes takes milliseconds: this tells whether it is done again.
    assert!(median < Duration::from_millis(1), "{median:?}");
}

#[test]
fn what_a_dead_filler_left_is_taken_away_and_nothing_else() {
    let rig = Rig::new();
    let cache = rig.open(u64::MAX);
    cache.fill(ENGINE, &digest(1), compiles(100)).expect("filled");
    let whole = rig.files();
    for left in [rig.path(&digest(1), ".lock"), rig.path(&digest(2), ".lock")] {
        File::create(left).expect("a lock that nobody holds");
    }
    fs::write(rig.path(&digest(2), ".cwasm"), code(10)).expect("code without its sidecar");
    cache.abandon(ENGINE, &digest(1)).expect("abandoned");
    cache.abandon(ENGINE, &digest(2)).expect("abandoned");
    assert_eq!(rig.files(), whole);
    assert!(cache.lookup(ENGINE, &digest(1)).expect("a lookup").is_some());
}
