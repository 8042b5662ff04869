//! Other calls of the CSI plugin, and invalid requests.

use std::collections::HashMap;

use bpfman_proto::csi::v1;
use bpfman_proto::csi::v1::volume_capability::access_mode::Mode;
use bpfman_proto::csi::v1::volume_capability::{AccessMode, AccessType, BlockVolume};
use bpfman_tests::csi::mount;
use bpfman_tests::{Daemon, Launch, MountNamespace};
use tonic::Code;

use crate::csi_equipment::{APPLICATION, Node};

#[test]
fn the_plugin_says_who_it_is_and_what_it_does() {
    let node = Node::new();
    let csi = node.csi();
    let (info, capabilities, probe) = csi.identity();
    assert_eq!(
        (info.name.as_str(), info.vendor_version.as_str()),
        ("csi.bpfman.io", env!("CARGO_PKG_VERSION"))
    );
    assert_eq!(capabilities.capabilities, []);
    assert_eq!(probe.ready, Some(true));
    assert_eq!(
        csi.node_info(),
        v1::NodeGetInfoResponse { node_id: "node-a".to_owned(), max_volumes_per_node: 0 }
    );
    let group = v1::node_service_capability::Rpc {
        r#type: v1::node_service_capability::rpc::Type::VolumeMountGroup.into(),
    };
    let capability =
        v1::NodeServiceCapability { r#type: Some(v1::node_service_capability::Type::Rpc(group)) };
    assert_eq!(csi.node_capabilities().capabilities, [capability]);
    for call in [
        "/csi.v1.Node/NodeStageVolume",
        "/csi.v1.Node/NodeUnstageVolume",
        "/csi.v1.Node/NodeGetVolumeStats",
        "/csi.v1.Node/NodeExpandVolume",
        "/csi.v1.Controller/CreateVolume",
    ] {
        assert_eq!(csi.call(call).unwrap_err().code(), Code::Unimplemented, "{call}");
    }
}

#[test]
fn meaningless_request_is_refused_with_the_reason() {
    type Change = Box<dyn Fn(&mut v1::NodePublishVolumeRequest)>;
    fn attribute(key: &'static str, value: &'static str) -> Change {
        Box::new(move |request| {
            request.volume_context.insert(key.to_owned(), value.to_owned());
        })
    }
    fn volume(id: &'static str) -> Change {
        Box::new(move |request| request.volume_id = id.to_owned())
    }
    fn target(path: &'static str) -> Change {
        Box::new(move |request| request.target_path = path.to_owned())
    }
    fn capability(change: impl Fn(&mut v1::VolumeCapability) + 'static) -> Change {
        Box::new(move |request| change(request.volume_capability.as_mut().unwrap()))
    }
    fn mode(mode: Mode) -> Change {
        capability(move |capability| capability.access_mode = Some(AccessMode { mode: mode.into() }))
    }
    fn group(group: &'static str) -> Change {
        Box::new(move |request| mount(request).volume_mount_group = group.to_owned())
    }
    let cases: Vec<(Change, &str)> = vec![
        (volume(""), "volume id \"\" is empty"),
        (volume("a/b"), "\"a/b\" has a slash"),
        (volume(".."), "\"..\""),
        (volume("a\nb"), "control characters"),
        (target("pods/mount"), "target path \"pods/mount\""),
        (target(""), "target path \"\""),
        (target("/"), "target path \"/\""),
        (target("/pods/../etc"), "\"..\""),
        (Box::new(|request| request.volume_capability = None), "no volume capability"),
        (capability(|capability| capability.access_type = None), "neither mount nor block"),
        (
            capability(|capability| capability.access_type = Some(AccessType::Block(BlockVolume {}))),
            "not a block device",
        ),
        (capability(|capability| capability.access_mode = None), "access mode UNKNOWN"),
        (mode(Mode::MultiNodeMultiWriter), "access mode MULTI_NODE_MULTI_WRITER"),
        (mode(Mode::SingleNodeReaderOnly), "access mode SINGLE_NODE_READER_ONLY"),
        (Box::new(|request| mount(request).fs_type = "ext4".to_owned()), "fsType \"ext4\""),
        (Box::new(|request| mount(request).mount_flags = vec!["suid".to_owned()]), "mount flag \"suid\""),
        (group("wheel"), "\"wheel\" is not the number"),
        (group("-1"), "\"-1\""),
        (group("4294967295"), "\"4294967295\""),
        (Box::new(|request| request.volume_context = HashMap::new()), "csi.bpfman.io/program is missing"),
        (attribute("csi.bpfman.io/program", " "), "csi.bpfman.io/program is missing"),
        (attribute("csi.bpfman.io/maps", " "), "csi.bpfman.io/maps is missing"),
        (attribute("csi.bpfman.io/maps", "hits,"), "map name \"\" is empty"),
        (attribute("csi.bpfman.io/maps", "hits, ../trail"), "\"../trail\" has a slash"),
        (attribute("csi.bpfman.io/maps", "hits,trail, hits"), "names \"hits\" twice"),
        (attribute("csi.bpfman.io/maps", ".rodata"), "\".rodata\" has a dot"),
        (attribute("csi.bpfman.io/map", "hits"), "\"csi.bpfman.io/map\" is not known"),
        (attribute("csi.storage.k8s.io/ephemeral", "false"), "as long as their pod"),
    ];
    let node = Node::new();
    let _program = node.load(APPLICATION);
    let csi = node.csi();
    let before = node.own_mounts();
    for (change, says) in cases {
        let mut request = node.request("pod", "hits");
        change(&mut request);
        let refused = csi.publish(request).expect_err(says);
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");
        assert!(refused.message().contains(says), "{refused:?}");
    }
    assert_eq!(csi.unpublish("a/b", &node.target("pod")).unwrap_err().code(), Code::InvalidArgument);
    assert_eq!(csi.unpublish("pod", "pods".as_ref()).unwrap_err().code(), Code::InvalidArgument);
    assert_eq!(node.own_mounts(), before);
    assert_eq!(node.mounts("pod"), [""; 0]);
    assert_eq!(node.folders(), [""; 0]);
}

#[test]
fn every_mode_for_writers_of_one_node_is_taken() {
    let node = Node::new();
    let _program = node.load(APPLICATION);
    for mode in [Mode::SingleNodeWriter, Mode::SingleNodeSingleWriter, Mode::SingleNodeMultiWriter] {
        let mut request = node.request("pod", "hits");
        request.volume_capability.as_mut().unwrap().access_mode = Some(AccessMode { mode: mode.into() });
        node.csi().publish(request).unwrap();
    }
}

#[test]
fn daemon_without_node_name_does_not_start_with_the_plugin() {
    let (daemon, namespace) = (Daemon::prepare(), MountNamespace::new());
    let launch = |flags: &[&str], config: &str| Launch {
        flags: flags.iter().map(|&flag| flag.to_owned()).collect(),
        config: config.to_owned(),
        wrapper: namespace.wrapper(),
        ..Launch::default()
    };
    for launch in [launch(&["--csi-support"], ""), launch(&[], "[csi]\nenabled = true\n")] {
        let (status, said) = daemon.refuses(&launch);
        assert!(!status.success());
        assert!(said.contains("KUBE_NODE_NAME"), "{said}");
    }
    let mut daemon = daemon;
    let mut by_variable = launch(&["--allow-private-mounts"], "[csi]\nenabled = true\n");
    by_variable.environment.push(("KUBE_NODE_NAME".to_owned(), "node-b".to_owned()));
    daemon.again(&by_variable);
    let csi = bpfman_tests::csi::Csi::new(&daemon.path("run/csi/csi.sock"));
    assert_eq!(csi.node_info().node_id, "node-b");
}
