//! Tests on one or two real nodes: kubelet and containerd run the project's images, deployed as users deploy them.
//!
//! The images contain the binaries of this build. If `BPFMAN_IMAGES` is set (`make test-kube-node`), those of
//! `packaging/containers` in that directory are used instead.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod flood;
mod gallery;
mod images;
mod inherited;
mod measure;
mod names;
mod node;
mod observers;
mod pods;
mod protected;
mod samples;
mod sides;
mod unprivileged;
mod whole;
