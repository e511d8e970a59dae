//! What no WebAssembly guest can do, said by name instead of done by half.

use crate::call::{Call, Failure, Outcome};

fn refuse(why: &str) -> Outcome {
    Err(Failure::new(why))
}

/// `chmod`, `chown`, `chgrp`
pub(super) fn modes(_: &Call<'_>) -> Outcome {
    refuse("WASI knows neither modes nor owners of files: set them in the image or the volume")
}

pub(super) fn nodes(_: &Call<'_>) -> Outcome {
    refuse("WASI makes no special files")
}

pub(super) fn umount(_: &Call<'_>) -> Outcome {
    refuse("a WebAssembly guest cannot unmount")
}

pub(super) fn ping(_: &Call<'_>) -> Outcome {
    refuse("WASI has no raw sockets: try nc -z HOST PORT or wget --spider URL")
}

pub(super) fn space(_: &Call<'_>) -> Outcome {
    refuse("WASI does not tell the space of file systems: see du for that of files")
}

pub(super) fn stty(_: &Call<'_>) -> Outcome {
    refuse("WASI tells nothing about a terminal but that it is one")
}
