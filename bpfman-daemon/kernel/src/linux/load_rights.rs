//! Loads of programs and maps without CAP_PERFMON. For a thread with that capability, the verifier lets programs store kernel
//! addresses and read unwritten stack, and adds no barriers against speculative reads; indexes of its arrays are not masked.

use std::io;

use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities};

use crate::KernelError;

/// Rights for loads that do not need CAP_PERFMON. CAP_SYS_ADMIN would stand for that one too.
const RIGHTS: CapabilitySet = CapabilitySet::BPF.union(CapabilitySet::NET_ADMIN);

/// Loads a program or map on a thread that has CAP_BPF and CAP_NET_ADMIN alone, and ends with the load.
///
/// # Errors
/// The daemon lacks one of them, as on a kernel before 5.8, which has no CAP_BPF: nothing was loaded.
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

/// Leaves this thread [`RIGHTS`] alone.
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
