//! Maps that programs share: within one load, from an owner, or pinned by name.

use std::path::Path;

use bpfman_proto::v1::BpfmanProgramType as Type;
use bpfman_tests::requests::load;
use bpfman_tests::{Daemon, compile, kernel};
use tonic::Code::InvalidArgument;

use crate::answers::good;
use crate::equipment::{Program, assert_status, get, unload};

#[test]
fn programs_of_one_load_share_their_maps() {
    let daemon = Daemon::start();
    let wire = daemon.wire();
    let names = [("xdp_member", Type::Xdp), ("tc_member", Type::Tc), ("tcx_member", Type::Tcx)];
    let loaded = wire.load(load(&compile::object("chain"), &names)).unwrap().programs;
    let programs: Vec<_> = loaded.iter().map(Program::of).collect();
    let named: Vec<_> = loaded.iter().map(|program| program.info.as_ref().unwrap().name.as_str()).collect();
    assert_eq!(named, ["xdp_member", "tc_member", "tcx_member"], "in the order of the request");
    let hits: Vec<_> = programs.iter().map(|program| kernel::map_named(&program.maps, "hits")).collect();
    assert!(hits.iter().all(|map| *map == hits[0]), "{hits:?}");
    assert!(loaded.iter().all(|program| program.info.as_ref().unwrap().map_owner_id.is_none()));
    for program in &programs {
        assert!(kernel::has_map(hits[0]));
        unload(&wire, program.id);
    }
    kernel::map_ends(hits[0]);
}

#[test]
fn a_map_owner_lends_its_maps() {
    let daemon = Daemon::start();
    let wire = daemon.wire();
    let owner = Program::of(&wire.load(good()).unwrap().programs[0]);
    let mut request = good();
    request.map_owner_id = Some(owner.id);
    let loaded = wire.load(request).unwrap().programs.remove(0);
    let user = Program::of(&loaded);
    let info = loaded.info.unwrap();
    assert_eq!(info.map_owner_id, Some(owner.id));
    assert_eq!(info.map_pin_path, get(&wire, owner.id).info.unwrap().map_pin_path);
    let mut both = [owner.id.to_string(), user.id.to_string()];
    both.sort();
    for id in [owner.id, user.id] {
        let mut used_by = get(&wire, id).info.unwrap().map_used_by;
        used_by.sort();
        assert_eq!(used_by, both);
    }
    let hits = kernel::map_named(&owner.maps, "hits");
    assert_eq!(kernel::map_named(&user.maps, "hits"), hits, "the very same map");
    unload(&wire, owner.id);
    assert!(kernel::has_map(hits) && Path::new(&info.map_pin_path).join("hits").exists());
    unload(&wire, user.id);
    kernel::map_ends(hits);
    assert_eq!(daemon.state().pins, [""; 0]);
    let owner = Program::of(&wire.load(good()).unwrap().programs[0]);
    let mut other = load(&compile::object("probes"), &[("on_tracepoint", Type::Tracepoint)]);
    other.map_owner_id = Some(owner.id);
    assert_status(wire.load(other), InvalidArgument, "invalid", &["fired"]);
}

#[test]
fn maps_pinned_by_name_are_shared_by_loads() {
    let daemon = Daemon::start();
    let wire = daemon.wire();
    let programs: Vec<_> = (0..2).map(|_| Program::of(&wire.load(good()).unwrap().programs[0])).collect();
    let named = |name: &str| -> Vec<u32> {
        programs.iter().map(|program| kernel::map_named(&program.maps, name)).collect()
    };
    assert_eq!(named("trail")[0], named("trail")[1]);
    assert_ne!(named("hits")[0], named("hits")[1]);
    unload(&wire, programs[0].id);
    assert!(kernel::has_map(named_of(&programs[1], "trail")));
    unload(&wire, programs[1].id);
    assert_eq!(daemon.state().pins, [""; 0]);
}

fn named_of(program: &Program, name: &str) -> u32 {
    kernel::map_named(&program.maps, name)
}
