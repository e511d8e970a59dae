#!/usr/bin/env bash
# build.sh ARCH…: the programs for each architecture, what they are made of, and the images of them in dist/images.
# REGISTRY and TAG name the images; SOURCE_DATE_EPOCH is the commit's time if nobody says another.
set -euo pipefail
cd "$(dirname "$0")/.."
builds=${CARGO_TARGET_DIR:-$PWD/target}
words=()
for arch in "$@"; do
  case $arch in
    amd64) target=x86_64-unknown-linux-musl ;;
    arm64) target=aarch64-unknown-linux-musl ;;
    *) echo "there are no images for $arch: amd64 and arm64 are known" >&2 && exit 1 ;;
  esac
  e2e/rig/programs.sh "$target" wherry-operator wherry-node
  images/boms.sh "$target" "$builds/$target/boms"
  words+=(--programs "$arch=$builds/$target/release" --boms "$arch=$builds/$target/boms")
done
# Only what was committed can be named by a commit.
if commit=$(git rev-parse HEAD 2>/dev/null) && [ -z "$(git status --porcelain --untracked-files=no)" ]; then
  words+=(--commit "$commit")
  export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
fi
[ -z "${REGISTRY:-}" ] || words+=(--repository "$REGISTRY")
[ -z "${TAG:-}" ] || words+=(--tag "$TAG")
[ -z "${SOURCE:-}" ] || words+=(--source "$SOURCE")
cargo run --quiet --release -p wherry-images -- "${words[@]}" --out dist/images
