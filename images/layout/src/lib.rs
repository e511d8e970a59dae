//! OCI layouts ("image-layout.md" of the image spec): layers, blobs by their digests, and the folder or the archive
//! that they lie in.
//!
//! Nothing here knows the time, the machine or the user: the same files come to the same bytes.

mod blobs;
mod layer;

pub use blobs::{Blobs, Member, sha256};
pub use layer::Layer;

pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// On a descriptor of `index.json`: what `skopeo`, `crane` and `oras` know the image by.
pub const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// The same for containerd (`core/images/archive/reference.go`) and Docker.
pub const IMAGE_NAME: &str = "io.containerd.image.name";

/// As OCI names a processor architecture that Rust names so.
pub fn architecture(of_rust: &str) -> &str {
    match of_rust {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
