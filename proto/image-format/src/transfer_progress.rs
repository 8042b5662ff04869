/// Callback for the progress of a transfer: transferred bytes, total bytes.
pub type TransferProgress<'a> = &'a (dyn Fn(u64, u64) + Send + Sync);
