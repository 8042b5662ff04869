//! Functions shared by all tests.

use bpfman_proto::v1;
use bpfman_proto::v1::BpfmanProgramType as Type;
use bpfman_tests::requests::{load, number};
use bpfman_tests::{Wire, compile, kernel};

#[derive(Clone, Debug)]
pub struct Program {
    pub id: u32,
    pub maps: Vec<u32>,
}

impl Program {
    pub fn of(loaded: &v1::LoadResponseInfo) -> Self {
        let kernel = loaded.kernel_info.as_ref().unwrap();
        Self { id: kernel.id, maps: kernel.map_ids.clone() }
    }

    pub fn member(wire: &Wire, name: &str, kind: Type, who: i32, verdict: i32) -> Self {
        let mut request = load(&compile::object("chain"), &[(name, kind)]);
        request.global_data.insert("who".to_owned(), number(who));
        request.global_data.insert("verdict".to_owned(), number(verdict));
        Self::of(&wire.load(request).unwrap().programs[0])
    }

    pub fn hits(&self) -> u64 {
        kernel::array_value(kernel::map_named(&self.maps, "hits"), 0)
    }

    pub fn trail(&self) -> Vec<u64> {
        let map = kernel::map_named(&self.maps, "trail");
        let length = u32::try_from(kernel::array_value(map, 0)).unwrap();
        let trail = (1..=length).map(|place| kernel::array_value(map, place)).collect();
        let id = map.to_string();
        bpfman_tests::command::run(&[
            "bpftool", "map", "update", "id", &id, "key", "0", "0", "0", "0", "value", "0", "0", "0", "0",
        ]);
        trail
    }
}

pub fn unload(wire: &Wire, id: u32) {
    wire.unload(v1::UnloadRequest { id }).unwrap();
}

pub fn detach(wire: &Wire, link_id: u32) {
    wire.detach(v1::DetachRequest { link_id }).unwrap();
}

pub fn get(wire: &Wire, id: u32) -> v1::GetResponse {
    wire.get(v1::GetRequest { id }).unwrap()
}

pub fn link(wire: &Wire, link_id: u32) -> bpfman_proto::ext::v1::Link {
    wire.get_link(bpfman_proto::ext::v1::GetLinkRequest { link_id }).unwrap().link.unwrap()
}

pub fn test_name() -> String {
    std::thread::current().name().unwrap_or("unknown").to_owned()
}

pub fn reason(status: &tonic::Status) -> &str {
    status.metadata().get(bpfman_proto::REASON_TRAILER).map_or("", |value| value.to_str().unwrap())
}

pub fn assert_status<T: std::fmt::Debug>(
    answer: Result<T, tonic::Status>,
    code: tonic::Code,
    kind: &str,
    names: &[&str],
) {
    let status = answer.expect_err("it fails");
    assert_eq!((status.code(), reason(&status)), (code, kind), "{status:?}");
    for name in names {
        assert!(status.message().contains(name), "{:?} lacks {name:?}", status.message());
    }
}
