use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use bpfman_model::uapi::attach_type;
use bpfman_model::{FileIdentity, KernelLinkId, TargetIdentity};

use super::attr::{self, Command};
use super::held_processes::HeldProcesses;
use super::namespaces::NamespaceFinder;
use super::pins::Bpffs;
use super::{
    cgroup, extension, facts, iterator, modules, multi_probes, netkit, netns_links, perf, perf_events,
    sockmap, struct_ops, sys, syscalls, tcx, usdt, xdp,
};
use crate::{KernelError, LinkTarget, NewLink, ProbeTargetError};

pub(super) const F_REPLACE: u32 = 1 << 2;

/// `finder` compares a known identity inside of the entered namespace: the path may lead to another one by now.
pub fn attach(
    finder: &NamespaceFinder,
    program: &OwnedFd,
    target: &LinkTarget<'_>,
) -> Result<NewLink<OwnedFd>, KernelError> {
    let held = HeldProcesses::of(target);
    let module = match target {
        LinkTarget::Kprobe { function, .. } => modules::of_function(function),
        _ => None,
    };
    let mut targets: Vec<TargetIdentity> = module.into_iter().map(TargetIdentity::Module).collect();
    let link = create(finder, program, target, &mut targets)?;
    let processes = held.identities().map_err(|pid| KernelError::CannotProbe {
        target: match (target.binary(), target) {
            (Some((binary, _)), _) => format!("\"{binary}\""),
            (None, LinkTarget::PerfEvent { place }) => format!("perf event {place}"),
            (None, _) => "a target".to_owned(),
        },
        reason: ProbeTargetError::NoProcess(pid),
    })?;
    targets.extend(processes.into_iter().map(TargetIdentity::Process));
    Ok(NewLink { link, targets })
}

fn create(
    finder: &NamespaceFinder,
    program: &OwnedFd,
    target: &LinkTarget<'_>,
    targets: &mut Vec<TargetIdentity>,
) -> Result<OwnedFd, KernelError> {
    let in_file = |(link, file): (OwnedFd, FileIdentity)| {
        targets.push(TargetIdentity::File(file));
        link
    };
    match target {
        LinkTarget::Xdp { home, netns, ifindex, mode } => {
            let subject = || format!("XDP of interface {ifindex}");
            finder.enter(*home, *netns, subject, || xdp::attach(program, *ifindex, *mode))
        }
        LinkTarget::Tcx { home, netns, ifindex, direction, anchor, expected_revision } => {
            let subject = || format!("tcx {direction} of interface {ifindex}");
            finder.enter(*home, *netns, subject, || {
                tcx::attach(program, *ifindex, *direction, *anchor, *expected_revision)
            })
        }
        LinkTarget::Tracepoint { category, name, cookie } => {
            let subject = format!("trace point {category}/{name}");
            link_event(program, &perf::tracepoint(category, name)?, *cookie, &subject)
        }
        LinkTarget::Kprobe { function, offset, inside_only, on_return, cookie } => {
            let event = perf::kprobe(function, *offset, *inside_only, *on_return)?;
            link_event(program, &event, *cookie, &format!("function {function}"))
        }
        LinkTarget::Ksyscall { name, on_return, cookie } => {
            let event = syscalls::probe(name, *on_return)?;
            link_event(program, &event, *cookie, &format!("system call {name}"))
        }
        LinkTarget::Uprobe { target, function, offset, scope, reader, on_return, known_only, cookie } => {
            let (function, offset, reader) = (*function, *offset, *reader);
            let place = perf::UserPlace { target, function, offset, scope, reader };
            let event = perf::uprobe(&place, *on_return, *known_only).map(in_file)?;
            link_event(program, &event, *cookie, &format!("file {target}"))
        }
        LinkTarget::Replacement(extends) => extension::attach(program, *extends),
        LinkTarget::RawTracepoint { name, cookie } => raw_tracepoint(program, name, *cookie),
        LinkTarget::KprobeMulti { functions, on_return, attach_type, cookie } => {
            multi_probes::attach_kprobes(program, functions, (*on_return, *attach_type), *cookie)
        }
        LinkTarget::UprobeMulti {
            target,
            functions,
            scope,
            reader,
            on_return,
            known_only,
            attach_type,
            cookie,
        } => {
            let places = perf::UserPlaces { target, functions, scope, reader: *reader };
            let how = (*on_return, *known_only, *attach_type);
            multi_probes::attach_uprobes(program, &places, how, *cookie).map(in_file)
        }
        LinkTarget::Netkit { home, netns, interface, attach_type } => {
            finder.enter_known(*home, *netns, || netkit::attach(program, *netns, interface, *attach_type))
        }
        LinkTarget::Usdt { target, provider, name, scope, reader, specs } => {
            let place = usdt::UsdtPlace { target, provider, name, scope, reader: *reader };
            usdt::attach(program, &place, *specs).map(in_file)
        }
        LinkTarget::Cgroup { path, attach_type, anchor, expected_revision } => {
            let (link, id) = cgroup::attach(program, (path, *attach_type), *anchor, *expected_revision)?;
            targets.push(TargetIdentity::Group { id });
            Ok(link)
        }
        LinkTarget::Netns { home, netns, attach_type } => {
            finder.enter_known(*home, *netns, || netns_links::attach(program, *attach_type))
        }
        LinkTarget::Netfilter { home, netns, place } => {
            finder.enter_known(*home, *netns, || netns_links::attach_netfilter(program, place))
        }
        LinkTarget::Sockmap { map, attach_type } => sockmap::attach(program, *map, *attach_type),
        LinkTarget::StructOps { map } => struct_ops::attach(*map),
        LinkTarget::PerfEvent { place } => {
            link_event(program, &perf_events::open(place)?, 0, &format!("perf event {place}"))
        }
        LinkTarget::Iterator => iterator::attach(program),
        LinkTarget::Trampoline { attach_type, cookie } if *cookie != 0 => {
            let mut request = attr::LinkCreateTracing {
                prog_fd: program.as_raw_fd(),
                attach_type: *attach_type,
                cookie: *cookie,
                ..Default::default()
            };
            sys::bpf_fd(Command::LinkCreate, &mut request).map_err(|source| {
                KernelError::call(
                    "attach",
                    "the program, with a cookie, to the function it was loaded for",
                    source,
                )
            })
        }
        LinkTarget::Trampoline { .. } => {
            let mut request = attr::RawTracepoint { prog_fd: program.as_raw_fd(), ..Default::default() };
            sys::bpf_fd(Command::RawTracepointOpen, &mut request).map_err(|source| {
                KernelError::call("attach", "the program to the function it was loaded for", source)
            })
        }
    }
}

pub fn find_target(target: &LinkTarget<'_>) -> Result<(), KernelError> {
    match target {
        LinkTarget::Tracepoint { category, name, .. } => perf::tracepoint(category, name).map(drop),
        LinkTarget::Kprobe { function, offset, inside_only, on_return, .. } => {
            perf::kprobe(function, *offset, *inside_only, *on_return).map(drop)
        }
        LinkTarget::Ksyscall { name, on_return, .. } => syscalls::probe(name, *on_return).map(drop),
        LinkTarget::Uprobe { target, function, offset, scope, reader, on_return, known_only, .. } => {
            let (function, offset, reader) = (*function, *offset, *reader);
            let place = perf::UserPlace { target, function, offset, scope, reader };
            perf::uprobe(&place, *on_return, *known_only).map(drop)
        }
        LinkTarget::Usdt { target, provider, name, scope, reader, .. } => {
            usdt::find(&usdt::UsdtPlace { target, provider, name, scope, reader: *reader })
        }
        LinkTarget::Xdp { .. }
        | LinkTarget::Tcx { .. }
        | LinkTarget::Replacement(_)
        | LinkTarget::RawTracepoint { .. }
        | LinkTarget::KprobeMulti { .. }
        | LinkTarget::UprobeMulti { .. }
        | LinkTarget::Cgroup { .. }
        | LinkTarget::Netns { .. }
        | LinkTarget::Netfilter { .. }
        | LinkTarget::PerfEvent { .. }
        | LinkTarget::Sockmap { .. }
        | LinkTarget::StructOps { .. }
        | LinkTarget::Netkit { .. }
        | LinkTarget::Iterator
        | LinkTarget::Trampoline { .. } => Ok(()),
    }
}

fn raw_tracepoint(program: &OwnedFd, name: &str, cookie: u64) -> Result<OwnedFd, KernelError> {
    let no_such = || KernelError::NoRawTracepoint { name: name.to_owned() };
    let text = CString::new(name).map_err(|_| no_such())?;
    let mut request = attr::RawTracepoint {
        name: text.as_ptr() as u64,
        prog_fd: program.as_raw_fd(),
        cookie,
        ..Default::default()
    };
    sys::bpf_fd(Command::RawTracepointOpen, &mut request).map_err(|source| match source.raw_os_error() {
        Some(libc::ENOENT) => no_such(),
        _ => KernelError::call("attach", format!("a program to raw trace point {name}"), source),
    })
}

fn link_event(
    program: &OwnedFd,
    event: &OwnedFd,
    cookie: u64,
    subject: &str,
) -> Result<OwnedFd, KernelError> {
    let mut request = attr::LinkCreateEvent {
        prog_fd: program.as_raw_fd(),
        event: event.as_raw_fd(),
        attach_type: attach_type::PERF_EVENT,
        flags: 0,
        cookie,
    };
    sys::bpf_fd(Command::LinkCreate, &mut request)
        .map_err(|source| KernelError::call("attach", format!("a program to {subject}"), source))
}

pub fn replace(link: &OwnedFd, program: &OwnedFd, expected: &OwnedFd) -> Result<(), KernelError> {
    update("swap the program", link, program, expected)
}

pub(super) fn update(
    action: &'static str,
    link: &OwnedFd,
    new: &OwnedFd,
    expected: &OwnedFd,
) -> Result<(), KernelError> {
    let mut request = attr::LinkUpdate {
        link_fd: link.as_raw_fd(),
        new_prog_fd: new.as_raw_fd(),
        flags: F_REPLACE,
        old_prog_fd: expected.as_raw_fd(),
    };
    sys::bpf(Command::LinkUpdate, &mut request).map(drop).map_err(|source| {
        let hook = || {
            facts::link(link).map_or_else(|_| "of a link".to_owned(), |link| format!("of link {}", link.id))
        };
        match source.raw_os_error() {
            Some(libc::EPERM) => KernelError::HookChanged { hook: hook() },
            _ => KernelError::call(action, hook(), source),
        }
    })
}

/// Removes a pinned link, or all of a folder, and waits until they are released: unpinning drops the reference only
/// after a grace period. XDP and tcx links are detached before, so that no packet reaches them.
pub fn end(pins: &Bpffs, path: &Path) -> Result<(), KernelError> {
    if !pins.is_folder(path)? {
        return release(pins, path)?.map_or(Ok(()), wait_until_gone);
    }
    // One grace period suffices for all.
    let mut released = Vec::new();
    for name in pins.list(path)? {
        released.extend(release(pins, &path.join(name))?);
    }
    pins.remove_folder(path)?;
    released.into_iter().try_for_each(wait_until_gone)
}

fn release(pins: &Bpffs, path: &Path) -> Result<Option<KernelLinkId>, KernelError> {
    let Some(link) = pins.get(path)? else { return Ok(None) };
    let facts = facts::link(&link)
        .map_err(|source| KernelError::call("describe link", path.display().to_string(), source))?;
    let detached = sys::bpf(Command::LinkDetach, &mut attr::Fd { fd: link.as_raw_fd() });
    match detached {
        Ok(_) => {}
        // Only network links can be detached explicitly; the others end with their last reference.
        Err(error) if matches!(error.raw_os_error(), Some(libc::EOPNOTSUPP)) => {}
        Err(source) => {
            return Err(KernelError::call("detach", format!("link {}", facts.id), source));
        }
    }
    pins.unpin(path)?;
    Ok(Some(facts.id))
}

fn wait_until_gone(id: KernelLinkId) -> Result<(), KernelError> {
    let deadline = Instant::now() + Duration::from_secs(2);
    let mut pause = Duration::from_micros(50);
    while facts::open(Command::LinkGetFdById, id.0)
        .map_err(|source| KernelError::call("look for", format!("link {id}"), source))?
        .is_some()
    {
        if Instant::now() > deadline {
            let held = io::Error::new(io::ErrorKind::TimedOut, "something else still holds it");
            return Err(KernelError::call("end", format!("link {id}"), held));
        }
        // The kernel does not report the end of a link; a query costs 2 µs.
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(2));
    }
    Ok(())
}
