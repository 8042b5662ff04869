//! Kubernetes: CRD types of bpfman.io/v1alpha1
