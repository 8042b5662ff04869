//! What `kubectl-bpfman` asks and shows.
