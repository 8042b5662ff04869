//! From a layer's file to a checked object, verified while it is read.

use std::fs::File;
use std::io;

use bpfman_image_format::{BytecodeError, Descriptor, Digest, Endian, Hasher, ImageReference, check_object};

use crate::ImageError;
use crate::layer::{self, FoundObject, LayerError};

/// What reading a file from the cache came to.
pub(crate) enum Checked<T> {
    /// The file is what its name says; this is what was read from it.
    Whole(Result<T, ImageError>),
    /// It is not: nothing of it counts.
    Damaged,
}

/// Work on a file, off the runtime's own threads: it may take a while.
pub(crate) type LayerRead<T> = Box<dyn FnOnce() -> Result<Checked<T>, ImageError> + Send>;

/// Takes the object out of a layer and checks it, and the layer with it.
pub(crate) fn unpack(
    file: File,
    layer: &Descriptor,
    image: &ImageReference,
    expected: Endian,
) -> LayerRead<(FoundObject, Digest)> {
    let (digest, size, image) = (layer.digest, layer.size, image.clone());
    let what = format!("the layer {digest} of {}", image.name());
    Box::new(move || {
        let failed = |source| ImageError::Storage { path: digest.hex().into(), source };
        let mut reader = Hashing {
            inner: io::BufReader::with_capacity(64 << 10, file),
            hasher: Hasher::default(),
            read: 0,
        };
        let decoded = layer::decode(&mut reader);
        // What the decoder had no use for belongs to the digest all the same.
        io::copy(&mut reader, &mut io::sink()).map_err(failed)?;
        if reader.hasher.finish() != digest {
            return Ok(Checked::Damaged);
        }
        if reader.read != size {
            let source = format!("it has {} bytes, and the manifest says {size}", reader.read).into();
            return Err(ImageError::Malformed { what, source });
        }
        Ok(Checked::Whole(decoded.map_err(|error| refusal(error, &what)).and_then(|found| {
            let name = found.name.clone().unwrap_or_else(|| "the layer".to_owned());
            let unusable = |source| ImageError::Bytecode { image: image.to_string(), source };
            let order = check_object(&name, &found.bytes).map_err(unusable)?;
            if order != expected {
                let platform = "this machine".to_owned();
                return Err(unusable(BytecodeError::Endian { name, found: order, expected, platform }));
            }
            let digest = Digest::of(&found.bytes);
            Ok((found, digest))
        })))
    })
}

fn refusal(error: LayerError, what: &str) -> ImageError {
    let what = what.to_owned();
    match error {
        LayerError::TooLarge(limit) => ImageError::TooLarge { what, size: None, limit },
        error @ LayerError::Malformed(_) => ImageError::Malformed { what, source: error.into() },
    }
}

/// Computes the digest of what is read.
struct Hashing<R> {
    inner: R,
    hasher: Hasher,
    read: u64,
}

impl<R: io::Read> io::Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..read]);
        self.read += read as u64;
        Ok(read)
    }
}
