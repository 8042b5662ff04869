//! Shadow members, which have no effect on the verdict.

use bpfman_model::{AttachRequest, HookKind, LinkId, ProceedOn, ProgramId, Reason, Sharing, VerdictFamily};
use bpfmand_engine::{Engine, UpdateLinkRequest};
use bpfmand_kernel::Kernel;

use crate::bench::{Ask as _, Bench, Testable};

const XDP: HookKind = HookKind::Xdp;

fn shadow(program: ProgramId, point: bpfman_model::AttachPoint) -> AttachRequest {
    AttachRequest {
        program,
        point,
        order: Default::default(),
        sharing: Sharing { shadow: true, ..Sharing::default() },
        metadata: Default::default(),
        ttl: None,
        owner: Default::default(),
        group: None,
    }
}

fn shadows<K: Kernel>(bench: &Bench<K>, engine: &Engine<K>) -> Vec<bool> {
    let shown = engine.show_chain(&bench.left(), XDP).unwrap();
    shown.members.iter().map(|member| member.link.sharing.shadow).collect()
}

fn promote<K: Kernel>(engine: &Engine<K>, link: LinkId, to: bool) -> &'static str {
    engine
        .update_link(&UpdateLinkRequest { shadow: Some(to), ..UpdateLinkRequest::of(link) })
        .unwrap()
        .0
        .name()
}

fn shadow_verdicts_do_not_count_until_it_is_promoted<K: Testable>(bench: &Bench<K>) {
    let engine = bench.engine();
    let [alpha, bravo] = engine.loads(&bench.request("programs", &["alpha", "bravo"]))[..] else { panic!() };
    let link = engine.attach(&shadow(alpha, bench.xdp(10))).unwrap().record.id;
    // It cannot be the hook's program by itself: its verdict would be the hook's.
    assert_eq!(engine.show_chain(&bench.left(), XDP).unwrap().strategy, "splice");
    engine.attached(bravo, bench.xdp(20));
    assert_eq!(shadows(bench, &engine), [true, false]);
    assert!(engine.verify_chain(&bench.left(), XDP, None).unwrap().matches());
    assert_eq!(promote(&engine, link, true), "unchanged");
    drop(engine);
    let engine = bench.engine();
    assert_eq!(shadows(bench, &engine), [true, false]);
    assert_eq!(engine.describe_link(link).unwrap().record.point, bench.xdp(10), "its own set is kept");
    assert_eq!(promote(&engine, link, false), "changed");
    assert_eq!(shadows(bench, &engine), [false, false]);
    assert_eq!(promote(&engine, link, true), "changed");
    assert!(engine.verify_chain(&bench.left(), XDP, None).unwrap().matches());
}

fn the_kernels_own_chain_has_no_shadows<K: Testable>(bench: &Bench<K>) {
    if !bench.kernel.features().tcx {
        return;
    }
    let engine = bench.engine();
    let program = engine.loads(&bench.request("programs", &["xray"]))[0];
    let error = engine.attach(&shadow(program, bench.tcx(10))).unwrap_err();
    assert_eq!(error.kind(), Reason::Invalid);
    assert!(error.to_string().contains("nor be a shadow"), "{error}");
}

crate::on_both_kernels!(
    shadow_verdicts_do_not_count_until_it_is_promoted,
    the_kernels_own_chain_has_no_shadows,
);

/// An older daemon reads all verdicts as the member's proceed-on set.
#[test]
fn the_record_of_a_shadow_lets_no_older_daemon_drop_by_it() {
    let bench = crate::simulated::bench();
    let engine = bench.engine();
    let alpha = engine.loads(&bench.request("programs", &["alpha"]))[0];
    let link = engine.attach(&shadow(alpha, bench.xdp(10))).unwrap();
    drop(engine);
    let records = bench.records();
    let on_disk = || {
        let of_link = |(_, value): &(String, Vec<u8>)| {
            let value: serde_json::Value = serde_json::from_slice(value).ok()?;
            (value["id"] == link.record.id.0 && !value["point"].is_null()).then_some(value)
        };
        records.iter().find_map(of_link).unwrap()
    };
    let mut value = on_disk();
    assert_eq!(value["sharing"]["shadow"], true);
    // An older daemon ignores unknown fields.
    value["sharing"]["shadow"] = false.into();
    value.as_object_mut().unwrap().remove("counts_on");
    let older: bpfmand_engine::LinkRecord = serde_json::from_value(value).unwrap();
    assert_eq!(older.point.proceed_on(), Some(ProceedOn::all(VerdictFamily::Xdp)));
}
