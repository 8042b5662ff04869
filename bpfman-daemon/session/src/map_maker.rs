//! The process that makes a session's maps, so that the kernel charges their memory to the cgroup of the session's client.
//!
//! The process runs as root, since it needs the right to create maps: the user can neither read nor debug it.
//! It serves only the daemon, which checks permissions, and can do nothing else.

use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::net::UnixListener;

use anyhow::Context as _;
use bpfmand_calls::{
    CallAnswer, CallAttr, CallMessage, CallRequest, Channel, Errno, FieldKind, FieldValue, command, layout,
};
use bpfmand_notify::{Assembler, Condition, Verdict, close_all_but, confine, create_map, fork};
use caps::{CapSet, Capability};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::sockopt::socket_peercred;
use rustix::process::{DumpableBehavior, Pid, WaitOptions, set_dumpable_behavior, waitpid};

/// Rights to create maps. CAP_NET_ADMIN is for sockmaps and maps of interfaces; without CAP_PERFMON, programs
/// need more instructions to look up arrays.
const RIGHTS: [Capability; 3] = [Capability::CAP_BPF, Capability::CAP_PERFMON, Capability::CAP_NET_ADMIN];

/// Calls for messages, memory, and the end.
const ALLOWED: &[libc::c_long] = &[
    libc::SYS_accept4,
    libc::SYS_brk,
    libc::SYS_close,
    libc::SYS_exit_group,
    libc::SYS_fcntl,
    libc::SYS_getrandom,
    libc::SYS_getsockopt,
    libc::SYS_madvise,
    libc::SYS_mmap,
    libc::SYS_mremap,
    libc::SYS_munmap,
    libc::SYS_ppoll,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_restart_syscall,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sendmsg,
    libc::SYS_sigaltstack,
];

/// Maximum number of times that the process is started for a session.
const MAX_STARTS: usize = 16;

/// Starts the process in this cgroup, and a parent that starts it again when it was killed. Both end with the
/// last process that has the other end of `alive`. Their own parent is the machine's first process, since a
/// receiver waits for its children. Returns the process in between, which ends at once: wait for it.
pub fn start(orders: &UnixListener, alive: &Channel) -> anyhow::Result<u32> {
    if let Some(child) = fork().context("cannot start the process for maps")? {
        return Ok(child);
    }
    let starts = matches!(fork(), Ok(None));
    // Skip destructors: they belong to the parent.
    std::process::exit(i32::from(starts && start_again(orders, alive).is_err()))
}

/// Starts the process as often as it is killed. Connections wait at the socket meanwhile.
fn start_again(orders: &UnixListener, alive: &Channel) -> anyhow::Result<()> {
    close_all_but(&[orders.as_raw_fd(), alive.number()])?;
    // When maps take the cgroup's last memory, the kernel kills another process. Some machines forbid this.
    let _refused = std::fs::write("/proc/self/oom_score_adj", "-1000");
    caps::clear(None, CapSet::Inheritable)?;
    caps::set(None, CapSet::Effective, &RIGHTS.into_iter().collect())?;
    caps::set(None, CapSet::Permitted, &RIGHTS.into_iter().collect())?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    for _ in 0..MAX_STARTS {
        let Some(maker) = fork()? else { return run(orders, alive) };
        let ended = waitpid(Pid::from_raw(maker.cast_signed()), WaitOptions::empty())?;
        if ended.is_none_or(|(_, status)| status.exit_status().is_some()) {
            break;
        }
    }
    Ok(())
}

fn run(orders: &UnixListener, alive: &Channel) -> anyhow::Result<()> {
    enter_sandbox()?;
    let mut daemon: Option<Channel> = None;
    loop {
        let source = daemon.as_ref().map_or_else(|| orders.as_fd(), |daemon| daemon.stream().as_fd());
        let mut ready =
            [PollFd::from_borrowed_fd(source, PollFlags::IN), PollFd::new(alive.stream(), PollFlags::IN)];
        poll(&mut ready, None)?;
        if !ready[1].revents().is_empty() {
            return Ok(());
        }
        daemon = match daemon {
            None => accept(orders),
            Some(daemon) => serve(&daemon).is_some().then_some(daemon),
        };
    }
}

fn accept(orders: &UnixListener) -> Option<Channel> {
    let (connection, _) = orders.accept().ok()?;
    socket_peercred(&connection).is_ok_and(|peer| peer.uid.is_root()).then(|| connection.into())
}

/// Serves one order. `None` when the daemon has ended.
fn serve(daemon: &Channel) -> Option<()> {
    let order = daemon.receive::<CallRequest>().ok().flatten()?;
    match make(order) {
        Ok(map) => daemon.send(CallAnswer::number(0), &[], &[map.as_fd()]),
        Err(error) => daemon.send(CallAnswer::refused(error), &[], &[]),
    }
    .ok()
}

fn make(order: CallMessage<CallRequest>) -> Result<OwnedFd, Errno> {
    let CallMessage { head, buffers, descriptors } = order;
    let CallRequest::Bpf { command: command::MAP_CREATE, fields, .. } = head else {
        return Err(Errno::INVAL);
    };
    let layout = layout(command::MAP_CREATE).ok_or(Errno::INVAL)?;
    let mut attr = CallAttr::copy(buffers.first().ok_or(Errno::INVAL)?, layout.known)?;
    let places = layout.fields(&mut attr)?;
    if places.len() != fields.len() {
        return Err(Errno::INVAL);
    }
    for (place, value) in places.into_iter().zip(fields) {
        let (FieldKind::Descriptor, FieldValue::Descriptor(index)) = (place.kind, value) else {
            return Err(Errno::BADF);
        };
        let descriptor = descriptors.get(index).ok_or(Errno::BADF)?;
        attr.set_word(place.at, descriptor.as_raw_fd().cast_unsigned());
    }
    Ok(create_map(attr.bytes())?)
}

fn enter_sandbox() -> std::io::Result<()> {
    let mut filter = Assembler::new();
    for call in ALLOWED {
        filter.rule(*call, &[], Verdict::Allow);
    }
    #[cfg(target_arch = "x86_64")]
    filter.rule(libc::SYS_poll, &[], Verdict::Allow);
    filter.rule(libc::SYS_bpf, &[(0, Condition::Is(command::MAP_CREATE))], Verdict::Allow);
    confine(&filter.end(Verdict::Kill))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(command: u32, attr: Vec<u8>, fields: Vec<FieldValue>) -> CallMessage<CallRequest> {
        let head = CallRequest::Bpf { command, fields, netns: None };
        CallMessage { head, buffers: vec![attr], descriptors: Vec::new() }
    }

    #[test]
    fn nothing_but_maps_is_made() {
        let errno = |order| make(order).map(drop).unwrap_err();
        assert_eq!(errno(order(command::PROG_LOAD, vec![0; 48], Vec::new())), Errno::INVAL);
        // A map of maps without the inner one, a later field, and a field that is not in the layout.
        assert_eq!(errno(order(command::MAP_CREATE, vec![12; 4], Vec::new())), Errno::INVAL);
        assert_eq!(errno(order(command::MAP_CREATE, vec![1; 160], Vec::new())), Errno::TOO_BIG);
        let inner = vec![FieldValue::Descriptor(0)];
        let of_maps = [&12_u32.to_ne_bytes()[..], &[0; 16]].concat();
        assert_eq!(errno(order(command::MAP_CREATE, of_maps, inner)), Errno::BADF);
    }
}
