#!/usr/bin/env bash
# Links a program of aarch64-unknown-linux-musl so that it has a random address: rustc's target has no static
# position-independent executables (it has them for x86_64) and links at a fixed one, though it brings musl's start
# files for both and compiles position-independent code. The words for the one are replaced by those for the other.
set -euo pipefail
words=()
for word in "$@"; do
  case $word in
    -no-pie) continue ;;
    -static) word=-static-pie ;;
    */crt1.o) word=${word%crt1.o}rcrt1.o ;;
    */crtbegin.o) word=${word%crtbegin.o}crtbeginS.o ;;
    */crtend.o) word=${word%crtend.o}crtendS.o ;;
  esac
  words+=("$word")
done
exec aarch64-linux-gnu-gcc "${words[@]}"
