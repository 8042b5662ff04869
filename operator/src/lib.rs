//! The Kubernetes side: the custom resources of `bpfman.io/v1alpha1`, as types and as definitions.
//!
//! Field names, rules and defaults are those of the published API, so that manifests written for it stay valid.
//! Types that a user writes are in [`api`], what a node answers in [`api::state`], the definitions in [`crd`].

#![expect(
    clippy::duplicated_attributes,
    reason = "each printer column names its type and path; clippy takes the second one for a repetition"
)]

pub mod api;
pub mod crd;
