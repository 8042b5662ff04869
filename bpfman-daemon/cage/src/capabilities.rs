use std::os::unix::fs::MetadataExt as _;

use caps::{CapSet, Capability, CapsHashSet};

use crate::CageError;

/// Capability that the daemon keeps, with the reason.
#[derive(Clone, Copy, Debug)]
pub struct KeptCapability {
    pub capability: Capability,
    /// Feature that needs it.
    pub reason: &'static str,
}

const fn kept(capability: Capability, reason: &'static str) -> KeptCapability {
    KeptCapability { capability, reason }
}

/// All capabilities that the daemon keeps; tests compare `docs/cage.md`, the systemd unit and the pod.
pub const KEPT: [KeptCapability; 10] = [
    kept(Capability::CAP_BPF, "load programs, make maps and links"),
    kept(
        Capability::CAP_PERFMON,
        "load programs that trace, open perf events for tracepoints and probes of every process",
    ),
    kept(
        Capability::CAP_NET_ADMIN,
        "load programs for packets, attach to interfaces of any network namespace",
    ),
    kept(
        Capability::CAP_SYS_ADMIN,
        "find programs, maps and links of others by id, enter network namespaces, mount bpffs; before Linux 5.8 also what CAP_BPF and CAP_PERFMON stand for",
    ),
    kept(
        Capability::CAP_SYS_PTRACE,
        "reach files and namespaces of containers through /proc/PID, tell who holds a hook",
    ),
    kept(
        Capability::CAP_DAC_READ_SEARCH,
        "open object files and binaries that clients name, once the kernel confirmed that the client could",
    ),
    kept(Capability::CAP_SETUID, "ask the kernel that, on a thread with the client's user"),
    kept(Capability::CAP_SETGID, "ask the kernel that, on a thread with the client's groups"),
    kept(Capability::CAP_CHOWN, "give the socket, and the maps of a pod's volume, to their group"),
    kept(Capability::CAP_FOWNER, "set the mode of a bpffs and of pins that are another user's"),
];

/// Capability without which the daemon does not start: it could not open objects by id.
const REQUIRED: Capability = Capability::CAP_SYS_ADMIN;

const IMPLIED: [Capability; 2] = [Capability::CAP_BPF, Capability::CAP_PERFMON];

/// Remaining capabilities of this process, in the order of [`KEPT`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capabilities {
    pub names: Vec<String>,
    /// Set if CAP_SETPCAP was missing to reduce the bounding set; `no_new_privs` still limits executed programs.
    pub bounding_stays: bool,
}

impl Capabilities {
    /// Returns the capabilities of [`KEPT`] that this process lacks.
    #[must_use]
    pub fn missing(&self) -> Vec<KeptCapability> {
        let has = |capability: Capability| self.names.contains(&capability.to_string());
        let is_implied = |capability| IMPLIED.contains(&capability) && has(REQUIRED);
        KEPT.into_iter().filter(|kept| !has(kept.capability) && !is_implied(kept.capability)).collect()
    }

    /// Checks for the capability without which nothing works.
    pub fn check(&self) -> Result<(), CageError> {
        match self.missing().iter().find(|kept| kept.capability == REQUIRED) {
            Some(kept) => Err(CageError::Missing { missing: with_reason(kept) }),
            None => Ok(()),
        }
    }

    /// Returns the features lost by missing optional capabilities.
    #[must_use]
    pub fn weakness(&self) -> Option<String> {
        let mut missing: Vec<_> = self.missing().iter().map(with_reason).collect();
        let has = |capability: Capability| self.names.contains(&capability.to_string());
        if has(REQUIRED) && !has(Capability::CAP_BPF) {
            missing.push(
                "CAP_BPF (load programs of tenants: no other capability stands for it there)".to_owned(),
            );
        }
        (!missing.is_empty()).then(|| format!("started without {}", missing.join("; ")))
    }
}

/// Inode of the machine's own user namespace, the same on every kernel.
const FIRST_USER_NAMESPACE: u64 = 0xEFFF_FFFD;

/// Refuses a user namespace of a container: the kernel requires capabilities in the machine's own.
pub fn check_user_namespace() -> Result<(), CageError> {
    match std::fs::metadata("/proc/self/ns/user") {
        Ok(found) if found.ino() != FIRST_USER_NAMESPACE => Err(CageError::UserNamespace),
        // Kernels without user namespaces have no such file.
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

fn with_reason(kept: &KeptCapability) -> String {
    format!("{} ({})", kept.capability, kept.reason)
}

/// Drops all capabilities but [`KEPT`] from all sets of this thread and those that it starts, and sets `no_new_privs`,
/// so that executed programs regain none. Never adds any.
///
/// # Errors
/// [`CageError::Threads`]: called too late. Others: the caller must exit.
pub fn drop_capabilities() -> Result<Capabilities, CageError> {
    let count = std::fs::read_dir("/proc/self/task")?.count();
    if count != 1 {
        return Err(CageError::Threads { count });
    }
    let fail = |action| move |source| CageError::Capabilities { action, source };
    let kept: CapsHashSet = KEPT.iter().map(|kept| kept.capability).collect();
    let read = |set| caps::read(None, set).map_err(fail("read capabilities"));
    let left: CapsHashSet = read(CapSet::Permitted)?.intersection(&kept).copied().collect();
    // Needs CAP_SETPCAP, which is dropped later.
    let may_drop =
        caps::has_cap(None, CapSet::Effective, Capability::CAP_SETPCAP).map_err(fail("read capabilities"))?;
    let beyond: Vec<Capability> = read(CapSet::Bounding)?.difference(&kept).copied().collect();
    if may_drop {
        for capability in &beyond {
            caps::drop(None, CapSet::Bounding, *capability)
                .map_err(fail("drop a capability from the bounding set"))?;
        }
    }
    caps::clear(None, CapSet::Ambient).map_err(fail("clear ambient capabilities"))?;
    caps::set(None, CapSet::Effective, &left).map_err(fail("drop effective capabilities"))?;
    caps::set(None, CapSet::Permitted, &left).map_err(fail("drop permitted capabilities"))?;
    caps::clear(None, CapSet::Inheritable).map_err(fail("clear inheritable capabilities"))?;
    rustix::thread::set_no_new_privs(true).map_err(CageError::NewPrivileges)?;
    for (set, wanted) in [
        (CapSet::Effective, &left),
        (CapSet::Permitted, &left),
        (CapSet::Inheritable, &CapsHashSet::new()),
        (CapSet::Ambient, &CapsHashSet::new()),
    ] {
        let found = read(set)?;
        if found != *wanted {
            return Err(CageError::CapabilitiesStay {
                found: format!("{found:?}"),
                wanted: format!("{wanted:?}"),
            });
        }
    }
    Ok(Capabilities {
        names: KEPT
            .iter()
            .filter(|kept| left.contains(&kept.capability))
            .map(|kept| kept.capability.to_string())
            .collect(),
        bounding_stays: !may_drop && !beyond.is_empty(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn without(lacking: &[Capability]) -> Capabilities {
        let kept = KEPT.iter().filter(|kept| !lacking.contains(&kept.capability));
        Capabilities { names: kept.map(|kept| kept.capability.to_string()).collect(), bounding_stays: false }
    }

    #[test]
    fn a_missing_capability_is_named_with_what_it_is_for() {
        assert!(without(&[]).check().is_ok());
        assert_eq!(without(&[]).weakness(), None);
        assert_eq!(without(&[Capability::CAP_PERFMON]).weakness(), None);
        let of_tenants = without(&[Capability::CAP_BPF]);
        assert!(of_tenants.check().is_ok() && of_tenants.missing().is_empty());
        assert!(of_tenants.weakness().unwrap().contains("CAP_BPF (load programs of tenants"));
        for kept in KEPT.iter().filter(|kept| !IMPLIED.contains(&kept.capability)) {
            let capabilities = without(&[kept.capability]);
            let said = match capabilities.check() {
                Err(error) => error.to_string(),
                Ok(()) => capabilities.weakness().unwrap(),
            };
            assert!(said.contains(&kept.capability.to_string()) && said.contains(kept.reason), "{said}");
            assert_eq!(capabilities.check().is_err(), kept.capability == REQUIRED, "{said}");
        }
        let few = [Capability::CAP_SYS_ADMIN, Capability::CAP_SYS_PTRACE, Capability::CAP_SETUID];
        let said = without(&few).check().unwrap_err().to_string();
        assert!(said.contains("CAP_SYS_ADMIN") && !said.contains("CAP_SYS_PTRACE"), "{said}");
    }
}
