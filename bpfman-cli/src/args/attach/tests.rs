use std::path::PathBuf;

use bpfman_model::Direction;
use clap::Parser;

use super::*;
use crate::args::{Cli, CliCommand, OutputForm};

fn parse(line: &str) -> Cli {
    Cli::try_parse_from(line.split_whitespace()).unwrap_or_else(|error| panic!("{line}: {error}"))
}

fn point(line: &str) -> AttachTo {
    match parse(line).command {
        CliCommand::Attach(attach) => attach.point,
        other => panic!("{other:?}"),
    }
}

#[test]
fn xdp_with_every_flag() {
    let line =
        "bpfman attach 7 xdp -i eth0 -p 35 --proceed-on drop pass --proceed-on tx -n /run/netns/b -m a=b";
    let AttachTo::Xdp(xdp) = point(line) else { panic!() };
    assert_eq!((xdp.interface.iface.as_deref(), xdp.interface.priority), (Some("eth0"), 35));
    assert_eq!(xdp.proceed_on, [1, 2, 3]);
    assert_eq!(xdp.interface.netns, Some(PathBuf::from("/run/netns/b")));
}

#[test]
fn tc_needs_a_direction_and_knows_its_own_verdicts() {
    let AttachTo::Tc(tc) = point("bpfman attach 7 tc -d egress -i eth0 -p 1 --proceed-on unspec ok") else {
        panic!()
    };
    assert_eq!((tc.direction, &tc.proceed_on[..]), (Direction::Egress, &[-1, 0][..]));
    for line in [
        "bpfman attach 7 tc -i eth0 -p 1",
        "bpfman attach 7 tc -d sideways -i eth0 -p 1",
        "bpfman attach 7 tc -d ingress -i eth0 -p 1 --proceed-on pass",
        "bpfman attach 7 tcx -d ingress -i eth0 -p 1 --proceed-on ok",
        "bpfman attach 7 xdp -i eth0",
        "bpfman attach xdp -i eth0 -p 1",
    ] {
        assert!(Cli::try_parse_from(line.split_whitespace()).is_err(), "{line}");
    }
}

#[test]
fn a_negative_priority_is_the_daemons_to_refuse() {
    let AttachTo::Tcx(tcx) = point("bpfman attach 7 tcx -d ingress -i eth0 -p -1") else { panic!() };
    assert_eq!(tcx.interface.priority, -1);
}

#[test]
fn the_short_o_of_probes_is_the_offset() {
    let AttachTo::Kprobe(kprobe) = point("bpfman attach 7 kprobe -f vfs_unlink -o 16") else { panic!() };
    assert_eq!((kprobe.fn_name.as_str(), kprobe.offset), ("vfs_unlink", 16));
    let AttachTo::Uprobe(uprobe) = point("bpfman attach 7 uprobe -f malloc -o 8 -t libc -p 3 -c 4") else {
        panic!()
    };
    assert_eq!((uprobe.offset, uprobe.file.pid, uprobe.file.container_pid), (8, Some(3), Some(4)));
}

#[test]
fn the_form_of_the_answer_of_probes_is_still_global() {
    for line in [
        "bpfman attach 7 kprobe -f f -o 16 --output json",
        "bpfman -o json attach 7 kprobe -f f -o 16",
        "bpfman attach -o json 7 uprobe -t libc -o 16",
    ] {
        assert_eq!(parse(line).global.output, OutputForm::Json, "{line}");
    }
    assert_eq!(parse("bpfman attach 7 kprobe -f f").global.output, OutputForm::Table);
}

#[test]
fn intents_and_sharing_are_for_chains() {
    let AttachTo::Xdp(xdp) = point(
        "bpfman attach 7 xdp -i eth0 -p 1 --before 8,role=lb --after foreign:x --role firewall --isolated \
         --allow-redirect --keep-attached",
    ) else {
        panic!()
    };
    assert_eq!((xdp.order.before.len(), xdp.order.after.len()), (2, 1));
    assert!(xdp.sharing.isolated && xdp.sharing.allow_redirect && xdp.sharing.keep_attached);
    for line in [
        "bpfman attach 7 tcx -d ingress -i eth0 -p 1 --isolated",
        "bpfman attach 7 xdp -i eth0 -p 1 --before role=",
        "bpfman attach 7 kprobe -f f --role x",
    ] {
        assert!(Cli::try_parse_from(line.split_whitespace()).is_err(), "{line}");
    }
}

#[test]
fn types_bound_at_load_take_only_metadata() {
    for kind in ["fentry", "fexit", "lsm"] {
        let cli = parse(&format!("bpfman attach 7 {kind} -m owner=acme"));
        let CliCommand::Attach(attach) = cli.command else { panic!() };
        let (AttachTo::Fentry(bound) | AttachTo::Fexit(bound) | AttachTo::Lsm(bound)) = attach.point else {
            panic!()
        };
        assert_eq!(bound.link.metadata.len(), 1);
    }
}
