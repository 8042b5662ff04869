use std::io::ErrorKind;

use bpfman_model::Hint;
use bpfmand_kernel::KernelError;
use bpfmand_store::{CommitOutcome, StoreError};

use super::EngineError;

impl EngineError {
    /// Returns the next step for the user, if there is one.
    #[must_use]
    pub fn hint(&self) -> Option<Hint> {
        Some(match self {
            Self::NoProgram(_) => Hint::ListPrograms,
            Self::NoMap { program, .. } | Self::NewPlace { program } => Hint::GetProgram(*program),
            Self::NoMapOfOurs(_) => Hint::ListMaps,
            Self::MapReadOnly { map, .. } => Hint::DumpMap(*map),
            Self::InnerMapOfOthers { map, .. } => Hint::KernelMap(*map),
            Self::Repeated { .. } => "`--again` attaches it once more all the same".into(),
            Self::NoLink(_) => Hint::ListLinks,
            Self::NoKernelLink(_) | Self::NoPin { .. } => Hint::KernelLinks,
            Self::HeldByOurs { link: Some(link), .. } => Hint::Detach(*link),
            Self::HeldByOurs { link: None, .. } => {
                "attach with another priority; the link's owner and root can detach the link".into()
            }
            Self::NoStray { .. } => Hint::ListStrays,
            Self::StrayAtHook { link, .. } => Hint::Lines(vec![Hint::Adopt(*link), Hint::ListStrays]),
            Self::OlderRecords { .. } => Hint::Lines(vec![
                "its removal puts the recorded chain in its place; to keep it, give the daemon its newest state \
                 folder back"
                    .into(),
                Hint::ListStrays,
            ]),
            Self::NoMatching(_) => Hint::ListMatches,
            Self::MaxMatchings { .. } => Hint::Lines(vec![
                Hint::ListMatches,
                "one attachment to several patterns (--iface-match 'eth*,veth*') counts once".into(),
            ]),
            Self::Paused { why, .. } => why.hint().into(),
            Self::Reader(_) => {
                "try again; if it fails for this object alone, something in it ends who reads it: the kernel's log (SIGSYS, \
                 out of memory) may say what"
                    .into()
            }
            Self::ChainFull { .. } | Self::KeptPlaces { .. } => "detach a program of this hook first".into(),
            Self::OverBudget { .. } => {
                "detach another program of this owner from the hook, or have chains.owner_… in bpfman.toml raised".into()
            }
            Self::OwnersMapMemory { setting, .. } => {
                format!("unload programs of the owner, or have {setting} in bpfman.toml raised").into()
            }
            Self::MapMemory { .. } => {
                "give the map fewer entries (--map-size MAP=ENTRIES), or have maps.mib_per_load in bpfman.toml raised"
                    .into()
            }
            Self::MapsShared { .. } => {
                "unload the program that shares them first, or keep program and maps".into()
            }
            Self::MapDiffers { .. } => "give the map another name, or let the new version have new maps".into(),
            Self::Object(source) => source.hint()?.into(),
            Self::Bytes { source, .. } => source.hint()?.into(),
            Self::NoAnchor { hook, there, .. } => {
                let shown = (!there.is_empty()).then(|| Hint::ShowChain { hook: hook.clone() });
                let roles = "role=NAME may name what comes later; applications of a namespace always run after cluster applications and \
                 programs of the machine";
                Hint::Lines(shown.into_iter().chain([roles.into()]).collect())
            }
            Self::Contradiction { contradiction, .. } => match contradiction.ordered() {
                Some(link) => Hint::ClearOrder(link),
                None => "leave out one of these intents".into(),
            },
            Self::InBetween { .. } => {
                "attach that link again behind this one, or leave out one of the intents".into()
            }
            Self::NoFrags { .. } => {
                "build these programs with SEC(\"xdp.frags\"), lower the MTU, or attach in generic mode".into()
            }
            Self::SendsToGuarded { link, .. } => Hint::Lines(vec![
                Hint::GetLink(*link),
                "let the program return constants only (XDP_PASS, XDP_DROP), and redirect to constant targets without such a \
                 link"
                    .into(),
            ]),
            Self::HookOnHold { hook, .. } => Hint::Release { hook: hook.clone() },
            Self::ChainRefused { source, .. } => rejected(source, "attach one of the programs to another hook"),
            Self::NotInKernel { what, .. } if what.contains("kernel function __bpf_trap") => {
                "clang calls it where it found undefined behaviour, or for __builtin_trap(): a missing return, a variable \
                 without a value; compile with -Wall, or see to it that the program does not get there"
                    .into()
            }
            Self::NotInKernel { .. } => {
                "let the program ask first (bpf_core_field_exists(), bpf_ksym_exists()), load the kernel module that has \
                 it, or build the program for this kernel"
                    .into()
            }
            Self::WrongPoint { .. } => {
                "attach it to a point of its own type, or load it again with the type you want".into()
            }
            Self::Kernel(error) => return of_kernel(error),
            Self::Guard(refusal) => return refusal.hint(),
            Self::Extension(refusal) => refusal.hint(),
            Self::Verified(limit) => limit.hint().into(),
            Self::HookHeld(conflict) => conflict.hint(),
            Self::Dispatcher { hint, .. } => hint.clone(),
            Self::Image(failure) => return failure.hint.clone(),
            Self::NewMember { hook } | Self::OtherFreeze { hook } => Hint::ShowChain { hook: hook.clone() },
            Self::TraceMaySend { .. } => "add `--for-real` to the command to run it all the same".into(),
            Self::MembersChange { .. } => "check it again when they are not being replaced".into(),
            Self::EarlierProcess { .. } => {
                "detach the link, and attach its program to the process of now".into()
            }
            Self::Lost { .. } => {
                "the daemon tries again when a kernel module is loaded, and every few minutes; unload the program to give it \
                 up"
                    .into()
            }
            Self::Denied(_) => "ask root to load it, or load an image that root's policy admits".into(),
            Self::StoreUnsure | Self::Store(StoreError::NotSaved { outcome: CommitOutcome::Unknown, .. }) => {
                "see that the disk of the state folder has room and works: the next change tries again, and so does a \
                 restart of the daemon"
                    .into()
            }
            Self::NotUndone { .. } => {
                "the daemon tries again to undo it with the next change and every time it checks hooks; a restart does too"
                    .into()
            }
            _ => return None,
        })
    }
}

fn of_kernel(error: &KernelError) -> Option<Hint> {
    Some(match error {
        KernelError::Refused { log, .. } if log.is_empty() => {
            "the kernel refused before its verifier ran: it may forbid this type of program (lockdown, a missing \
             feature), or the daemon lacks CAP_BPF, CAP_PERFMON or CAP_NET_ADMIN"
                .into()
        }
        KernelError::Refused { .. } => rejected(error, ""),
        KernelError::HookHeld { look: Some(look), .. } => Hint::Holder { command: look.clone() },
        KernelError::HookHeld { look: None, .. } => "bpfman never replaces what others put there".into(),
        KernelError::Call { action, source, .. }
            if *action == "attach" && source.kind() == ErrorKind::PermissionDenied =>
        {
            Hint::Lines(vec![
                "the kernel denies it to the daemon, which may have been started without capabilities".into(),
                Hint::Doctor,
            ])
        }
        KernelError::SharedHook { .. } => Hint::Lines(vec![
            "detach that one first: each packet would meet both programs".into(),
            Hint::RelatedInterfaces,
        ]),
        KernelError::HookChanged { .. } => {
            "someone replaced the program at this hook; detach theirs, then try again".into()
        }
        KernelError::NoInterface { netns, .. } => Hint::ListInterfaces { netns: netns.clone() },
        KernelError::NamespaceNotFound { netns, .. } => Hint::NamespaceHolders { inode: netns.inode },
        KernelError::UnsizedMap { map, property: "max_entries", .. } => {
            format!("set it: --map-size {map}=ENTRIES").into()
        }
        KernelError::UnsizedMap { .. } => {
            "give the map its size in the source of the object, or load the object with its own loader".into()
        }
        KernelError::BadMap { .. } => {
            "correct the map's definition in the source of the object, and build it again".into()
        }
        _ => return None,
    })
}

fn rejected(error: &KernelError, otherwise: &'static str) -> Hint {
    let advice =
        error.rejection().and_then(|rejection| rejection.cause.as_ref()).map_or("", |cause| cause.advice);
    let lines = [advice, otherwise, "`--verifier-log` shows the verifier's whole log"];
    Hint::Lines(lines.into_iter().filter(|line| !line.is_empty()).map(Hint::from).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trap_of_the_compiler_is_no_missing_function() {
        let hint = |what: &str| {
            let source = Box::new(KernelError::NotMounted { root: "/".to_owned() });
            EngineError::NotInKernel { origin: String::new(), what: what.to_owned(), source }
                .hint()
                .unwrap()
                .to_string()
        };
        let trap = hint("function main, instruction 4 wants kernel function __bpf_trap (weak)");
        assert!(trap.contains("undefined behaviour") && !trap.contains("bpf_ksym_exists"), "{trap}");
        assert!(hint("it wants kernel function bpf_obj_new").contains("bpf_ksym_exists"));
    }
}
