//! Passing of a descriptor to a client, which gRPC cannot do: the messages of a handover, specified in `maps.proto`.

use prost::Message;

/// First bytes of a handover connection. HTTP/2 begins with another byte.
pub const PREFACE: &[u8; 18] = b"bpfman-handover/1\n";

/// Maximum size of a request, in bytes, without its length.
pub const MAX_REQUEST: usize = 4 << 10;

/// Maximum size of an answer, in bytes, without its length: the largest is a failure with a hint.
pub const MAX_ANSWER: usize = 64 << 10;

/// Size of a length, in bytes.
pub const LENGTH: usize = 4;

/// Returns a message with its length in front of it.
#[must_use]
pub fn frame(message: &impl Message) -> Vec<u8> {
    let length = u32::try_from(message.encoded_len()).unwrap_or(u32::MAX);
    let mut bytes = Vec::with_capacity(LENGTH + message.encoded_len());
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(&message.encode_to_vec());
    bytes
}

/// Returns the length of the message that follows; none if it is more than `most`.
#[must_use]
pub fn length(bytes: [u8; LENGTH], most: usize) -> Option<usize> {
    usize::try_from(u32::from_be_bytes(bytes)).ok().filter(|length| *length <= most)
}
