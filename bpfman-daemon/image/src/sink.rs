use crate::ImageError;

/// Receiver of a blob. Size and digest are verified, and its content may be used, only after the transfer returned `Ok`.
pub trait Sink: Send {
    /// Takes the next bytes. Fails if they cannot be kept.
    fn write(&mut self, bytes: &[u8]) -> Result<(), ImageError>;
    /// Discards the bytes so far, because the blob starts again. Fails if they cannot be discarded.
    fn restart(&mut self) -> Result<(), ImageError>;
}

impl Sink for Vec<u8> {
    fn write(&mut self, bytes: &[u8]) -> Result<(), ImageError> {
        self.extend_from_slice(bytes);
        Ok(())
    }

    fn restart(&mut self) -> Result<(), ImageError> {
        self.clear();
        Ok(())
    }
}
