//! Netkit devices of links: they can be renamed, and moved to another network namespace with all that they run.

use bpfman_model::AttachPoint;
use bpfmand_kernel::{Kernel, KernelError, ProgramKind};

use super::{Observed, Standing};
use crate::state::records::{LinkRecord, ProgramRecord};
use crate::{Engine, EngineError};

#[derive(Debug, PartialEq, Eq)]
pub enum NetkitDevice {
    Here(String),
    Elsewhere,
    Unknown,
}

impl<K: Kernel> Engine<K> {
    pub(crate) fn netkit_device(
        &self,
        link: &LinkRecord,
        program: &ProgramRecord,
        handle: &K::Handle,
    ) -> Result<NetkitDevice, EngineError> {
        let (AttachPoint::Netkit { interface }, Some(home)) = (&link.point, link.namespace) else {
            return Ok(NetkitDevice::Unknown);
        };
        let kind = ProgramKind::new(program.program_type, program.target.as_deref());
        let path = interface.netns.as_deref();
        match self.kernel.netkit_device(home, path, handle, kind.expected_attach_type) {
            Ok(Some(name)) => Ok(NetkitDevice::Here(name)),
            Ok(None) => Ok(NetkitDevice::Elsewhere),
            Err(KernelError::NamespaceNotFound { .. }) => Ok(NetkitDevice::Unknown),
            Err(error) => Err(error.into()),
        }
    }

    pub(super) fn with_device(
        &self,
        link: &LinkRecord,
        program: &ProgramRecord,
        observed: Observed<K::Handle>,
    ) -> Result<Observed<K::Handle>, EngineError> {
        let (true, Some((handle, _))) = (observed.standing.is_running(), &observed.link) else {
            return Ok(observed);
        };
        match self.netkit_device(link, program, handle)? {
            NetkitDevice::Elsewhere => Ok(Observed { standing: Standing::Elsewhere, ..observed }),
            NetkitDevice::Here(_) | NetkitDevice::Unknown => Ok(observed),
        }
    }
}
