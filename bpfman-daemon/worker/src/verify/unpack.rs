use std::io::Read;

use bpfman_image_format::layer::{self, FoundObject, LayerError};
use bpfman_image_format::{BytecodeError, Descriptor, Endian, ImageReference, check_object};

use bpfmand_image::ImageError;

pub(super) fn unpack(
    content: impl Read,
    layer: &Descriptor,
    image: &ImageReference,
    expected: Endian,
) -> Result<FoundObject, ImageError> {
    let what = format!("the layer {} of {}", layer.digest, image.name());
    let found = layer::decode(content).map_err(|error| refusal(error, &what))?;
    let name = found.name.clone().unwrap_or_else(|| "the layer".to_owned());
    let unusable =
        |source: BytecodeError| ImageError::Bytecode { image: image.to_string(), source: source.into() };
    let order = check_object(&name, &found.bytes).map_err(unusable)?;
    if order != expected {
        let platform = "this machine".to_owned();
        return Err(unusable(BytecodeError::Endian { name, found: order, expected, platform }));
    }
    Ok(found)
}

fn refusal(error: LayerError, what: &str) -> ImageError {
    let what = what.to_owned();
    match error {
        LayerError::TooLarge(limit) => ImageError::TooLarge { what, size: None, limit },
        error @ LayerError::NoObject(_) => ImageError::NoObject { what, source: error.into() },
        error @ LayerError::Unsupported(_) => ImageError::Unsupported { what, source: error.into() },
        error @ LayerError::Malformed(_) => ImageError::Malformed { what, source: error.into() },
    }
}
