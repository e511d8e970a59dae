//! From what containerd hands over to a plan.
