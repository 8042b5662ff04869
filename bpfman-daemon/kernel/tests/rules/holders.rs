use std::io::Read as _;
use std::process::{Command, Stdio};

use bpfman_model::{Held, Holder, KernelLinkId, ProgramId, ProgramType};
use bpfmand_kernel::linux::LinuxKernel;
use bpfmand_kernel::prelude::*;
use bpfmand_kernel::sim::SimKernel;
use bpfmand_kernel::{Kernel, XdpMode};

use crate::bench::Bench;
use crate::programs::{PASS, answering};

fn pids<K: Kernel>(kernel: &K, of: Held) -> Vec<u32> {
    kernel.holders(of).unwrap().iter().map(|holder| holder.pid).collect()
}

fn this_process_is_among_the_holders_while_it_holds<K: Kernel>(bench: &Bench<K>) {
    let kernel = &*bench.kernel;
    let program = answering(kernel, ProgramType::Xdp, PASS);
    let id = kernel.program_of(&program).unwrap().id;
    let me = std::process::id();
    assert_eq!(pids(kernel, Held::Program(id)), [me]);
    let link = kernel.attach(&program, &bench.left().xdp(XdpMode::Generic)).unwrap();
    let link_id = kernel.link_of(&link).unwrap().id;
    drop(program);
    assert_eq!(pids(kernel, Held::Program(id)), [me], "by the link");
    assert_eq!(pids(kernel, Held::Link(link_id)), [me]);
    kernel.pin(&link, std::path::Path::new("link")).unwrap();
    drop(link);
    assert_eq!(pids(kernel, Held::Program(id)), [0; 0], "a pin is no process");
    assert_eq!(pids(kernel, Held::Link(link_id)), [0; 0]);
    let reopened = kernel.open_link(link_id).unwrap().unwrap();
    assert_eq!(pids(kernel, Held::Link(link_id)), [me]);
    drop(reopened);
    kernel.unpin(std::path::Path::new("link")).unwrap();
    for nothing in [Held::Program(ProgramId(u32::MAX >> 1)), Held::Link(KernelLinkId(u32::MAX >> 1))] {
        assert_eq!(pids(kernel, nothing), [0; 0]);
    }
}

fn links_are_opened_by_their_ids<K: Kernel>(bench: &Bench<K>) {
    let kernel = &*bench.kernel;
    let program = answering(kernel, ProgramType::Xdp, PASS);
    let link = kernel.attach(&program, &bench.left().xdp(XdpMode::Generic)).unwrap();
    let facts = kernel.link_of(&link).unwrap();
    let ids = kernel.link_ids().unwrap();
    assert!(ids.is_sorted() && ids.contains(&facts.id), "{ids:?}");
    let again = kernel.open_link(facts.id).unwrap().unwrap();
    assert_eq!(kernel.link_of(&again).unwrap(), facts);
    assert!(kernel.open_link(KernelLinkId(u32::MAX >> 1)).unwrap().is_none());
}

fn other_process_is_reported_by_name(bench: &Bench<LinuxKernel>) {
    let kernel = &*bench.kernel;
    let program = answering(kernel, ProgramType::Xdp, PASS);
    let link = kernel.attach(&program, &bench.left().xdp(XdpMode::Generic)).unwrap();
    let link_id = kernel.link_of(&link).unwrap().id;
    // The child prints a line when it runs, and ends with its input.
    let mut child = Command::new("sh")
        .args(["-c", "echo; exec cat"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::from(link))
        .spawn()
        .unwrap();
    child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
    let pid = child.id();
    let deadline = std::time::Instant::now() + crate::bench::TEST_TIMEOUT;
    let holder = loop {
        let found: Vec<Holder> = kernel.holders(Held::Link(link_id)).unwrap();
        assert!(std::time::Instant::now() < deadline, "{found:?}");
        if let [holder] = found.as_slice()
            && holder.command == "cat"
        {
            break holder.clone();
        }
    };
    assert_eq!(holder.pid, pid);
    drop(child.stdin.take());
    child.wait().unwrap();
    assert_eq!(pids(kernel, Held::Link(link_id)), [0; 0]);
}

#[test]
fn a_simulated_machine_has_the_holders_it_was_given() {
    let bench = crate::simulated::bench();
    let kernel: &SimKernel = &bench.kernel;
    let holder = Holder { pid: 1, command: "agent".to_owned(), unit: Some("agent.service".to_owned()) };
    kernel.add_holder(Held::Program(ProgramId(7)), holder.clone());
    assert_eq!(kernel.holders(Held::Program(ProgramId(7))).unwrap(), [holder]);
    assert_eq!(kernel.holders(Held::Program(ProgramId(8))).unwrap(), []);
}

crate::on_both_kernels!(this_process_is_among_the_holders_while_it_holds, links_are_opened_by_their_ids);
crate::on_linux!(other_process_is_reported_by_name);
