use std::io::ErrorKind;

use bpfmand_kernel::KernelError;
use bpfmand_store::{CommitOutcome, StoreError};

use super::EngineError;

impl EngineError {
    /// Returns the next step for the user, if there is one.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let text = match self {
            Self::NoProgram(_) => "`bpfman list programs` shows the programs that bpfman manages",
            Self::NoMap { .. } | Self::NoMapOfOurs(_) => {
                "`bpfman map list` shows the maps, `bpfman get program ID` those of a program"
            }
            Self::MapReadOnly { .. } => "`bpfman map dump` and `bpfman map get` show them",
            Self::InnerMapOfOthers { .. } => "root can read it by `bpftool map dump id ID`",
            Self::Repeated { .. } => "`--again` attaches it once more all the same",
            Self::NoLink(_) => "`bpfman list links` shows the links",
            Self::NoKernelLink(_) | Self::NoPin { .. } => {
                "`bpftool link` shows the kernel's links, with `-f` where they are pinned"
            }
            Self::HeldByOurs { link: Some(link), .. } => {
                return Some(format!(
                    "`bpfman detach {link}` frees it; a new version can be attached there once the old one is detached"
                ));
            }
            Self::HeldByOurs { link: None, .. } => {
                "attach with another priority; the link's owner and root can detach the link"
            }
            Self::NoStray { .. } => "`bpfman stray list` shows them",
            Self::StrayAtHook { .. } => {
                "`bpfman stray list` shows it; `bpfman adopt` manages it from now on, `bpfman stray remove` ends it"
            }
            Self::OlderRecords { .. } => {
                "`bpfman stray remove` puts the recorded chain in its place; to keep it, give the daemon its newest state \
                 folder back"
            }
            Self::NoMatching(_) => "`bpfman list matches` shows them",
            Self::MaxMatchings { .. } => {
                "`bpfman list matches` shows them; one attachment to several patterns (--iface-match 'eth*,veth*') counts \
                 once"
            }
            Self::Paused { why, .. } => why.hint(),
            Self::Reader(_) => {
                "try again; if it fails for this object alone, something in it ends who reads it: the kernel's log (SIGSYS, \
                 out of memory) may say what"
            }
            Self::ChainFull { .. } | Self::KeptPlaces { .. } => "detach a program of this hook first",
            Self::OverBudget { .. } => {
                "detach another program of this owner from the hook, or have chains.owner_… in bpfman.toml raised"
            }
            Self::OwnersMapMemory { setting, .. } => {
                return Some(format!(
                    "unload programs of the owner, or have {setting} in bpfman.toml raised"
                ));
            }
            Self::MapMemory { .. } => {
                "give the map fewer entries (--map-size MAP=ENTRIES), or have maps.mib_per_load in bpfman.toml raised"
            }
            Self::MapsShared { .. } => "unload the program that shares them first, or keep program and maps",
            Self::MapDiffers { .. } => "give the map another name, or let the new version have new maps",
            Self::Object(source) => return source.hint().map(str::to_owned),
            Self::Bytes { source, .. } => return source.hint().map(str::to_owned),
            Self::NoAnchor { .. } => {
                "`bpfman chain show` prints what runs at a hook; role=NAME may name what comes later; applications of a \
                 namespace always run after cluster applications and programs of the machine"
            }
            Self::Contradiction { .. } => {
                "leave out one of these intents, or change one with `bpfman update link`"
            }
            Self::InBetween { .. } => {
                "attach that link again behind this one, or leave out one of the intents"
            }
            Self::NoFrags { .. } => {
                "build these programs with SEC(\"xdp.frags\"), lower the MTU, or attach in generic mode"
            }
            Self::SendsToGuarded { link, .. } => {
                return Some(format!(
                    "`bpfman get link {link}` shows the machine's link; let the program return constants only (XDP_PASS, XDP_DROP), \
                     and redirect to constant targets without such a link"
                ));
            }
            Self::HookOnHold { hook, .. } => {
                return Some(format!(
                    "`bpfman debug release {hook}` releases it, for the caller who froze it and for root"
                ));
            }
            Self::ChainRefused { source, .. } => {
                return Some(rejected(source, "attach one of the programs to another hook"));
            }
            Self::NotInKernel { what, .. } if what.contains("kernel function __bpf_trap") => {
                "clang calls it where it found undefined behaviour, or for __builtin_trap(): a missing return, a variable \
                 without a value; compile with -Wall, or see to it that the program does not get there"
            }
            Self::NotInKernel { .. } => {
                "let the program ask first (bpf_core_field_exists(), bpf_ksym_exists()), load the kernel module that has \
                 it, or build the program for this kernel"
            }
            Self::WrongPoint { .. } => {
                "attach it to a point of its own type, or load it again with the type you want"
            }
            Self::Kernel(KernelError::Refused { log, .. }) if log.is_empty() => {
                "the kernel refused before its verifier ran: it may forbid this type of program (lockdown, a missing \
                 feature), or the daemon lacks CAP_BPF, CAP_PERFMON or CAP_NET_ADMIN"
            }
            Self::Kernel(error @ KernelError::Refused { .. }) => return Some(rejected(error, "")),
            Self::Kernel(KernelError::HookHeld { look, .. }) => {
                let look =
                    look.as_deref().map_or_else(String::new, |look| format!("`{look}` shows the holder; "));
                return Some(format!("{look}bpfman never replaces what others put there"));
            }
            Self::Kernel(KernelError::Call { action, source, .. })
                if *action == "attach" && source.kind() == ErrorKind::PermissionDenied =>
            {
                "the kernel denies it to the daemon: `bpfman doctor` names the capabilities that it was started without"
            }
            Self::Kernel(KernelError::SharedHook { .. }) => {
                "detach that one first: each packet would meet both programs; `ip -d link` shows which interfaces belong together"
            }
            Self::Kernel(KernelError::HookChanged { .. }) => {
                "someone replaced the program at this hook; detach theirs, then try again"
            }
            Self::Kernel(KernelError::NoInterface { .. }) => "`ip link` shows the interfaces",
            Self::Kernel(KernelError::NamespaceNotFound { netns, .. }) => {
                return Some(format!(
                    "`ls -l /proc/[0-9]*/fd 2>/dev/null | grep 'net:\\[{}\\]'` shows descriptors that keep it, with their \
                     processes; once a path leads there, or it has ended, try again",
                    netns.inode
                ));
            }
            Self::Kernel(KernelError::UnsizedMap { map, property: "max_entries", .. }) => {
                return Some(format!("set it: --map-size {map}=ENTRIES"));
            }
            Self::Kernel(KernelError::UnsizedMap { .. }) => {
                "give the map its size in the source of the object, or load the object with its own loader"
            }
            Self::Kernel(KernelError::BadMap { .. }) => {
                "correct the map's definition in the source of the object, and build it again"
            }
            Self::Guard(refusal) => return refusal.hint(),
            Self::Extension(refusal) => return refusal.hint(),
            Self::Verified(limit) => limit.hint(),
            Self::HookHeld(conflict) => return Some(conflict.hint()),
            Self::Dispatcher { hint, .. } => return Some(hint.clone()),
            Self::Image(failure) => return failure.hint.clone(),
            Self::NewMember { hook } => {
                return Some(format!(
                    "`bpfman chain show {hook}` shows its members; then repeat the command"
                ));
            }
            Self::NewPlace { program } => {
                return Some(format!(
                    "`bpfman get program {program}` shows where it is attached; then repeat the command"
                ));
            }
            Self::OtherFreeze { hook } => {
                return Some(format!("`bpfman chain show {hook}` shows the caller who froze it"));
            }
            Self::TraceMaySend { .. } => "add `--for-real` to the command to run it all the same",
            Self::MembersChange { .. } => "check it again when they are not being replaced",
            Self::EarlierProcess { .. } => "detach the link, and attach its program to the process of now",
            Self::Lost { .. } => {
                "the daemon tries again when a kernel module is loaded, and every few minutes; unload the program to give it \
                 up"
            }
            Self::Denied(_) => "ask root to load it, or load an image that root's policy admits",
            Self::StoreUnsure | Self::Store(StoreError::NotSaved { outcome: CommitOutcome::Unknown, .. }) => {
                "see that the disk of the state folder has room and works: the next change tries again, and so does a \
                 restart of the daemon"
            }
            Self::NotUndone { .. } => {
                "the daemon tries again to undo it with the next change and every time it checks hooks; a restart does too"
            }
            _ => return None,
        };
        Some(text.to_owned())
    }
}

fn rejected(error: &KernelError, otherwise: &str) -> String {
    let advice =
        error.rejection().and_then(|rejection| rejection.cause.as_ref()).map_or("", |cause| cause.advice);
    let lines = [advice, otherwise, "`--verifier-log` shows the verifier's whole log"];
    lines.into_iter().filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trap_of_the_compiler_is_no_missing_function() {
        let hint = |what: &str| {
            let source = Box::new(KernelError::NotMounted { root: "/".to_owned() });
            EngineError::NotInKernel { origin: String::new(), what: what.to_owned(), source }.hint().unwrap()
        };
        let trap = hint("function main, instruction 4 wants kernel function __bpf_trap (weak)");
        assert!(trap.contains("undefined behaviour") && !trap.contains("bpf_ksym_exists"), "{trap}");
        assert!(hint("it wants kernel function bpf_obj_new").contains("bpf_ksym_exists"));
    }
}
