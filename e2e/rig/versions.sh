# What the suites run against: the one place where versions stand. Sourced by fetch.sh and bootstrap.sh.
#
# Debian's packages are named by suite and checked by version, because a mirror keeps only the newest
# build of each. Where a suite has moved on, containerd is built from its Go module instead.

RIG_CONTAINERD_17=1.7.24      # trixie
RIG_CONTAINERD_21=2.1.9       # sid
RIG_CONTAINERD_24=2.4.2       # Go module
RIG_RUNC=1.5.2                # Go module
RIG_DOCKER_26=26.1.5          # trixie
RIG_DOCKER_28=28.5.2          # sid
RIG_DOCKER_29=2.0.0-beta.24   # Go module github.com/moby/moby/v2: Docker Engine 29
RIG_KUBERNETES=1.36.3         # Go modules; the same stands in kube/go.mod, with etcd beside it
RIG_HELM_3=3.22.0             # Go modules
RIG_HELM_4=4.3.1
RIG_CRI_TOOLS=1.36.0          # Go module: crictl and critest
RIG_PROMETHEUS=0.85.0         # Go module of the Prometheus Operator, for its definitions
RIG_PROMETHEUS_SUM=h1:M5xLCLEoaW2IJfnuCwFzzpL+jSVQu3KGT84Pye+fW8s=
RIG_KWOK=0.8.0                # Go module
RIG_GO=1.26.6                 # what the modules above need; also a wheel on PyPI, for a machine with no Go
# What `go mod download -json` calls Sum, for the suites that are built from the sources of a module.
RIG_CONTAINERD_24_SUM=h1:p6Qg+xbEz8lvwdhHDx0U469xENvp4LgGBx+E7djXkGw=
RIG_CRI_TOOLS_SUM=h1:Xt+LLvBVH1Fnp/AR2EyHApyWS/88y2KlWjlDc2HR+aw=
