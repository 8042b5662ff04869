//! Loads without CAP_PERFMON: with it, the verifier lets programs store kernel addresses and read unwritten stack, adds
//! no barriers against speculative reads, and does not mask array indexes.

use std::io;

use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities};

use crate::KernelError;

/// Capabilities of the thread. CAP_SYS_ADMIN is left out because it includes CAP_PERFMON.
const RIGHTS: CapabilitySet = CapabilitySet::BPF.union(CapabilitySet::NET_ADMIN);

/// Loads on a thread that has CAP_BPF (Linux 5.8) and CAP_NET_ADMIN alone, and ends with the load.
pub fn without_perfmon<T: Send>(
    subject: &str,
    load: impl FnOnce() -> Result<T, KernelError> + Send,
) -> Result<T, KernelError> {
    let failed = |action, source| KernelError::call(action, subject.to_owned(), source);
    std::thread::scope(|scope| {
        let alone = std::thread::Builder::new().name("load".to_owned()).stack_size(256 << 10).spawn_scoped(
            scope,
            || {
                reduce().map_err(|source| failed("give up CAP_PERFMON to load", source))?;
                load()
            },
        );
        match alone.map(std::thread::ScopedJoinHandle::join) {
            Ok(Ok(result)) => result,
            Ok(Err(panic)) => std::panic::resume_unwind(panic),
            Err(source) => Err(failed("start a thread to load", source)),
        }
    })
}

fn reduce() -> io::Result<()> {
    if !capabilities(None)?.permitted.contains(RIGHTS) {
        let why = "programs of tenants need CAP_BPF (Linux 5.8) and CAP_NET_ADMIN, and the daemon lacks one of them";
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
    }
    let inheritable = CapabilitySet::empty();
    Ok(set_capabilities(None, CapabilitySets { effective: RIGHTS, permitted: RIGHTS, inheritable })?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rights_are_those_of_the_load_alone() {
        let before = capabilities(None).unwrap();
        if !before.permitted.contains(RIGHTS) {
            return;
        }
        let during = without_perfmon("any", || Ok(capabilities(None).unwrap())).unwrap();
        assert_eq!([during.effective, during.permitted], [RIGHTS, RIGHTS]);
        assert_eq!(capabilities(None).unwrap().effective, before.effective);
    }
}
