//! Hooks: what runs there, and links and filters that attach programs.

use std::path::Path;

use bpfmand_core::{
    CgroupPath, GroupContents, HookContents, HookKey, HookKind, Interface, KernelLinkId, LinkFacts,
    ProcessScope, ProgramId, XdpRunsIn,
};

use crate::{FilterPlace, FoundFile, KernelError, KernelObjects, LinkTarget, NewLink};

/// Hooks: what runs there, and links and filters that attach programs.
pub trait KernelHooks: KernelObjects {
    /// Facts of a link that is held.
    ///
    /// # Errors
    /// The kernel refuses to tell, or the handle holds something else.
    fn link_of(&self, handle: &Self::Handle) -> Result<LinkFacts, KernelError>;

    /// Finds the hook of an interface.
    ///
    /// # Errors
    /// [`KernelError::NoInterface`], [`KernelError::NoNamespace`].
    fn find_hook(&self, interface: &Interface, kind: HookKind) -> Result<HookKey, KernelError>;

    /// Everything that runs at a hook, ours and others', in the order in which packets meet it. XDP: one program, or one
    /// of the card and one of the driver or the stack. Tcx: the tcx programs. Tc: the tcx programs, then the filters.
    ///
    /// The hook is looked for in its namespace, wherever that is found: `netns` is where it was before.
    ///
    /// # Errors
    /// [`KernelError::HookGone`]: the interface is gone. [`KernelError::NamespaceNotFound`]: whether it is gone is not known.
    fn hook_contents(&self, netns: Option<&Path>, key: &HookKey) -> Result<HookContents, KernelError>;

    /// What is attached to a hook of a control group itself.
    ///
    /// # Errors
    /// [`KernelError::NoControlGroup`]; the kernel refuses to tell.
    fn group_contents(&self, path: &CgroupPath, attach_type: u32) -> Result<GroupContents, KernelError>;

    /// Ids of all links, ascending.
    ///
    /// # Errors
    /// The kernel refuses to tell.
    fn link_ids(&self) -> Result<Vec<KernelLinkId>, KernelError>;

    /// Holds a link by id; none if it is gone, or is still being made.
    ///
    /// # Errors
    /// The kernel refuses.
    fn open_link(&self, id: KernelLinkId) -> Result<Option<Self::Handle>, KernelError>;

    /// Ties a program to a target. The program runs from now on, until the link is dropped and not pinned.
    ///
    /// # Errors
    /// [`KernelError::HookHeld`] where a hook takes one program and has it; [`KernelError::HookChanged`] at another
    /// revision than expected; [`KernelError::NoAnchor`]; [`KernelError::HookFull`]; a missing target by name.
    fn attach(&self, program: &Self::Handle, target: &LinkTarget<'_>) -> Result<Self::Handle, KernelError> {
        Ok(self.attach_identified(program, target)?.link)
    }

    /// The same, with the identities of the file, processes and module that it was attached to. They are of the very file
    /// whose functions were looked up and whose code is probed, as it was before the look, and of processes that were there
    /// before and after.
    ///
    /// # Errors
    /// See [`KernelHooks::attach`]; a process that ended meanwhile.
    fn attach_identified(
        &self,
        program: &Self::Handle,
        target: &LinkTarget<'_>,
    ) -> Result<NewLink<Self::Handle>, KernelError>;

    /// Returns the file that the target of a user-space probe leads to now. The call lasts as long as the file system of
    /// that path takes, which may be for ever.
    ///
    /// # Errors
    /// No file is there, or it cannot be opened.
    fn binary_identity(&self, target: &str, scope: &ProcessScope) -> Result<FoundFile, KernelError>;

    /// Runs the program of an iterator's link from the beginning. `each` gets what it writes, in pieces, until it says
    /// that it wants no more; with nothing it is asked before each step. The link is not held meanwhile.
    ///
    /// # Errors
    /// The link is of no iterator; the program failed.
    fn read_iterator(
        &self,
        link: Self::Handle,
        each: &mut dyn FnMut(&[u8]) -> bool,
    ) -> Result<(), KernelError>;

    /// Looks a target of a probe or trace point up, as [`KernelHooks::attach`] would, without a program. Targets
    /// of other kinds are looked up by other calls.
    ///
    /// # Errors
    /// A missing target by name; the kernel lacks such targets.
    fn find_target(&self, target: &LinkTarget<'_>) -> Result<(), KernelError>;

    /// Puts another program in a link's place, atomically for packets.
    ///
    /// # Errors
    /// [`KernelError::HookChanged`] if the link does not run `expected`.
    fn replace(
        &self,
        link: &Self::Handle,
        program: &Self::Handle,
        expected: &Self::Handle,
    ) -> Result<(), KernelError>;

    /// Has the link of a structure of functions hold another map's, in one step for who calls them.
    ///
    /// # Errors
    /// [`KernelError::HookChanged`] if the link does not hold `expected`; the kernel takes no other in its place, as of
    /// another name.
    fn replace_struct_ops(
        &self,
        link: &Self::Handle,
        map: &Self::Handle,
        expected: &Self::Handle,
    ) -> Result<(), KernelError>;

    /// Puts a program at an XDP hook without a link, as libxdp does, atomically for packets, if the hook runs `expected`
    /// there, which has no link either; none stands for nothing. No program: what is expected is taken away. The program
    /// stays when this process ends.
    ///
    /// # Errors
    /// [`KernelError::HookChanged`] if the hook runs anything else: it is left as it is. [`KernelError::HookGone`].
    fn replace_unlinked_xdp(
        &self,
        netns: Option<&Path>,
        key: &HookKey,
        mode: XdpRunsIn,
        program: Option<&Self::Handle>,
        expected: Option<&Self::Handle>,
    ) -> Result<(), KernelError>;

    /// True if a link at XDP or tcx is at a hook. An interface that is moved to another network namespace takes its links
    /// along, and keeps its number where that is free: the number alone does not tell where a link is.
    ///
    /// The kernel does not name the namespace of an XDP link: one that runs the program of this hook counts as being here.
    ///
    /// # Errors
    /// As [`KernelHooks::hook_contents`].
    fn is_link_at(&self, netns: Option<&Path>, key: &HookKey, link: &LinkFacts) -> Result<bool, KernelError> {
        Ok(self.hook_contents(netns, key)?.entries.iter().any(|entry| entry.may_be_link(link.id)))
    }

    /// Ends the link that is pinned at `path`, or all links of a folder there with the folder, and returns when the kernel
    /// has let go of them.
    ///
    /// An absent pin is fine.
    ///
    /// # Errors
    /// The kernel refuses.
    fn end_link(&self, path: &Path) -> Result<(), KernelError>;

    /// Adds a direct-action filter to an interface's clsact hook, which is made if it is missing. No other filter may
    /// have its numbers.
    ///
    /// # Errors
    /// An ingress qdisc of another kind is in the way, or the kernel refuses.
    fn add_filter(&self, at: &FilterPlace<'_>, program: &Self::Handle, name: &str)
    -> Result<(), KernelError>;

    /// Puts another program in a filter's place, atomically for packets, if the filter still runs `expected`.
    ///
    /// # Errors
    /// [`KernelError::HookChanged`] if it runs another program or is gone.
    fn replace_filter(
        &self,
        at: &FilterPlace<'_>,
        program: &Self::Handle,
        expected: ProgramId,
        name: &str,
    ) -> Result<(), KernelError>;

    /// Removes a filter if it still runs `expected`; a filter or interface that is gone is fine.
    ///
    /// # Errors
    /// [`KernelError::NamespaceNotFound`]: the filter may run on. The kernel refuses.
    fn remove_filter(&self, at: &FilterPlace<'_>, expected: ProgramId) -> Result<(), KernelError>;

    /// The program that a filter runs; none if there is no such filter of a BPF program.
    ///
    /// # Errors
    /// [`KernelError::NamespaceNotFound`]: whether there is one is not known. The kernel refuses to tell.
    fn filter_program(&self, at: &FilterPlace<'_>) -> Result<Option<ProgramId>, KernelError>;
}
