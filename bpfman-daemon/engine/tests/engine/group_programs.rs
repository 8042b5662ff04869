//! Programs at the hooks of a cgroup, with those of third parties and of groups above.

use bpfman_model::AttachPoint;
use bpfmand_engine::{Engine, GroupProgram};
use bpfmand_kernel::KernelFacts as _;
use bpfmand_kernel::linux::LinuxKernel;

use crate::bench::Ask as _;
use crate::group_order::{lacks_order, loaded, names, others};
use crate::intents::{attach, intent};
use crate::points_seen::Group;

#[test]
fn linux_program_of_a_group_above_hides_no_preorder() {
    let bench = crate::linux::bench("above");
    if lacks_order(&bench) {
        return;
    }
    let engine: Engine<LinuxKernel> = bench.engine();
    let [one, two, ..] = loaded(&bench, &engine);
    let above = Group::new("above");
    for early in ["link", "program"] {
        let group = Group::new(&format!("above/{early}"));
        let _others = match others(&group, early, Some(&above)) {
            Ok(others) => others,
            // EINVAL: Linux before 6.15.
            Err(22) => {
                assert!(bench.kernel.features().version < (6, 15));
                return println!("skipped: this kernel has no BPF_F_PREORDER");
            }
            Err(error) => panic!("{early}: errno {error}"),
        };
        let point = group.point();
        let error = attach(&engine, one, point.clone(), intent("", &["foreign:early"], &[])).unwrap_err();
        assert!(error.to_string().contains("BPF_F_PREORDER"), "{early}: {error}");
        engine.attached(two, point.clone());
        let link =
            attach(&engine, one, point.clone(), intent("", &["foreign:plain"], &[])).unwrap().record.id;
        assert_eq!(names(&bench, &point), ["early", "one", "plain", "two"], "{early}");

        let AttachPoint::Cgroup { path } = &point else { panic!() };
        let [hook] = &engine.group_programs(path).unwrap()[..] else { panic!("one hook has links") };
        let classes = |programs: &[GroupProgram]| -> Vec<_> {
            programs.iter().map(|one| (one.name.clone(), one.is_third_party, one.preorder)).collect()
        };
        let third_party = |name: &str, preorder| (name.to_owned(), true, preorder);
        let ours = |name: &str| (name.to_owned(), false, Some(false));
        assert_eq!(classes(&hook.above_first), [third_party("early", Some(true))]);
        let known = (early == "link").then_some(true);
        assert_eq!(
            classes(&hook.own),
            [third_party("early", known), ours("one"), third_party("plain", Some(false)), ours("two")]
        );
        assert_eq!(hook.own[1].link, Some(link));
        assert!(hook.is_order_known && hook.above_last.is_empty(), "{hook:?}");
        assert!(engine.group_programs(&"/".parse().unwrap()).unwrap().is_empty());
    }
}

#[test]
fn linux_program_before_ours_may_have_preorder() {
    let bench = crate::linux::bench("unknown");
    if lacks_order(&bench) {
        return;
    }
    let engine: Engine<LinuxKernel> = bench.engine();
    let [one, ..] = loaded(&bench, &engine);
    let group = Group::new("unknown");
    let Ok(_others) = others(&group, "link", None) else {
        assert!(bench.kernel.features().version < (6, 15));
        return println!("skipped: this kernel has no BPF_F_PREORDER");
    };
    engine.attached(one, group.point());
    let AttachPoint::Cgroup { path } = group.point() else { panic!() };
    let [hook] = &engine.group_programs(&path).unwrap()[..] else { panic!("one hook has links") };
    let found: Vec<_> = hook.own.iter().map(|one| (one.name.as_str(), one.preorder)).collect();
    assert_eq!(found, [("early", None), ("plain", None), ("one", Some(false))]);
}
