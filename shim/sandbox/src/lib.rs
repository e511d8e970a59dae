//! The kernel's side of a container: namespaces, mounts, cgroups, privileges.
