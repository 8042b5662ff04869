//! A real node, or two: kubelet and containerd run our own images, deployed as users deploy them.
//!
//! The images are made of the binaries of this build; with `BPFMAN_IMAGES` (`make test-kube-node`) they are those of
//! `packaging/containers`, in that folder.
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
