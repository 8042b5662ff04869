use bpfman_proto::ext::v1::{HandoverRequest, OpenMapRequest, handover_request, open_map_request};
use bpfman_proto::handover::{MAX_ANSWER, MAX_REQUEST, PREFACE, frame, length};
use prost::Message as _;

#[test]
fn a_frame_is_a_length_and_a_message() {
    let call =
        handover_request::Call::OpenForReading(OpenMapRequest { map: Some(open_map_request::Map::MapId(7)) });
    let request = HandoverRequest { call: Some(call) };
    let bytes = frame(&request);
    let (head, message) = bytes.split_first_chunk().unwrap();
    assert_eq!(length(*head, MAX_REQUEST), Some(message.len()));
    assert_eq!(HandoverRequest::decode(message).unwrap(), request);
}

#[test]
fn too_long_message_has_no_length() {
    assert_eq!(length([0, 0, 16, 0], MAX_REQUEST), Some(MAX_REQUEST));
    assert_eq!(length([0, 0, 16, 1], MAX_REQUEST), None);
    assert_eq!(length([0xff; 4], MAX_ANSWER), None);
    assert_ne!(PREFACE[0], b'P', "which HTTP/2 begins with");
}
