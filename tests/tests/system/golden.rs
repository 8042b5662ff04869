//! Encodings of `bpfman.v1`, written by hand from its table of tags.

use std::collections::HashMap;
use std::fmt::Debug;

use bpfman_proto::v1::attach_info::Info;
use bpfman_proto::v1::bytecode_location::Location;
use bpfman_proto::v1::prog_specific_info::Info as Specific;
use bpfman_proto::v1::*;
use bpfman_tests::requests::pairs;
use prost::Message;

pub fn assert_bytes<M: Message + Default + PartialEq + Debug>(message: &M, bytes: &[u8]) {
    assert_eq!(message.encode_to_vec(), bytes, "{message:?}");
    assert_eq!(&M::decode(bytes).unwrap(), message);
}

pub fn field(tag: u8, bytes: &[u8]) -> Vec<u8> {
    let length = u8::try_from(bytes.len()).expect("the messages here are short");
    assert!(length < 128);
    [&[tag << 3 | 2, length], bytes].concat()
}

#[test]
fn where_bytecode_comes_from() {
    let image = BytecodeImage {
        url: "r/x:1".to_owned(),
        image_pull_policy: 2,
        username: Some("u".to_owned()),
        password: Some(String::new()),
    };
    assert_bytes(&image, b"\x0a\x05r/x:1\x10\x02\x1a\x01u\x22\x00");
    let absent = BytecodeImage { username: None, password: None, ..image };
    assert_bytes(&absent, b"\x0a\x05r/x:1\x10\x02");
    assert_bytes(
        &BytecodeLocation { location: Some(Location::Image(absent)) },
        b"\x12\x09\x0a\x05r/x:1\x10\x02",
    );
    assert_bytes(&BytecodeLocation { location: Some(Location::File("/a".to_owned())) }, b"\x1a\x02/a");
}

#[test]
fn kernel_program_info_has_golden_bytes() {
    let facts = KernelProgramInfo {
        id: 300,
        name: "f".to_owned(),
        program_type: 6,
        loaded_at: "t".to_owned(),
        tag: "ab".to_owned(),
        gpl_compatible: true,
        map_ids: vec![1, 300],
        btf_id: 7,
        bytes_xlated: 8,
        jited: true,
        bytes_jited: 9,
        bytes_memlock: 10,
        verified_insns: 11,
    };
    assert_bytes(
        &facts,
        b"\x08\xac\x02\x12\x01f\x18\x06\x22\x01t\x2a\x02ab\x30\x01\x3a\x03\x01\xac\x02\x40\x07\x48\x08\x50\x01\x58\x09\x60\x0a\x68\x0b",
    );
}

#[test]
fn program_info_has_golden_bytes() {
    let info = ProgramInfo {
        name: "f".to_owned(),
        bytecode: Some(BytecodeLocation { location: Some(Location::File("/a".to_owned())) }),
        links: vec![5, 6],
        global_data: HashMap::from([("g".to_owned(), vec![1, 2])]),
        map_owner_id: Some(0),
        map_pin_path: "/m".to_owned(),
        map_used_by: vec!["5".to_owned(), "6".to_owned()],
        metadata: pairs(&[("k", "v")]),
    };
    assert_bytes(
        &info,
        b"\x0a\x01f\x12\x04\x1a\x02/a\x1a\x02\x05\x06\x22\x07\x0a\x01g\x12\x02\x01\x02\x28\x00\x32\x02/m\x3a\x015\x3a\x016\x42\x06\x0a\x01k\x12\x01v",
    );
}

#[test]
fn places_on_interfaces() {
    let metadata = pairs(&[("k", "v")]);
    let (iface, netns) = ("e".to_owned(), Some("/n".to_owned()));
    let xdp = XdpAttachInfo {
        priority: 50,
        iface: iface.clone(),
        position: 1,
        proceed_on: vec![2, 31],
        netns: netns.clone(),
        metadata: metadata.clone(),
    };
    let bytes = b"\x08\x32\x12\x01e\x18\x01\x22\x02\x02\x1f\x2a\x02/n\x32\x06\x0a\x01k\x12\x01v";
    assert_bytes(&xdp, bytes);
    assert_bytes(&AttachInfo { info: Some(Info::XdpAttachInfo(xdp)) }, &field(1, bytes));
    let direction = "in".to_owned();
    let tc = TcAttachInfo {
        priority: -1,
        iface: iface.clone(),
        position: 0,
        direction: direction.clone(),
        proceed_on: vec![-1, 3],
        netns: netns.clone(),
        metadata: metadata.clone(),
    };
    let bytes = b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x12\x01e\x22\x02in\x2a\x0b\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x03\x32\x02/n\x3a\x06\x0a\x01k\x12\x01v";
    assert_bytes(&tc, bytes);
    assert_bytes(&AttachInfo { info: Some(Info::TcAttachInfo(tc)) }, &field(2, bytes));
    let tcx = TcxAttachInfo { priority: 3, iface, position: 2, direction, netns, metadata };
    let bytes = b"\x08\x03\x12\x01e\x18\x02\x22\x02in\x2a\x02/n\x32\x06\x0a\x01k\x12\x01v";
    assert_bytes(&tcx, bytes);
    assert_bytes(&AttachInfo { info: Some(Info::TcxAttachInfo(tcx)) }, &field(6, bytes));
}

#[test]
fn places_in_code() {
    let metadata = pairs(&[("k", "v")]);
    let tracepoint = TracepointAttachInfo { tracepoint: "a/b".to_owned(), metadata: metadata.clone() };
    let bytes = b"\x0a\x03a/b\x12\x06\x0a\x01k\x12\x01v";
    assert_bytes(&tracepoint, bytes);
    assert_bytes(&AttachInfo { info: Some(Info::TracepointAttachInfo(tracepoint)) }, &field(3, bytes));
    let kprobe = KprobeAttachInfo {
        fn_name: "f".to_owned(),
        offset: 300,
        container_pid: Some(7),
        metadata: metadata.clone(),
    };
    let bytes = b"\x0a\x01f\x10\xac\x02\x18\x07\x22\x06\x0a\x01k\x12\x01v";
    assert_bytes(&kprobe, bytes);
    assert_bytes(&AttachInfo { info: Some(Info::KprobeAttachInfo(kprobe)) }, &field(4, bytes));
    let uprobe = UprobeAttachInfo {
        fn_name: Some("f".to_owned()),
        offset: 1,
        target: "t".to_owned(),
        pid: Some(2),
        container_pid: Some(3),
        metadata: metadata.clone(),
    };
    let bytes = b"\x0a\x01f\x10\x01\x1a\x01t\x20\x02\x28\x03\x32\x06\x0a\x01k\x12\x01v";
    assert_bytes(&uprobe, bytes);
    assert_bytes(&AttachInfo { info: Some(Info::UprobeAttachInfo(uprobe)) }, &field(5, bytes));
    let bytes = b"\x0a\x06\x0a\x01k\x12\x01v";
    let fentry = FentryAttachInfo { metadata: metadata.clone() };
    assert_bytes(&AttachInfo { info: Some(Info::FentryAttachInfo(fentry)) }, &field(7, bytes));
    let fexit = FexitAttachInfo { metadata: metadata.clone() };
    assert_bytes(&AttachInfo { info: Some(Info::FexitAttachInfo(fexit)) }, &field(8, bytes));
    let lsm = LsmAttachInfo { metadata };
    assert_bytes(&AttachInfo { info: Some(Info::LsmAttachInfo(lsm)) }, &field(9, bytes));
}

#[test]
fn types_of_programs() {
    for (number, kind) in [
        (0, BpfmanProgramType::Xdp),
        (1, BpfmanProgramType::Tc),
        (2, BpfmanProgramType::Tracepoint),
        (3, BpfmanProgramType::Kprobe),
        (4, BpfmanProgramType::Uprobe),
        (5, BpfmanProgramType::Fentry),
        (6, BpfmanProgramType::Fexit),
        (7, BpfmanProgramType::Tcx),
        (8, BpfmanProgramType::Lsm),
    ] {
        assert_eq!(i32::from(kind), number);
    }
}

#[test]
fn loading() {
    let target = || "t".to_owned();
    let specific = |info| Some(ProgSpecificInfo { info: Some(info) });
    let program = |program_type: BpfmanProgramType, info| LoadInfo {
        name: "f".to_owned(),
        program_type: program_type.into(),
        info,
    };
    let xdp = program(BpfmanProgramType::Xdp, None);
    assert_bytes(&xdp, b"\x0a\x01f");
    let fentry = program(
        BpfmanProgramType::Fentry,
        specific(Specific::FentryLoadInfo(FentryLoadInfo { fn_name: target() })),
    );
    assert_bytes(&fentry, b"\x0a\x01f\x10\x05\x1a\x05\x0a\x03\x0a\x01t");
    let fexit = program(
        BpfmanProgramType::Fexit,
        specific(Specific::FexitLoadInfo(FexitLoadInfo { fn_name: target() })),
    );
    assert_bytes(&fexit, b"\x0a\x01f\x10\x06\x1a\x05\x12\x03\x0a\x01t");
    let lsm =
        program(BpfmanProgramType::Lsm, specific(Specific::LsmLoadInfo(LsmLoadInfo { hook_name: target() })));
    assert_bytes(&lsm, b"\x0a\x01f\x10\x08\x1a\x05\x1a\x03\x0a\x01t");
    let request = LoadRequest {
        bytecode: Some(BytecodeLocation { location: Some(Location::File("/a".to_owned())) }),
        metadata: pairs(&[("k", "v")]),
        global_data: HashMap::from([("g".to_owned(), vec![255])]),
        uuid: Some(String::new()),
        map_owner_id: Some(9),
        info: vec![xdp, fentry],
    };
    assert_bytes(
        &request,
        b"\x0a\x04\x1a\x02/a\x2a\x06\x0a\x01k\x12\x01v\x32\x06\x0a\x01g\x12\x01\xff\x3a\x00\x40\x09\x4a\x03\x0a\x01f\x4a\x0c\x0a\x01f\x10\x05\x1a\x05\x0a\x03\x0a\x01t",
    );
    let response = LoadResponse {
        programs: vec![LoadResponseInfo {
            info: Some(ProgramInfo { name: "f".to_owned(), ..Default::default() }),
            kernel_info: Some(KernelProgramInfo { id: 1, ..Default::default() }),
        }],
    };
    assert_bytes(&response, b"\x0a\x09\x0a\x03\x0a\x01f\x12\x02\x08\x01");
}

#[test]
fn the_other_calls() {
    assert_bytes(&UnloadRequest { id: 300 }, b"\x08\xac\x02");
    assert_bytes(&UnloadResponse {}, b"");
    let request = AttachRequest { id: 1, attach: Some(AttachInfo { info: None }) };
    assert_bytes(&request, b"\x08\x01\x12\x00");
    assert_bytes(&AttachResponse { link_id: 2 }, b"\x08\x02");
    assert_bytes(&DetachRequest { link_id: 3 }, b"\x08\x03");
    assert_bytes(&DetachResponse {}, b"");
    assert_bytes(&GetRequest { id: 4 }, b"\x08\x04");
    let kernel_info = || Some(KernelProgramInfo { id: 1, ..Default::default() });
    let info = || Some(ProgramInfo { name: "f".to_owned(), ..Default::default() });
    assert_bytes(
        &GetResponse { info: info(), kernel_info: kernel_info() },
        b"\x0a\x03\x0a\x01f\x12\x02\x08\x01",
    );
    assert_bytes(&GetResponse { info: None, kernel_info: kernel_info() }, b"\x12\x02\x08\x01");
    let request = ListRequest {
        program_type: Some(0),
        bpfman_programs_only: Some(false),
        match_metadata: pairs(&[("k", "v")]),
    };
    assert_bytes(&request, b"\x08\x00\x10\x00\x1a\x06\x0a\x01k\x12\x01v");
    let response = ListResponse {
        results: vec![list_response::ListResult { info: info(), kernel_info: kernel_info() }],
    };
    assert_bytes(&response, b"\x1a\x09\x0a\x03\x0a\x01f\x12\x02\x08\x01");
    let image = BytecodeImage { url: "x".to_owned(), ..Default::default() };
    assert_bytes(&PullBytecodeRequest { image: Some(image) }, b"\x0a\x03\x0a\x01x");
    assert_bytes(&PullBytecodeResponse {}, b"");
}

#[test]
fn unknown_fields_of_newer_clients_are_left_alone() {
    assert_eq!(GetRequest::decode(&b"\x08\x04\x7a\x03new"[..]).unwrap(), GetRequest { id: 4 });
}
