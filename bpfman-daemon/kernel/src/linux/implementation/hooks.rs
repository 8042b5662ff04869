use std::os::fd::OwnedFd;
use std::path::Path;

use bpfman_model::{
    CgroupPath, FileReader, GroupContents, HookContents, HookKey, HookKind, Interface, KernelLinkId,
    LinkFacts, NetnsId, ProcessScope, ProgramId, XdpRunsIn,
};

use crate::linux::{
    LinuxKernel, attr::Command, cgroup, clsact, facts, hook_contents, iterator, links, netkit, netns,
    struct_ops, symbols, xdp,
};
use crate::search_once;
use crate::{FilterPlace, FoundFile, KernelError, KernelHooks, LinkTarget, NewLink, ProbeTargetError};

impl LinuxKernel {
    fn at_filter<T: Send>(
        &self,
        at: &FilterPlace<'_>,
        work: impl FnOnce() -> Result<T, KernelError> + Send,
    ) -> Result<T, KernelError> {
        let subject = || format!("tc {} of interface {}", at.direction, at.ifindex);
        self.namespaces.enter(at.home, at.netns, subject, work)
    }
}

impl KernelHooks for LinuxKernel {
    fn link_of(&self, handle: &OwnedFd) -> Result<LinkFacts, KernelError> {
        facts::link(handle).map_err(|source| KernelError::call("describe", "a link", source))
    }

    fn find_hook(&self, interface: &Interface, kind: HookKind) -> Result<HookKey, KernelError> {
        let mut key = netns::find_hook(interface, kind)?;
        key.netns = self.namespaces.identity(key.netns.into()).into();
        if let (Some(netns), Some(path)) = (key.netns.id(), &interface.netns) {
            self.namespaces.note(netns, path);
        }
        Ok(key)
    }

    fn hook_contents(&self, netns: Option<&Path>, key: &HookKey) -> Result<HookContents, KernelError> {
        hook_contents::read(&self.namespaces, netns, key)
    }

    fn group_contents(&self, path: &CgroupPath, attach_type: u32) -> Result<GroupContents, KernelError> {
        cgroup::contents(path, attach_type)
    }

    fn link_ids(&self) -> Result<Vec<KernelLinkId>, KernelError> {
        facts::link_ids().map_err(|source| KernelError::call("list", "links", source))
    }

    fn open_link(&self, id: KernelLinkId) -> Result<Option<OwnedFd>, KernelError> {
        facts::open(Command::LinkGetFdById, id.0)
            .map_err(|source| KernelError::call("open", format!("link {id}"), source))
    }

    fn attach_identified(
        &self,
        program: &OwnedFd,
        target: &LinkTarget<'_>,
    ) -> Result<NewLink<OwnedFd>, KernelError> {
        self.features.check_target(target)?;
        links::attach(&self.namespaces, program, target)
    }

    fn binary_identity(
        &self,
        target: &str,
        scope: &ProcessScope,
        reader: Option<&FileReader>,
    ) -> Result<FoundFile, KernelError> {
        let fail =
            |reason: ProbeTargetError| KernelError::CannotProbe { target: format!("\"{target}\""), reason };
        let file = symbols::find_file(target, scope, reader).map_err(fail)?;
        Ok(FoundFile { identity: file.identity().map_err(fail)?, is_local: file.is_local() })
    }

    fn read_iterator(&self, link: OwnedFd, each: &mut dyn FnMut(&[u8]) -> bool) -> Result<(), KernelError> {
        iterator::read(link, each)
    }

    fn find_target(&self, target: &LinkTarget<'_>) -> Result<(), KernelError> {
        links::find_target(target)
    }

    fn replace(&self, link: &OwnedFd, program: &OwnedFd, expected: &OwnedFd) -> Result<(), KernelError> {
        links::replace(link, program, expected)
    }

    fn replace_struct_ops(
        &self,
        link: &OwnedFd,
        map: &OwnedFd,
        expected: &OwnedFd,
    ) -> Result<(), KernelError> {
        struct_ops::replace(link, map, expected)
    }

    fn replace_unlinked_xdp(
        &self,
        netns: Option<&Path>,
        key: &HookKey,
        mode: XdpRunsIn,
        program: Option<&OwnedFd>,
        expected: Option<&OwnedFd>,
    ) -> Result<(), KernelError> {
        hook_contents::at(&self.namespaces, netns, key, || {
            xdp::replace_unlinked(key, mode, program, expected)
        })
    }

    fn is_link_at(&self, netns: Option<&Path>, key: &HookKey, link: &LinkFacts) -> Result<bool, KernelError> {
        hook_contents::has_link(&self.namespaces, netns, key, link)
    }

    fn netkit_device(
        &self,
        home: NetnsId,
        netns: Option<&Path>,
        link: &OwnedFd,
        attach_type: u32,
    ) -> Result<Option<String>, KernelError> {
        let known = search_once::netkit_devices(home);
        let (name, devices) = self.namespaces.enter_known(Some(home), netns, || {
            let devices = known.map_or_else(netkit::devices_here, Ok)?;
            Ok((netkit::device_here(link, attach_type, devices.clone())?, devices))
        })?;
        search_once::keep_netkit_devices(home, devices);
        Ok(name)
    }

    fn end_link(&self, path: &Path) -> Result<(), KernelError> {
        links::end(&self.pins, path)
    }

    fn add_filter(&self, at: &FilterPlace<'_>, program: &OwnedFd, name: &str) -> Result<(), KernelError> {
        self.at_filter(at, || clsact::add(at, program, name))
    }

    fn replace_filter(
        &self,
        at: &FilterPlace<'_>,
        program: &OwnedFd,
        expected: ProgramId,
        name: &str,
    ) -> Result<(), KernelError> {
        self.at_filter(at, || clsact::replace(at, program, expected, name))
    }

    fn remove_filter(&self, at: &FilterPlace<'_>, expected: ProgramId) -> Result<(), KernelError> {
        self.at_filter(at, || clsact::remove(at, expected))
    }

    fn filter_program(&self, at: &FilterPlace<'_>) -> Result<Option<ProgramId>, KernelError> {
        self.at_filter(at, || clsact::program(at))
    }
}
