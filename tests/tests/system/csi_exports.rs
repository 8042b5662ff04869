//! Exports of maps: pods get the maps that the application exports to their namespace, and no others.

use bpfman_proto::csi::v1::NodePublishVolumeRequest;
use bpfman_proto::v1::ListRequest;
use tonic::Code;

use crate::csi_equipment::{APPLICATION, Node, map_of};

const NAME: (&str, &str) = ("bpfman.io/ProgramName", APPLICATION);
const CLUSTER: (&str, &str) = ("bpfman.io/uuid", "uid-of-the-application");
const EXPORTS: &str = "bpfman.io/map-exports";

fn request(
    node: &Node,
    pod: &str,
    namespace: &str,
    application: &str,
    maps: &str,
    read_only: bool,
) -> NodePublishVolumeRequest {
    let mut request = node.request(pod, maps);
    let attributes =
        [("csi.storage.k8s.io/pod.namespace", namespace), ("csi.bpfman.io/program", application)];
    request.volume_context.extend(attributes.map(|(key, value)| (key.to_owned(), value.to_owned())));
    request.readonly = read_only;
    request
}

fn refused(node: &Node, request: NodePublishVolumeRequest) -> (Code, String) {
    let pod = request.volume_id.clone();
    let refused = node.csi().publish(request).unwrap_err();
    node.assert_absent(&pod);
    (refused.code(), refused.message().to_owned())
}

#[test]
fn pods_get_nothing_of_a_cluster_application_that_says_nothing() {
    let node = Node::new();
    let _program = node.load_with(&[NAME, CLUSTER]);
    for read_only in [true, false] {
        let (code, says) = refused(&node, request(&node, "pod", "evil", APPLICATION, "hits", read_only));
        assert_eq!(code, Code::PermissionDenied);
        assert!(says.contains("does not give map \"hits\" to pods of namespace \"evil\""), "{says}");
        assert!(says.contains("spec.mapExports [{map: hits, namespaces: [\"evil\"], access:"), "{says}");
    }
    let _by_hand = node.load_with(&[("bpfman.io/ProgramName", "by-hand")]);
    let (code, says) = refused(&node, request(&node, "pod", "evil", "by-hand", "hits", true));
    assert_eq!(code, Code::PermissionDenied);
    assert!(says.contains("bpfman load --export-map hits=evil"), "{says}");
}

#[test]
fn maps_go_only_to_namespaces_that_the_application_names() {
    let node = Node::new();
    let program = node.load_with(&[NAME, CLUSTER, (EXPORTS, "hits=reader,writer;hits=writer:rw")]);
    let csi = node.csi();
    csi.publish(request(&node, "reads", "reader", APPLICATION, "hits", true)).unwrap();
    csi.publish(request(&node, "writes", "writer", APPLICATION, "hits", false)).unwrap();
    assert_eq!(node.published("reads"), ["hits"]);
    assert_eq!(node.map_id("writes", "hits"), map_of(&program, "hits"));
    for (namespace, maps, read_only, says) in [
        ("reader", "hits", false, "for writing; it does for reading: write readOnly: true into the volume"),
        ("reader", "hits,trail", true, "does not give map \"trail\" to pods of namespace \"reader\""),
        ("writer", "trail", true, "does not give map \"trail\" to pods of namespace \"writer\""),
        ("other", "hits", true, "does not give map \"hits\" to pods of namespace \"other\""),
    ] {
        let (code, said) = refused(&node, request(&node, "pod", namespace, APPLICATION, maps, read_only));
        assert_eq!(code, Code::PermissionDenied);
        assert!(said.contains(says), "{said}");
    }
}

#[test]
fn own_namespace_of_an_application_gets_its_maps_by_default() {
    let node = Node::new();
    let owned = [CLUSTER, ("bpfman.io/ProgramNamespace", "shop")];
    let quiet = node.load_with(&[&owned[..], &[NAME]].concat());
    let _telling = node.load_with(
        &[&owned[..], &[("bpfman.io/ProgramName", "telling"), (EXPORTS, "hits=bank;trail=shop")]].concat(),
    );
    let csi = node.csi();
    csi.publish(request(&node, "own", "shop", APPLICATION, "hits", false)).unwrap();
    assert_eq!(node.map_id("own", "hits"), map_of(&quiet, "hits"));
    csi.publish(request(&node, "trail", "shop", "telling", "trail", true)).unwrap();
    // The map is named in full, since the pod's own namespace is searched first.
    csi.publish(request(&node, "bank", "bank", "shop/telling", "hits", true)).unwrap();
    for (namespace, application, maps, code) in [
        ("shop", "telling", "hits", Code::PermissionDenied),
        ("bank", "shop/telling", "trail", Code::PermissionDenied),
        ("bank", "shop/counter", "hits", Code::PermissionDenied),
        ("bank", "telling", "hits", Code::NotFound),
        ("bank", "mall/telling", "hits", Code::NotFound),
    ] {
        let refused = refused(&node, request(&node, "pod", namespace, application, maps, true));
        assert_eq!(refused.0, code, "{application} for {namespace}: {}", refused.1);
    }
}

#[test]
fn configuration_applies_to_maps_without_an_export_as_before() {
    for (word, writes) in [("read", false), ("write", true)] {
        let node = Node::with_config(&format!("[csi]\nunexported_maps = \"{word}\"\n"));
        let _program = node.load_with(&[NAME, CLUSTER]);
        let _telling = node.load_with(&[("bpfman.io/ProgramName", "telling"), (EXPORTS, "")]);
        node.csi().publish(request(&node, "reads", "any", APPLICATION, "hits", true)).unwrap();
        let written = node.csi().publish(request(&node, "writes", "any", APPLICATION, "hits", false));
        assert_eq!(written.is_ok(), writes, "{written:?}");
        let (code, _) = refused(&node, request(&node, "pod", "any", "telling", "hits", true));
        assert_eq!(code, Code::PermissionDenied);
        let (code, _) = refused(&node, request(&node, "pod", "any", "shop/none", "hits", true));
        assert_eq!(code, Code::NotFound);
    }
}

#[test]
fn load_with_unreadable_exports_is_refused_and_changes_nothing() {
    let node = Node::new();
    for (exports, says) in [
        ("hits", "\"hits\" is not MAP=NAMESPACE"),
        ("hits=Web", "\"Web\" is no name of a namespace"),
        ("../hits=web", "\"../hits\" is no name of a map"),
    ] {
        let refused = node.try_load_with(&[NAME, (EXPORTS, exports)]).unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
        assert!(refused.message().contains(says), "{refused:?}");
    }
    let ours = ListRequest { bpfman_programs_only: Some(true), ..Default::default() };
    assert_eq!(node.daemon.wire().list(ours).unwrap().results.len(), 0);
}
