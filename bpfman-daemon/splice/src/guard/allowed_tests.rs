use super::*;

fn program(insns: Vec<Insn>) -> ProgramText {
    let mut text = bpfman_model::BoundText::of_one_function("entry", "GPL", insns).0;
    text.functions[0].len = 2;
    let rest = text.insns.len() - 2;
    text.functions.push(bpfman_model::FunctionSpan { name: "callee".to_owned(), start: 2, len: rest });
    text
}

fn helper(name: &str) -> Insn {
    let number = HELPER_NAMES.iter().position(|known| *known == name).unwrap();
    Insn::new(op::CALL, 0, 0, 0, number as i32)
}

const NOTHING: Insn = Insn::new(op::EXIT, 0, 0, 0, 0);

fn check(program_type: ProgramType, insn: Insn, granted: &[&str]) -> Result<(), ForbiddenUse> {
    let granted = granted.iter().map(|name| (*name).to_owned()).collect();
    let text = program(vec![NOTHING, NOTHING, NOTHING, insn, NOTHING]);
    Calls::new(program_type, &granted).check(&text, |_| Some("bpf_some_function".to_owned()))
}

#[test]
fn every_listed_name_is_a_helper() {
    for name in [ANY_TYPE, TRACING, NETWORK, OF_PERFMON].concat() {
        assert!(is_helper(&format!("bpf_{name}")), "{name}");
    }
    let of_packets = [ANY_TYPE, NETWORK].concat();
    assert!(!OF_PERFMON.iter().any(|name| of_packets.contains(name)));
    assert!(!is_helper("bpf_unspec") && !is_helper("probe_read") && !is_helper("bpf_fly"));
}

#[test]
fn kernel_reads_and_foreign_writes_are_refused_in_functions_too() {
    for name in [
        "probe_read",
        "probe_read_str",
        "probe_read_kernel",
        "probe_read_kernel_str",
        "probe_write_user",
        "send_signal",
        "send_signal_thread",
        "override_return",
        "trace_printk",
        "trace_vprintk",
        "get_current_task",
        "get_current_task_btf",
        "get_stack",
        "get_stackid",
        "get_func_ip",
        "get_attach_cookie",
        "copy_from_user_task",
        "timer_init",
        "snprintf",
        "per_cpu_ptr",
    ] {
        let refused = check(ProgramType::Uprobe, helper(name), &[]).unwrap_err();
        assert_eq!((refused.function.as_str(), refused.at), ("callee", 1));
        assert_eq!(refused.name, Some(format!("bpf_{name}")));
        assert!(check(ProgramType::Xdp, helper(name), &[]).is_err(), "{name}");
        assert_eq!(check(ProgramType::Uprobe, helper(name), &[&format!("bpf_{name}")]), Ok(()));
    }
}

#[test]
fn only_granted_calls_need_perfmon() {
    let granted = BTreeSet::new();
    let needs = |insn| {
        let text = program(vec![NOTHING, NOTHING, NOTHING, insn, NOTHING]);
        Calls::new(ProgramType::Xdp, &granted).need_perfmon(&text, |call| match call.imm {
            7 => Some("bpf_dynptr_from_xdp".to_owned()),
            _ => Some("bpf_some_function".to_owned()),
        })
    };
    assert!(["probe_read_kernel", "skc_to_tcp_sock"].into_iter().all(|name| needs(helper(name))));
    assert!(!["map_lookup_elem", "redirect_peer"].into_iter().any(|name| needs(helper(name))));
    let function = |id| needs(Insn::new(op::CALL, 0, op::PSEUDO_KFUNC_CALL, 0, id));
    assert_eq!([function(7), function(8)], [false, true]);
}

#[test]
fn newer_helper_is_refused_and_an_unresolved_one_is_not() {
    let number = |imm| check(ProgramType::Uprobe, Insn::new(op::CALL, 0, 0, 0, imm), &["anything"]);
    let refused = number(HELPER_NAMES.len() as i32).unwrap_err();
    assert_eq!((refused.name, refused.what.as_str()), (None, "helper number 212"));
    assert!(number(0).is_err());
    // The linker writes this number for a call that depends on an unresolved relocation.
    assert_eq!(number(195_896_080), Ok(()));
}

#[test]
fn a_type_has_its_own_helpers() {
    assert_eq!(check(ProgramType::Kprobe, helper("probe_read_user"), &[]), Ok(()));
    assert!(check(ProgramType::Tc, helper("probe_read_user"), &[]).is_err());
    assert_eq!(check(ProgramType::Tc, helper("skb_store_bytes"), &[]), Ok(()));
    assert!(check(ProgramType::Tc, helper("redirect_peer"), &[]).is_err());
    assert!(check(ProgramType::Lsm, helper("skb_store_bytes"), &[]).is_err());
    assert!(check(ProgramType::Uprobe, helper("tail_call"), &[]).is_err());
}

#[test]
fn kfuncs_and_kernel_variables_are_refused_unless_listed() {
    let call = Insn::new(op::CALL, 0, op::PSEUDO_KFUNC_CALL, 0, 7);
    let refused = check(ProgramType::Uprobe, call, &[]).unwrap_err();
    assert_eq!(refused.name.as_deref(), Some("bpf_some_function"));
    assert_eq!(check(ProgramType::Uprobe, call, &["bpf_some_function"]), Ok(()));
    let variable = Insn::new(op::LD_IMM64, 1, op::PSEUDO_BTF_ID, 0, 7);
    let refused = check(ProgramType::Uprobe, variable, &["anything"]).unwrap_err();
    assert_eq!((refused.name, refused.at), (None, 1));
    let text = program(vec![Insn::new(op::LD_IMM64, 1, 0, 0, 0), helper("send_signal"), NOTHING]);
    assert_eq!(Calls::new(ProgramType::Uprobe, &BTreeSet::new()).check(&text, |_| None), Ok(()));
}
