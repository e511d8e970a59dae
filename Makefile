# What each target does and needs: make help

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

TARGET ?= $(shell uname -m)-unknown-linux-musl
HOST   := $(shell uname -m)-unknown-linux-musl
CACHE  := $(HOME)/.cache/wherry
# Outside the checkout, so that a fresh clone builds warm.
export CARGO_TARGET_DIR ?= $(CACHE)/target
export WHERRY_RIG       ?= $(CACHE)/rig
export WHERRY_GUESTS    ?= $(CACHE)/guests
export WHERRY_PROGRAMS  ?= $(CARGO_TARGET_DIR)/$(HOST)/release
export PATH := $(HOME)/.cargo/bin:/usr/local/go/bin:$(PATH)

# What `make test` runs against; name fewer to be quicker: make test-containerd CONTAINERD=2.4
CONTAINERD ?= 1.7 2.1 2.4
# Docker Engine, and where it keeps images: in containerd's store, or in its own, as each does by itself up to 28.
# There are also 26/containerd, 28/docker and 29/docker.
DOCKER     ?= 26/docker 28/containerd 29/containerd

E2E := cargo test --quiet -p wherry-e2e

.PHONY: help
help: ## this list
	@awk -F':.*## ' '/^[a-z0-9-]+:.*## /{printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: demo
demo: toolchain programs ## runs Wasm containers on a private containerd, beside runc (root; installs what is missing)
	@e2e/rig/fetch.sh demo
	@cargo run --quiet -p wherry-e2e --bin guests -- hello hello-wat env files cat
	@cargo run --quiet -p wherry-e2e --bin demo

.PHONY: test
test: test-unit test-containerd conformance test-crash test-cri storm-short test-upgrade test-docker test-kubernetes ## every suite that a change has time for (root; warm half an hour; cold it leaves out what MINUTES has no time for, and says so: MINUTES=1000)

# Kubernetes is one Go program that takes a quarter of an hour to build. These suites come last, and none is begun after
# MINUTES of one make. test-node, test-fleet and test-chart, seven to fourteen minutes each, are targets of their own.
MINUTES ?= 45
BEGAN   := $(shell date +%s)
.PHONY: test-kubernetes
test-kubernetes: ## test-cluster and test-operator, as long as MINUTES are not over (root)
	@for suite in test-cluster test-operator; do \
	  if (( $$(date +%s) - $(BEGAN) > $(MINUTES) * 60 )); then echo "== NOT RUN, after $(MINUTES) minutes: make $$suite"; \
	  else echo "== $$suite"; $(MAKE) --no-print-directory $$suite; fi; done

.PHONY: test-unit
test-unit: toolchain ## pure and kernel tests, no daemon (root; Rust)
	cargo test --quiet -p wherry-core -p wherry-cache -p wherry-sandbox \
	  -p containerd-shim-wherry -p wherry-engine -p wherry-cli -p wherry-wasmbox
	$(E2E) --lib

.PHONY: test-node
test-node: rig programs ## the node agent and containerd's configuration on 1.7, 2.1 and 2.4, killed at every step (root; a quarter of an hour)
	cargo test --quiet -p wherry-report -p wherry-containerd -p wherry-grpc -p wherry-node

.PHONY: test-containerd
test-containerd: rig guests programs ## the programs under real containerd 1.7, 2.1 and 2.4 (root)
	for v in $(CONTAINERD); do echo "== containerd $$v"; WHERRY_CONTAINERD=$$v $(E2E) --test containerd; done

.PHONY: conformance
conformance: rig guests programs ## every call in every state, beside containerd's own shim (root; e2e/CONFORMANCE.md)
	for v in $(CONTAINERD); do echo "== containerd $$v"; WHERRY_CONTAINERD=$$v $(E2E) --test conformance; done

.PHONY: test-crash
test-crash: rig guests programs ## kill -9 of every program at every stage leaves nothing (root)
	for v in $(CONTAINERD); do echo "== containerd $$v"; WHERRY_CONTAINERD=$$v $(E2E) --test crash; done

.PHONY: test-cri
test-cri: rig guests programs ## pods and crictl on containerd's CRI plugin, with and without a sandbox of the shim's own (root)
	for v in $(CONTAINERD); do echo "== containerd $$v"; WHERRY_CONTAINERD=$$v $(E2E) --test cri; done

.PHONY: test-upgrade
test-upgrade: rig guests programs ## containerd 1.7 becomes 2.4 under containers, and our programs others (root)
	$(E2E) --test upgrade

.PHONY: test-load
test-load: rig guests programs ## a gigabyte through the streams, lines as fast as they come, 200 containers (root)
	$(E2E) --test load -- --nocapture

.PHONY: storm
storm: rig guests programs ## 1,000 rounds of random calls and kill -9, nothing wedged or left (root; WHERRY_SEED= WHERRY_ROUNDS= repeat one)
	WHERRY_CONTAINERD=$(lastword $(CONTAINERD)) WHERRY_ROUNDS=$${WHERRY_ROUNDS:-1000} \
	  WHERRY_SEED=$${WHERRY_SEED:-$$(od -An -N4 -tu4 /dev/urandom | tr -d ' ')} $(E2E) --test storm

.PHONY: storm-short
storm-short: rig guests programs ## a hundred of these rounds, always the same (root)
	WHERRY_CONTAINERD=$(lastword $(CONTAINERD)) WHERRY_ROUNDS=100 WHERRY_SEED=4 $(E2E) --test storm

.PHONY: test-docker
test-docker: rig guests programs ## the programs under Docker Engine 26, 28 and 29, with and without the containerd image store (root)
	for d in $(DOCKER); do echo "== Docker $$d"; \
	  WHERRY_DOCKER=$${d%/*} WHERRY_DOCKER_STORE=$${d#*/} $(E2E) --test docker; done

.PHONY: test-cluster
test-cluster: toolchain guests programs ## pods on a Kubernetes of nodes with containerd 1.7 and 2.4, and the documents on 2.1, too (root; 4 GB of disk, cold 15 minutes more)
	e2e/rig/fetch.sh fleet
	$(E2E) --test cluster
	$(E2E) --test walk

.PHONY: test-operator
test-operator: toolchain programs ## the planner over random fleets, and the operator on a real API server (root; Kubernetes, cold 15 minutes more)
	e2e/rig/fetch.sh operator
	e2e/rig/programs.sh $(HOST) wherry-operator wherry-fleet
	cargo test --quiet -p wherry-report -p wherry-operator-core -p wherry-operator -p wherry-fleet
	$(E2E) --test operator

.PHONY: test-chart
test-chart: toolchain guests programs ## the chart by Helm 3 and 4: text, schema, and from install to uninstall on a cluster (root; as test-cluster)
	e2e/rig/fetch.sh cluster helm
	e2e/rig/programs.sh $(HOST) wherry-operator wherry-node
	$(E2E) --test chart
	$(E2E) --test release

.PHONY: manifests
manifests: toolchain ## deploy/operator and definitions anew, from charts/wherry and the operator's types
	e2e/rig/fetch.sh helm
	UPDATE_EXPECT=1 cargo test --quiet -p wherry-operator-core --test crds --test chart
	UPDATE_EXPECT=1 $(E2E) --test chart deploy render

.PHONY: test-fleet
test-fleet: toolchain guests programs ## Wherry brought to three nodes by Helm and its operator, upgraded, broken, repaired, removed (root; as test-cluster)
	e2e/rig/fetch.sh fleet helm
	e2e/rig/programs.sh $(HOST) wherry-operator wherry-node
	cargo test --quiet -p wherry-layout -p wherry-images
	$(E2E) --test fleet

.PHONY: test-scale
test-scale: toolchain programs ## the operator on a thousand nodes that kwok plays, killed and failed over (root; Kubernetes; ten minutes; NODES="1000 5000")
	e2e/rig/fetch.sh scale
	e2e/rig/programs.sh $(HOST) wherry-operator
	for n in $(or $(NODES),1000); do WHERRY_NODES=$$n $(E2E) --test scale -- --nocapture; done

.PHONY: test-client
test-client: rig guests programs ## containerd's own suite, integration/client, on runc, native and wasmbox (root; RUNS="native")
	e2e/rig/fetch.sh client-suite
	cargo run --quiet -p wherry-e2e --bin client-suite -- $(RUNS)

.PHONY: test-critest
test-critest: toolchain guests programs ## critest on runc, native and wasmbox, on containerd 1.7 and 2.4 (root; CRITEST="2.4 runc", CRITEST=--write)
	e2e/rig/fetch.sh critest
	cargo run --quiet -p wherry-e2e --bin critest -- $(CRITEST)

.PHONY: bench-density
bench-density: toolchain guests programs ## 250 idle pods on a node: memory of each, time to Ready beside runc (root; what test-cluster needs)
	e2e/rig/fetch.sh cluster
	$(E2E) --test density -- --nocapture

.PHONY: bench
bench: rig guests programs ## latency and memory beside runc and an empty shim, in one run (root; RUNTIMES="io.containerd.x.v1" adds more)
	cargo build --quiet --profile bench -p wherry-e2e --bins
	cargo run --quiet --profile bench -p wherry-e2e --bin bench -- $(RUNTIMES)

.PHONY: lint
lint: toolchain ## format, clippy, dependency rules (Rust; cargo-deny is built once)
	cargo fmt --all --check
	cargo clippy --quiet --workspace --all-targets -- -D warnings
	e2e/rig/deny.sh

.PHONY: test-v2
test-v2: guests programs ## the suites on systemd and cgroup v2, in an emulated machine (root; two hours; ROUNDS="systemd/crash")
	e2e/rig/fetch.sh machine
	e2e/rig/machine.sh $(ROUNDS)

.PHONY: audit
audit: toolchain ## known vulnerabilities of what we depend on (network)
	e2e/rig/deny.sh advisories

.PHONY: programs
programs: toolchain ## the three programs for this machine and wasmbox.wasm, as released
	@e2e/rig/programs.sh $(HOST)

.PHONY: dist
dist: toolchain ## release programs in dist/<target>/, static and stripped (TARGET=aarch64-unknown-linux-musl too)
	@e2e/rig/programs.sh $(TARGET) wherry-fleet
	@mkdir -p dist/$(TARGET)
	@install -m 0755 $(addprefix $(CARGO_TARGET_DIR)/$(TARGET)/release/,containerd-shim-wherry-v1 wherry-guest wherry wherry-fleet) dist/$(TARGET)/
	@install -m 0644 $(CARGO_TARGET_DIR)/$(TARGET)/release/wasmbox.wasm dist/$(TARGET)/
	@ls -l dist/$(TARGET)

.PHONY: images
images: toolchain ## images of the operator and of the node agent in dist/images (ARCH="amd64 arm64" REGISTRY=registry.example/wherry TAG=1.0.0)
	@REGISTRY="$(REGISTRY)" TAG="$(TAG)" images/build.sh $(or $(ARCH),amd64 arm64)

.PHONY: toolchain
toolchain: ## Rust, a C compiler for musl, and what else a build needs (apt, rustup)
	@e2e/rig/bootstrap.sh

.PHONY: rig
rig: toolchain ## containerd, Docker Engine and runc of the tested versions, unpacked or built into ~/.cache/wherry
	e2e/rig/fetch.sh test

.PHONY: guests
guests: toolchain ## the example programs in Rust, C and Go
	e2e/rig/fetch.sh guests
	cargo run --quiet -p wherry-e2e --bin guests
