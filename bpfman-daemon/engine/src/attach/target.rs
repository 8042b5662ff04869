//! The kernel's target of an attachment.

use bpfman_model::{AttachPoint, HookKind, Owner};
use bpfmand_kernel::{Kernel, LinkTarget, ProgramKind};

use crate::state::records::{LinkRecord, ProgramRecord};
use crate::{Engine, EngineError};

const USDT_SPECS: &str = "__bpf_usdt_specs";

/// Returns whether a probe must lie inside the function. Root may probe other addresses.
fn is_known_only(program: &ProgramRecord, link: &LinkRecord) -> bool {
    program.guard.is_some() || link.owner(program) != Owner::Root
}

impl<K: Kernel> Engine<K> {
    pub(crate) fn link_target<'a>(
        &self,
        program: &ProgramRecord,
        link: &'a LinkRecord,
    ) -> Result<LinkTarget<'a>, EngineError> {
        let on_return = program.program_type.is_return_probe();
        let cookie = self.let_in(program, link)?;
        let attach_type =
            || ProgramKind::new(program.program_type, program.target.as_deref()).expected_attach_type;
        Ok(match &link.point {
            AttachPoint::Tracepoint { category, name } => LinkTarget::Tracepoint { category, name, cookie },
            AttachPoint::Kprobe { function, offset } => {
                let inside_only = is_known_only(program, link);
                LinkTarget::Kprobe { function, offset: *offset, inside_only, on_return, cookie }
            }
            AttachPoint::Netkit { interface } => LinkTarget::Netkit {
                home: link.namespace,
                netns: interface.netns.as_deref(),
                interface: &interface.name,
                attach_type: attach_type(),
            },
            AttachPoint::Usdt { target, provider, name, scope } => {
                let specs = program.maps.iter().find(|map| map.name == USDT_SPECS).and_then(|map| map.id);
                LinkTarget::Usdt {
                    target,
                    provider,
                    name,
                    scope,
                    reader: self.reader_of(program, link)?,
                    specs,
                }
            }
            AttachPoint::Ksyscall { name } => LinkTarget::Ksyscall { name, on_return, cookie },
            AttachPoint::Uprobe { target, function, offset, scope } => LinkTarget::Uprobe {
                target,
                function: function.as_deref(),
                offset: *offset,
                scope: self.scope_of(program, link, scope)?,
                reader: self.reader_of(program, link)?,
                on_return,
                known_only: is_known_only(program, link),
                cookie,
            },
            AttachPoint::RawTracepoint { name } => LinkTarget::RawTracepoint { name, cookie },
            AttachPoint::KprobeMulti { functions } => {
                LinkTarget::KprobeMulti { functions, on_return, attach_type: attach_type(), cookie }
            }
            AttachPoint::UprobeMulti { target, functions, scope } => LinkTarget::UprobeMulti {
                target,
                functions,
                scope,
                reader: self.reader_of(program, link)?,
                on_return,
                known_only: is_known_only(program, link),
                attach_type: attach_type(),
                cookie,
            },
            AttachPoint::Fentry
            | AttachPoint::Fexit
            | AttachPoint::FmodRet
            | AttachPoint::BtfTracepoint
            | AttachPoint::Lsm => LinkTarget::Trampoline { attach_type: attach_type(), cookie },
            AttachPoint::Iter => LinkTarget::Iterator,
            AttachPoint::Freplace => self.extension_target(program)?,
            AttachPoint::PerfEvent { place } => LinkTarget::PerfEvent { place: *place },
            AttachPoint::Sockmap { map } => {
                LinkTarget::Sockmap { map: self.sockmap_of(program, map)?, attach_type: attach_type() }
            }
            AttachPoint::StructOps { map } => LinkTarget::StructOps { map: self.functions_of(program, map)? },
            AttachPoint::Cgroup { path } => {
                let (anchor, expected_revision) = self.group_place(program, link)?;
                LinkTarget::Cgroup { path, attach_type: attach_type(), anchor, expected_revision }
            }
            AttachPoint::Netns { netns } => LinkTarget::Netns {
                home: link.namespace,
                netns: netns.as_deref(),
                attach_type: attach_type(),
            },
            AttachPoint::Netfilter { netns, place } => {
                LinkTarget::Netfilter { home: link.namespace, netns: netns.as_deref(), place: *place }
            }
            AttachPoint::Tcx { interface, direction, .. } => {
                let key = link
                    .hook
                    .map_or_else(|| self.kernel.find_hook(interface, HookKind::Tcx(*direction)), Ok)?;
                let (anchor, expected_revision) = self.tcx_place(&key, link)?;
                LinkTarget::Tcx {
                    home: key.netns.into(),
                    netns: interface.netns.as_deref(),
                    ifindex: key.ifindex,
                    direction: *direction,
                    anchor,
                    expected_revision,
                }
            }
            AttachPoint::Xdp { .. } | AttachPoint::Tc { .. } => {
                return Err(EngineError::Fault(format!("link {} is a member of a chain", link.id)));
            }
        })
    }
}
