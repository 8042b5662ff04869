//! Hooks that are held, frozen or misnamed.

use bpfman_model::{Hint, Interface, KernelLinkId, LinkId, XdpRunsIn};
use bpfman_tests::command::run;
use bpfman_tests::control_group::Group;
use bpfman_tests::inside::Inside;
use bpfman_tests::network::INTERFACE;
use bpfman_tests::wait::until;
use bpfman_tests::{Launch, Network, compile};

use super::Machine;
use crate::strangers::with_bpffs;

fn hook() -> String {
    format!("xdp:{INTERFACE}")
}

fn attach(program: u32) -> String {
    format!("bpfman attach {program} xdp -i {INTERFACE} -p 20")
}

#[test]
pub fn link_of_others_is_adopted() {
    let machine = Machine::new();
    let mut theirs = Machine::prepare(false);
    theirs.start(Launch::default());
    let far = machine.network.far.path();
    let line = format!("attach {} xdp -i {INTERFACE} -p 10 -n {} -o json", theirs.member(), far.display());
    let link = theirs.daemon.bpfman(&line).json()["kernel_link_id"].as_u64().unwrap();
    machine.mends(&attach(machine.member()), &Hint::Adopt(KernelLinkId(link.try_into().unwrap())));
    let chain = machine.daemon.bpfman(&format!("chain show {} -o json", hook())).json();
    assert_eq!(chain["members"].as_array().unwrap().len(), 2, "{chain}");
}

#[test]
pub fn xdp_without_a_link_is_removed() {
    let machine = Machine::new();
    let object = compile::object("stranger").display().to_string();
    let script = format!("ip link set dev {INTERFACE} xdpgeneric obj {object} sec xdp");
    with_bpffs(&machine.network.far, &script);
    let interface = Interface { name: INTERFACE.to_owned(), netns: None };
    machine.mends(&attach(machine.member()), &Hint::DetachXdp { interface, mode: XdpRunsIn::Generic });
    // The command of the hint enters the namespace of the interface, if it is another one.
    let mut outside = Machine::prepare(false);
    outside.start(Launch::default());
    let near = machine.network.near.path();
    with_bpffs(&machine.network.near, &script);
    let interface = Interface { name: INTERFACE.to_owned(), netns: Some(near.clone()) };
    let line = format!("{} -n {}", attach(outside.member()), near.display());
    outside.mends(&line, &Hint::DetachXdp { interface, mode: XdpRunsIn::Generic });
}

#[test]
pub fn held_hook_is_freed() {
    let machine = Machine::new();
    let load = || machine.load("points", "netfilter:accept");
    let line = |program: u32| format!("attach {program} netfilter -f ipv4 --hook input -p -50");
    let link = machine.daemon.bpfman(&format!("{} -q", line(load()))).success();
    let hint = Hint::Detach(LinkId(link.trim().parse().unwrap()));
    machine.mends(&format!("bpfman {}", line(load())), &hint);
}

#[test]
pub fn holder_of_a_cgroup_is_shown() {
    let (machine, group) = (Machine::new(), Group::new("held"));
    let object = compile::object("allow").display().to_string();
    let theirs = machine.daemon.path("theirs");
    std::fs::create_dir(&theirs).unwrap();
    let (mount, folder) = (theirs.display().to_string(), group.folder.display().to_string());
    run(&["mount", "-t", "bpf", "bpf", &mount]);
    let pin = format!("{mount}/allow");
    run(&["bpftool", "prog", "load", &object, &pin]);
    run(&["bpftool", "cgroup", "attach", &folder, "egress", "pinned", &pin]);
    let line =
        format!("bpfman attach {} cgroup --path {}", machine.load("allow", "cgroup_skb:allow"), group.path);
    let failed = machine.shell(&line);
    let shown = machine.paste(&failed, &Hint::Holder { command: "bpftool cgroup tree".to_owned() });
    run(&["bpftool", "cgroup", "detach", &folder, "egress", "pinned", &pin]);
    run(&["umount", &mount]);
    assert!(shown.clone().success().contains("allow"), "{shown:?}");
    machine.shell(&line).success();
}

#[test]
pub fn frozen_hook_is_released() {
    let machine = Machine::new();
    let program = machine.member();
    machine.attach(program, "");
    machine.shell(&format!("bpfman debug freeze {}", hook())).success();
    machine.mends(&format!("{} --again", attach(program)), &Hint::Release { hook: hook() });
}

#[test]
pub fn contradicting_order_is_dropped() {
    let machine = Machine::new();
    let program = machine.member();
    machine.attach(program, "--role wall");
    let other = machine.attach(program, "--again --role web --before role=wall");
    let line = format!("{} --again --after role=wall --before {other}", attach(program));
    machine.mends(&line, &Hint::ClearOrder(LinkId(other)));
}

#[test]
pub fn members_of_a_chain_are_shown() {
    let machine = Machine::new();
    let program = machine.member();
    let link = machine.attach(program, "");
    let line = |before: u32| format!("{} --again --before {before}", attach(program));
    let shown = machine.leads(&line(4_000_000_000), &Hint::ShowChain { hook: hook() }, &line(link));
    assert!(shown.contains(&format!("link {link}")), "{shown}");
}

#[test]
pub fn differing_chain_is_verified() {
    let machine = Machine::new();
    machine.attach(machine.load("rewrite", "xdp:xdp_alternates"), "");
    let packet = "02".repeat(64);
    let line = format!("bpfman chain trace {} --packet {packet}", hook());
    until("the two runs differ", || machine.shell(&line).code != 0);
    let mut failed = machine.shell(&line);
    until("the two runs differ again", || {
        failed = machine.shell(&line);
        failed.code != 0
    });
    machine.paste(&failed, &Hint::VerifyChain { hook: hook() }).success();
}

#[test]
pub fn members_of_a_chain_are_timed() {
    let machine = Machine::new();
    let program = machine.member();
    machine.attach(program, "");
    machine.attach(program, "--again");
    let (first, hint) = (format!("bpfman explain {}", hook()), Hint::TimeChain { hook: hook() });
    let printed = machine.shell(&first);
    machine.paste(&printed, &hint).success();
    let again = machine.shell(&first).success();
    assert!(!again.contains(&hint.to_string()), "{again}");
}

#[test]
pub fn interfaces_are_listed() {
    let machine = Machine::new();
    let program = machine.member();
    let first = format!("bpfman attach {program} xdp -i none0 -p 20");
    let shown = machine.leads(&first, &Hint::ListInterfaces { netns: None }, &attach(program));
    assert!(shown.contains(INTERFACE), "{shown}");
    let near = machine.network.near.path();
    let first = format!("{first} -n {}", near.display());
    let right = format!("{} -n {}", attach(program), near.display());
    machine.leads(&first, &Hint::ListInterfaces { netns: Some(near) }, &right);
}

#[test]
pub fn related_interfaces_are_shown() {
    let machine = Machine::new();
    let far = &machine.network.far;
    far.ip(&["link", "add", "link", INTERFACE, "name", "above0", "type", "macvlan"]);
    let program = machine.member();
    let above = format!("attach {program} xdp -i above0 -p 50 -q");
    let link = machine.daemon.bpfman(&above).success();
    let failed = machine.shell(&attach(program));
    assert_ne!(failed.code, 0);
    let shown = machine.paste(&failed, &Hint::RelatedInterfaces).success();
    assert!(shown.contains("macvlan"), "{shown}");
    machine.shell(&format!("bpfman detach {link}")).success();
    machine.shell(&attach(program)).success();
}

#[test]
pub fn holders_of_a_namespace_are_shown() {
    let config = "[tc]\nattach = \"clsact\"\n[watch]\ncheck_seconds = 0.2\n".to_owned();
    let machine = Machine::launched(Launch { config, ..Launch::default() });
    let other = Network::new();
    let (path, holder) = (other.far.path(), Inside::new(&other.far.path()));
    let program = machine.load("chain", "tc:tc_member");
    let line = format!("attach {program} tc -d ingress -i {INTERFACE} -p 5 -n {} -q", path.display());
    let link = machine.daemon.bpfman(&line).success();
    let inode = std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(&path).unwrap());
    let socket = std::fs::File::open(&path).unwrap();
    other.far.delete();
    holder.end();
    let detach = format!("bpfman detach {link}");
    let failed = machine.shell(&detach);
    assert_ne!(failed.code, 0, "{failed:?}");
    let shown = machine.paste(&failed, &Hint::NamespaceHolders { inode }).stdout;
    assert!(shown.contains(&format!("/proc/{}/fd/", std::process::id())), "{shown}");
    drop(socket);
    until("the namespace has ended", || machine.shell(&detach).code == 0);
}
