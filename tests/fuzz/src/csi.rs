//! Messages of a kubelet: headers of old versions, and requests for volumes.

use std::collections::HashMap;

use bpfman_proto::csi::v1;
use bpfmand_csi::{Publication, VolumeId, fuzzing};
use prost::Message as _;

/// Reads input as a connection and as a request. Panics if the forwarded data depends on how the bytes arrive or is
/// longer than the input, or if a volume's name leads out of its directory.
pub fn run(bytes: &[u8]) {
    let passed = fuzzing::passed_on(bytes, usize::MAX);
    assert!(passed.len() <= bytes.len(), "more is passed on than came");
    assert_eq!(passed, fuzzing::passed_on(bytes, 7), "by pieces of 7 bytes another result");
    let Ok(request) = v1::NodePublishVolumeRequest::decode(bytes) else { return };
    if let Ok(publication) = Publication::parse(&request) {
        assert!(is_file_name(publication.volume.as_str()), "{publication:?}");
        assert!(publication.target.is_absolute(), "{publication:?}");
    }
    if let Ok(volume) = VolumeId::parse(&request.volume_id) {
        assert!(is_file_name(volume.as_str()), "{volume:?}");
    }
}

fn is_file_name(name: &str) -> bool {
    !name.is_empty() && name != "." && name != ".." && !name.contains('/')
}

pub fn seeds() -> Vec<Vec<u8>> {
    use v1::volume_capability::access_mode::Mode;
    use v1::volume_capability::{AccessMode, AccessType, MountVolume};
    let context = [
        ("csi.bpfman.io/program", "counter"),
        ("csi.bpfman.io/maps", "a,b"),
        ("csi.storage.k8s.io/pod.namespace", "team"),
        ("csi.storage.k8s.io/ephemeral", "true"),
    ];
    let request = v1::NodePublishVolumeRequest {
        volume_id: "csi-1234".to_owned(),
        target_path: "/var/lib/kubelet/pods/1/volumes/mount".to_owned(),
        volume_capability: Some(v1::VolumeCapability {
            access_mode: Some(AccessMode { mode: Mode::SingleNodeWriter.into() }),
            access_type: Some(AccessType::Mount(MountVolume::default())),
        }),
        volume_context: context
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into_iter()
            .collect::<HashMap<_, _>>(),
        ..Default::default()
    };
    let mut connection = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    connection.extend([0, 0, 0, 4, 0, 0, 0, 0, 0]);
    let headers = [&[0x83, 0x86, 0x41, 0x0a][..], b"/var/lib/k"].concat();
    connection.extend([0, 0, headers.len() as u8, 1, 4, 0, 0, 0, 1]);
    connection.extend(headers);
    vec![request.encode_to_vec(), connection]
}
