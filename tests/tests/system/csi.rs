//! Volumes of maps for pods.

use std::fs;
use std::os::unix::fs::MetadataExt as _;

use bpfman_proto::v1::BpfmanProgramType as Type;
use bpfman_tests::csi::{mount, publish};
use bpfman_tests::requests::{file, load, number, pairs};
use bpfman_tests::{Outcome, compile, kernel};
use tonic::Code;

use crate::csi_equipment::{APPLICATION, GROUP, Node, TO_ALL, map_of};
use crate::equipment::unload;

#[test]
fn volume_holds_only_the_named_maps_and_is_removed_completely() {
    let node = Node::new();
    let program = node.load(APPLICATION);
    let csi = node.csi();
    csi.publish(node.request("one", " hits ")).unwrap();
    csi.publish(node.request("two", "trail, hits")).unwrap();
    assert_eq!(node.published("one"), ["hits"]);
    assert_eq!(node.published("two"), ["hits", "trail"]);
    for pod in ["one", "two"] {
        assert_eq!(node.map_id(pod, "hits"), map_of(&program, "hits"));
        let mounts = node.mounts(pod);
        assert_eq!(mounts.len(), 2, "{mounts:?}");
        for mount in mounts {
            let sealed = format!(" - bpf csi.bpfman.io/{pod} ro");
            assert!(mount.contains(",nosuid,nodev,noexec") && mount.contains(&sealed), "{mount}");
        }
    }
    for pod in ["one", "two"] {
        csi.unpublish(pod, &node.target(pod)).unwrap();
        node.assert_absent(pod);
        csi.unpublish(pod, &node.target(pod)).unwrap();
    }
    assert!(kernel::has_program(program.id));
}

#[test]
fn a_pod_waits_for_its_program_and_is_told_so() {
    let node = Node::new();
    let csi = node.csi();
    let refused = csi.publish(node.request("early", "hits")).unwrap_err();
    assert_eq!(refused.code(), Code::NotFound);
    for text in ["no program of \"counter\"", "the pod starts once"] {
        assert!(refused.message().contains(text), "{refused:?}");
    }
    node.assert_absent("early");
    let program = node.load(APPLICATION);
    csi.publish(node.request("early", "hits")).unwrap();
    assert_eq!(node.published("early"), ["hits"]);
    unload(&node.daemon.wire(), program.id);
    let refused = csi.publish(node.request("late", "hits")).unwrap_err();
    assert_eq!(refused.code(), Code::NotFound);
}

#[test]
fn kubelet_calls_are_in_the_audit_log() {
    let node = Node::new();
    let csi = node.csi();
    csi.publish(node.request("pod", "hits")).unwrap_err();
    node.load(APPLICATION);
    csi.publish(node.request("pod", "hits")).unwrap();
    csi.unpublish("pod", &node.target("pod")).unwrap();
    let log = node.daemon.log();
    let lines: Vec<&str> = log.lines().filter(|line| line.contains("by=\"csi\"")).collect();
    let object = format!("object=\"volume pod at {}\"", node.target("pod").display());
    let expected = [
        ("NodePublishVolume", "result=\"NotFound\" reason=\"no program of"),
        ("NodePublishVolume", "made=\"maps hits of counter for writing to group"),
        ("NodeUnpublishVolume", "result=\"done\""),
    ];
    assert_eq!(lines.len(), expected.len(), "{lines:#?}");
    for (line, (verb, text)) in lines.iter().zip(expected) {
        let texts = [" audit: ", &object, &format!("verb=\"{verb}\""), text];
        assert!(texts.iter().all(|text| line.contains(text)), "{line}");
    }
}

#[test]
fn missing_map_of_an_application_is_named_with_existing_ones() {
    let node = Node::new();
    let _program = node.load(APPLICATION);
    for missing in ["misses", "rodata"] {
        let refused = node.csi().publish(node.request("pod", &format!("hits,{missing}"))).unwrap_err();
        assert_eq!(refused.code(), Code::NotFound);
        for text in [&format!("no map \"{missing}\""), "hits, trail", "csi.bpfman.io/maps"] {
            assert!(refused.message().contains(text), "{refused:?}");
        }
        node.assert_absent("pod");
    }
}

#[test]
fn any_program_of_a_load_gives_its_maps_and_lowest_load_wins() {
    let node = Node::new();
    let wire = node.daemon.wire();
    let mut request = load(&compile::object("chain"), &[("tc_member", Type::Tc), ("xdp_member", Type::Xdp)]);
    request.metadata = pairs(&[("bpfman.io/ProgramName", APPLICATION), TO_ALL]);
    let both = wire.load(request).unwrap();
    let first = crate::equipment::Program::of(&both.programs[0]);
    let _second_load = node.load(APPLICATION);
    let mut probes = load(&compile::object("probes"), &[("on_tracepoint", Type::Tracepoint)]);
    probes.metadata = pairs(&[("bpfman.io/ProgramName", APPLICATION), TO_ALL]);
    let probes = crate::equipment::Program::of(&wire.load(probes).unwrap().programs[0]);
    node.csi().publish(node.request("pod", "hits,fired")).unwrap();
    assert_eq!(node.map_id("pod", "hits"), map_of(&first, "hits"));
    assert_eq!(node.map_id("pod", "fired"), map_of(&probes, "fired"));
}

#[test]
fn pod_gets_maps_of_its_own_namespace_or_of_none() {
    let node = Node::new();
    let named = ("bpfman.io/ProgramName", APPLICATION);
    let publish = |pod: &str, namespace: Option<&str>| {
        let mut request = node.request(pod, "hits");
        let key = "csi.storage.k8s.io/pod.namespace";
        request.volume_context.remove(key);
        request.volume_context.extend(namespace.map(|namespace| (key.to_owned(), namespace.to_owned())));
        node.csi().publish(request).map(|()| node.map_id(pod, "hits"))
    };
    let tenant = node.load_with(&[
        named,
        ("bpfman.io/uuid", "uid-of-the-tenant"),
        ("bpfman.io/ProgramNamespace", "tenant"),
    ]);
    for (pod, namespace) in [("other-early", Some("bank")), ("unnamed-early", None)] {
        let refused = publish(pod, namespace).unwrap_err();
        assert_eq!(refused.code(), Code::NotFound, "{refused:?}");
        assert!(
            refused.message().contains("no program of \"counter\" is loaded on this node"),
            "{refused:?}"
        );
        node.assert_absent(pod);
    }
    let by_hand = node.load_with(&[named, TO_ALL]);
    assert_eq!(publish("by-hand", Some("bank")).unwrap(), map_of(&by_hand, "hits"));
    let cluster = node.load_with(&[named, ("bpfman.io/uuid", "uid-of-the-cluster"), TO_ALL]);
    assert_eq!(publish("own", Some("tenant")).unwrap(), map_of(&tenant, "hits"));
    assert_eq!(publish("other", Some("bank")).unwrap(), map_of(&cluster, "hits"));
    assert_eq!(
        publish("unnamed", None).unwrap(),
        map_of(&cluster, "hits"),
        "a kubelet that tells no namespace"
    );
}

#[test]
fn publishing_a_volume_again_succeeds_and_another_is_refused() {
    let node = Node::new();
    let _program = node.load(APPLICATION);
    let csi = node.csi();
    let request = node.request("pod", "hits");
    csi.publish(request.clone()).unwrap();
    let before = node.own_mounts();
    csi.publish(request.clone()).unwrap();
    assert_eq!(node.own_mounts(), before, "nothing is mounted twice");
    let mut read_only = request.clone();
    read_only.readonly = true;
    let mut grouped = request.clone();
    mount(&mut grouped).volume_mount_group = GROUP.to_string();
    for (other, says) in [
        (node.request("pod", "hits,trail"), "with the maps hits"),
        (read_only, "for writing"),
        (grouped, "for group 0"),
    ] {
        let refused = csi.publish(other).unwrap_err();
        assert_eq!(refused.code(), Code::AlreadyExists);
        assert!(refused.message().contains(says), "{refused:?}");
        assert_eq!(node.own_mounts(), before);
    }
}

#[test]
fn a_foreign_mount_is_refused_and_left_alone() {
    let node = Node::new();
    let _program = node.load(APPLICATION);
    let target = node.target("pod");
    fs::create_dir(&target).unwrap();
    let mut command = node.namespace.command("mount");
    Outcome::of(command.args(["-t", "tmpfs", "theirs"]).arg(&target)).success();
    fs::write(node.path(&target).join("kept"), "").unwrap();
    let before = node.own_mounts();
    for refused in [
        node.csi().publish(node.request("pod", "hits")).unwrap_err(),
        node.csi().unpublish("pod", &target).unwrap_err(),
    ] {
        assert_eq!(refused.code(), Code::FailedPrecondition);
        for text in ["type tmpfs", "\"theirs\"", &target.display().to_string(), "left as it is"] {
            assert!(refused.message().contains(text), "{refused:?}");
        }
    }
    assert_eq!(node.published("pod"), ["kept"]);
    assert_eq!(node.own_mounts(), before);
    assert_eq!(node.folders(), [""; 0]);
}

#[test]
fn a_volume_of_another_pod_at_the_target_is_foreign_too() {
    let node = Node::new();
    let _program = node.load(APPLICATION);
    node.csi().publish(node.request("pod", "hits")).unwrap();
    let other = publish("other", &node.target("pod"), APPLICATION, "hits");
    assert_eq!(node.csi().publish(other).unwrap_err().code(), Code::FailedPrecondition);
    assert_eq!(
        node.csi().unpublish("other", &node.target("pod")).unwrap_err().code(),
        Code::FailedPrecondition
    );
    assert_eq!(node.published("pod"), ["hits"]);
}

#[test]
fn a_target_that_cannot_be_used_leaves_nothing_behind() {
    let node = Node::new();
    let _program = node.load(APPLICATION);
    let csi = node.csi();
    let lost = node.pods.path().join("nowhere/mount");
    let refused = csi.publish(publish("pod", &lost, APPLICATION, "hits")).unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains("nowhere/mount"), "{refused:?}");
    csi.unpublish("pod", &lost).unwrap();
    let target = node.target("pod");
    fs::write(&target, "theirs").unwrap();
    let refused = csi.publish(node.request("pod", "hits")).unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains("no folder"), "{refused:?}");
    assert_eq!(fs::read_to_string(&target).unwrap(), "theirs");
    assert_eq!(node.mounts("pod"), [""; 0]);
    assert_eq!(node.folders(), [""; 0]);
}

#[test]
fn a_target_below_a_symbolic_link_is_found_again() {
    let node = Node::new();
    let _program = node.load(APPLICATION);
    let target = node.target("pod");
    std::os::unix::fs::symlink(node.pods.path().join("pod"), node.pods.path().join("alias")).unwrap();
    let by_alias = node.pods.path().join("alias/mount");
    let request = publish("pod", &by_alias, APPLICATION, "hits");
    node.csi().publish(request.clone()).unwrap();
    node.csi().publish(request).unwrap();
    assert_eq!(node.mounts("pod").len(), 2);
    assert_eq!(node.published("pod"), ["hits"]);
    node.csi().unpublish("pod", &by_alias).unwrap();
    assert!(!target.exists());
    node.assert_absent("pod");
}

#[test]
fn fifty_volumes_are_published_side_by_side() {
    let node = Node::new();
    let _program = node.load(APPLICATION);
    let csi = node.csi();
    let pods: Vec<String> = (0..50).map(|number| format!("pod-{number}")).collect();
    let requests = pods.iter().map(|pod| node.request(pod, "hits,trail")).collect();
    for answer in csi.publish_all(requests) {
        answer.unwrap();
    }
    for pod in &pods {
        assert_eq!(node.published(pod), ["hits", "trail"]);
    }
    for pod in &pods {
        csi.unpublish(pod, &node.target(pod)).unwrap();
        node.assert_absent(pod);
    }
}

#[test]
fn one_volume_asked_for_many_times_at_once_is_made_once() {
    let node = Node::new();
    let _program = node.load(APPLICATION);
    let csi = node.csi();
    let request = node.request("pod", "hits");
    let answers = csi.publish_all(vec![request.clone(); 20]);
    for answer in &answers {
        if let Err(status) = answer {
            assert_eq!(status.code(), Code::Aborted, "{status:?}");
        }
    }
    assert!(answers.iter().any(Result::is_ok));
    csi.publish(request).unwrap();
    assert_eq!(node.mounts("pod").len(), 2);
}

#[test]
fn volumes_outlive_the_daemon_and_are_known_to_the_next() {
    let mut node = Node::new();
    let _program = node.load(APPLICATION);
    node.csi().publish(node.request("pod", "hits")).unwrap();
    let before = node.mounts("pod");
    node.daemon.terminate();
    assert!(!node.daemon.path("run/csi/csi.sock").exists());
    assert_eq!(node.published("pod"), ["hits"]);
    node.again();
    node.csi().publish(node.request("pod", "hits")).unwrap();
    assert_eq!(node.mounts("pod"), before);
    node.csi().unpublish("pod", &node.target("pod")).unwrap();
    node.assert_absent("pod");
}

#[test]
fn map_survives_replacement_and_is_new_with_another_load() {
    let node = Node::new();
    let wire = node.daemon.wire();
    let program = node.load(APPLICATION);
    node.csi().publish(node.request("pod", "hits")).unwrap();
    let map = node.map_id("pod", "hits");
    let replace = bpfman_proto::ext::v1::ReplaceProgramRequest {
        program_id: program.id,
        bytecode: Some(file(&compile::object("chain"))),
        global_data: [("who".to_owned(), number(7))].into(),
        ..Default::default()
    };
    let replaced = wire.replace_program(replace).unwrap();
    let new_id = replaced.program.unwrap().kernel_info.unwrap().id;
    assert_ne!(new_id, program.id);
    let uses: Vec<u64> = kernel::program(new_id)["map_ids"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(serde_json::Value::as_u64)
        .collect();
    assert!(uses.contains(&u64::from(map)), "the new version uses the map that the pod has: {uses:?}");
    node.csi().publish(node.request("pod", "hits")).unwrap();
    assert_eq!(node.map_id("pod", "hits"), map);
    unload(&wire, new_id);
    let again = node.load(APPLICATION);
    assert_eq!(node.map_id("pod", "hits"), map, "a pod that runs keeps what it has");
    node.csi().publish(node.request("pod", "hits")).unwrap();
    assert_eq!(node.map_id("pod", "hits"), map_of(&again, "hits"));
    assert_eq!(node.mounts("pod").len(), 2);
}

#[test]
fn the_group_of_the_pod_is_the_group_of_folder_and_pins() {
    let node = Node::new();
    let _program = node.load(APPLICATION);
    let mut writable = node.request("writable", "hits");
    mount(&mut writable).volume_mount_group = GROUP.to_string();
    let mut readable = node.request("readable", "hits");
    mount(&mut readable).volume_mount_group = GROUP.to_string();
    readable.readonly = true;
    let roots = node.request("roots", "hits");
    for (pod, request, group, mode) in [
        ("writable", writable, GROUP, 0o660),
        ("readable", readable, GROUP, 0o440),
        ("roots", roots, 0, 0o660),
    ] {
        node.csi().publish(request).unwrap();
        let folder = fs::metadata(node.path(&node.target(pod))).unwrap();
        let pin = fs::metadata(node.path(&node.target(pod).join("hits"))).unwrap();
        assert_eq!((folder.uid(), folder.gid(), folder.mode() & 0o7777), (0, group, 0o750));
        assert_eq!((pin.uid(), pin.gid(), pin.mode() & 0o7777), (0, group, mode));
    }
    let mounts = node.mounts("readable");
    assert_eq!(mounts.len(), 2);
    for mount in mounts {
        assert!(mount.contains(" ro,nosuid,nodev,noexec") && mount.contains("/readable ro"), "{mount}");
    }
}
