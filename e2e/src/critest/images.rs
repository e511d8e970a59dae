//! The images that critest pulls, made here under their own names.
//!
//! What the cases rely on, and therefore is so: busybox has an `ipcs` and a `pgrep`; nginx and httpd serve on port 80
//! and the nginx of the host's network on 12003; nginx says "master process" in its command line and writes its
//! process id to `/var/run/nginx.pid`, and httpd says its name in its log; three images have one tag each, one has
//! three, one has two registries; five have a user.
//!
//! In the Wasm column busybox is `wasmbox`, nginx a `wasi:http` component, and the other servers are wasmbox's. Of the
//! image `nonewprivs` only a native program with a set-user-id bit can be made.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::PAUSE;
use crate::foreign::Column;
use crate::foreign::layers::{GROUP, Layer, PASSWD, base, busybox, manifest, wasmbox};
use crate::guests;
use crate::image::{Blobs, architecture};
use crate::rig;

const KUBERNETES: &str = "registry.k8s.io/e2e-test-images";
const CRI_TOOLS: &str = "gcr.io/k8s-staging-cri-tools";

/// What Debian's busybox has not. As PID 1 a shell has no signal that it does not trap.
const SCRIPTS: &[(&str, &str)] = &[
    ("ipcs", "#!/bin/sh\nexec cat /proc/sysvipc/shm\n"),
    ("pgrep", "#!/bin/sh\nexec busybox pidof \"$1\"\n"),
];

/// nginx, as far as the cases know it.
const NGINX: &str = "\
#!/bin/sh
trap 'kill $!; exit 0' TERM QUIT
echo $$ > /var/run/nginx.pid
httpd -f -p \"$2\" -h /www &
wait $!
";

const HTTPD: &str = "echo httpd serves; exec httpd -f -p 80 -h /www";

/// An image to be: what it is made of, and what its config says.
struct Image {
    name: String,
    layers: Vec<Vec<u8>>,
    config: Value,
}

/// Writes a layout with all images of a column into `folder`.
pub fn write(column: Column, folder: &Path) -> Result<()> {
    let tools = toolbox(column)?;
    let mut images = vec![
        image(format!("{KUBERNETES}/busybox:1.29-2"), &tools, &["sh"]),
        nginx(column, &tools)?,
        image(format!("{KUBERNETES}/httpd:2.4.39-4"), &tools, &["sh", "-c", HTTPD]),
        host_nginx(&tools),
        nonewprivs()?,
        image(PAUSE.to_string(), &native_pause()?, &["busybox", "sleep", "2147483647"]),
    ];
    images.extend(named(&tools));
    images.extend(of_users(&tools)?);
    let mut blobs = Blobs::default();
    let mut descriptors = Vec::new();
    for image in images {
        let config = image.config;
        let mut descriptor =
            manifest(&mut blobs, ("linux", architecture(), ""), config, &image.layers);
        descriptor["annotations"] = json!({ "org.opencontainers.image.ref.name": image.name });
        descriptors.push(descriptor);
    }
    blobs.write_folder(folder, &descriptors)
}

/// A file system with tools, and a page to be served.
fn toolbox(column: Column) -> Result<Vec<Vec<u8>>> {
    let programs = match column {
        Column::Runc | Column::Native => {
            let mut programs = busybox()?;
            programs.scripts = SCRIPTS;
            programs
        }
        Column::Wasmbox => {
            let names = wherry_wasmbox::APPLETS.iter().copied();
            wasmbox(&names.filter(|name| *name != "wasmbox").collect::<Vec<_>>())?
        }
    };
    let page = Layer::default().file("www/index.html", 0o644, b"served\n");
    let run = Layer::default().folder("var/run", 0o755);
    Ok(vec![base(&programs).pack()?, page.pack()?, run.pack()?])
}

fn native_pause() -> Result<Vec<Vec<u8>>> {
    Ok(vec![Layer::default().file("bin/busybox", 0o755, &fs::read(rig::busybox()?)?).pack()?])
}

/// Its config names the image too: images are told apart by the hash of their config.
fn image(name: String, layers: &[Vec<u8>], command: &[&str]) -> Image {
    let config = json!({
        "Cmd": command, "Env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"], "Labels": { "name": name }
    });
    Image { name, layers: layers.to_vec(), config }
}

fn with(layers: &[Vec<u8>], more: Layer) -> Result<Vec<Vec<u8>>> {
    let mut layers = layers.to_vec();
    layers.push(more.pack()?);
    Ok(layers)
}

fn nginx(column: Column, tools: &[Vec<u8>]) -> Result<Image> {
    let name = format!("{KUBERNETES}/nginx:1.14-2");
    match column {
        Column::Runc | Column::Native => {
            let script = Layer::default().file("usr/sbin/nginx", 0o755, NGINX.as_bytes());
            Ok(image(name, &with(tools, script)?, &["nginx", "master process", "80"]))
        }
        Column::Wasmbox => {
            let component = fs::read(guests::path("http-p2")?)?;
            let file = Layer::default().file("nginx.wasm", 0o755, &component);
            Ok(image(name, &with(tools, file)?, &["/nginx.wasm", "master process"]))
        }
    }
}

/// The nginx of a pod in the host's network, on the port that the case knows.
fn host_nginx(tools: &[Vec<u8>]) -> Image {
    let name = format!("{CRI_TOOLS}/hostnet-nginx-{}:latest", architecture());
    image(name, tools, &["httpd", "-f", "-p", "12003", "-h", "/www"])
}

fn nonewprivs() -> Result<Image> {
    let file = rig::need(&rig::root().join("bin/nonewprivs"), "e2e/rig/fetch.sh critest")?;
    let content = fs::read(&file).with_context(|| file.display().to_string())?;
    let layer = Layer::default().file("nnp", 0o4755, &content).pack()?;
    Ok(image(format!("{KUBERNETES}/nonewprivs:1.3"), &[layer], &["/nnp"]))
}

/// Images that are pulled, listed and removed by their names.
fn named(tools: &[Vec<u8>]) -> Vec<Image> {
    // They are run by what they say themselves, too, and removed while they run: one that ended by itself at that time
    // would be containerd's own race (`stopContainer` finds no task, and the exit is not noted yet).
    let one = |name: &str| image(name.to_string(), tools, &["sleep", "1000000"]);
    let same = |names: &[&str]| -> Vec<Image> {
        let first = one(names[0]);
        let image = |name: &&str| Image {
            name: name.to_string(),
            layers: first.layers.clone(),
            config: first.config.clone(),
        };
        names.iter().map(image).collect()
    };
    let own = |tag: &str| format!("{CRI_TOOLS}/test-image-{tag}");
    let mut images: Vec<Image> =
        ["latest:latest", "tag:test", "tag:all", "1:latest", "2:latest", "3:latest"]
            .iter()
            .map(|tag| one(&own(tag)))
            .collect();
    images.extend(same(&[&own("tags:1"), &own("tags:2"), &own("tags:3")]));
    images.extend(same(&["registry.k8s.io/pause:3.9", "k8s.gcr.io/pause:3.9"]));
    images
}

fn of_users(tools: &[Vec<u8>]) -> Result<Vec<Image>> {
    let of = |name: &str, user: &str, layers: &[Vec<u8>]| {
        let mut image = image(format!("{CRI_TOOLS}/test-image-{name}:latest"), layers, &["sh"]);
        image.config["User"] = json!(user);
        image
    };
    let passwd = format!("{PASSWD}default-user:x:1000:1000::/home:/bin/sh\n");
    let group =
        format!("{GROUP}default-user:x:1000:\ngroup-defined-in-image:x:50000:default-user\n");
    let grouped = Layer::default().file("etc/passwd", 0o644, passwd.as_bytes()).file(
        "etc/group",
        0o644,
        group.as_bytes(),
    );
    Ok(vec![
        of("user-uid", "1002", tools),
        of("user-username", "www-data", tools),
        of("user-uid-group", "1003:users", tools),
        of("user-username-group", "www-data:100", tools),
        of("predefined-group", "1000", &with(tools, grouped)?),
    ])
}
