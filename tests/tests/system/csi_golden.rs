//! Encodings of `csi.v1` and `pluginregistration`, written by hand from their tables of tags.

use bpfman_proto::csi::v1;
use bpfman_proto::csi::v1::volume_capability::{AccessMode, AccessType, BlockVolume, MountVolume};
use bpfman_proto::pluginregistration as registration;
use bpfman_tests::requests::pairs;
use prost::Message as _;

use crate::golden::{assert_bytes, field};

#[test]
fn a_volume_that_is_published() {
    let mount = MountVolume {
        fs_type: "bpf".to_owned(),
        mount_flags: vec!["ro".to_owned()],
        volume_mount_group: "42".to_owned(),
    };
    let mount_bytes = b"\x0a\x03bpf\x12\x02ro\x1a\x0242";
    assert_bytes(&mount, mount_bytes);
    let capability = v1::VolumeCapability {
        access_type: Some(AccessType::Mount(mount)),
        access_mode: Some(AccessMode { mode: 7 }),
    };
    let capability_bytes = [&field(2, mount_bytes)[..], b"\x1a\x02\x08\x07"].concat();
    assert_bytes(&capability, &capability_bytes);
    let request = v1::NodePublishVolumeRequest {
        volume_id: "v".to_owned(),
        target_path: "/t".to_owned(),
        volume_capability: Some(capability),
        readonly: true,
        volume_context: pairs(&[("k", "w")]),
    };
    let bytes =
        [b"\x0a\x01v\x22\x02/t", &field(5, &capability_bytes)[..], b"\x30\x01\x42\x06\x0a\x01k\x12\x01w"]
            .concat();
    assert_bytes(&request, &bytes);
    // Unused fields that a kubelet sends: publish context, staging path, secrets.
    let more =
        [&bytes[..], b"\x12\x06\x0a\x01a\x12\x01b", b"\x1a\x02/s", b"\x3a\x06\x0a\x01c\x12\x01d"].concat();
    assert_eq!(v1::NodePublishVolumeRequest::decode(&more[..]).unwrap(), request);
    assert_bytes(&v1::NodePublishVolumeResponse {}, b"");
}

#[test]
fn a_block_volume() {
    let capability =
        v1::VolumeCapability { access_type: Some(AccessType::Block(BlockVolume {})), access_mode: None };
    assert_bytes(&capability, b"\x0a\x00");
}

#[test]
fn a_volume_that_is_unpublished() {
    let request = v1::NodeUnpublishVolumeRequest { volume_id: "v".to_owned(), target_path: "/t".to_owned() };
    assert_bytes(&request, b"\x0a\x01v\x12\x02/t");
}

#[test]
fn plugin_and_node_messages_have_golden_bytes() {
    let info = v1::GetPluginInfoResponse { name: "n".to_owned(), vendor_version: "1".to_owned() };
    assert_bytes(&info, b"\x0a\x01n\x12\x011");
    assert_bytes(&v1::ProbeResponse { ready: Some(true) }, b"\x0a\x02\x08\x01");
    assert_bytes(&v1::ProbeResponse { ready: Some(false) }, b"\x0a\x00");
    let node = v1::NodeGetInfoResponse { node_id: "a".to_owned(), max_volumes_per_node: 300 };
    assert_bytes(&node, b"\x0a\x01a\x10\xac\x02");
    let rpc = v1::node_service_capability::Rpc { r#type: 6 };
    let capability = v1::NodeServiceCapability { r#type: Some(v1::node_service_capability::Type::Rpc(rpc)) };
    assert_bytes(
        &v1::NodeGetCapabilitiesResponse { capabilities: vec![capability] },
        b"\x0a\x04\x0a\x02\x08\x06",
    );
}

#[test]
fn registration_messages_have_golden_bytes() {
    let info = registration::PluginInfo {
        r#type: "CSIPlugin".to_owned(),
        name: "n".to_owned(),
        endpoint: "/e".to_owned(),
        supported_versions: vec!["1.0.0".to_owned(), "2".to_owned()],
    };
    assert_bytes(&info, b"\x0a\x09CSIPlugin\x12\x01n\x1a\x02/e\x22\x051.0.0\x22\x012");
    let status = registration::RegistrationStatus { plugin_registered: true, error: "no".to_owned() };
    assert_bytes(&status, b"\x08\x01\x12\x02no");
}
