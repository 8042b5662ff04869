//! perf_event_open(2) with an attribute of the caller.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

use bpfmand_calls::{Errno, PERF_ATTR, PerfCall, PerfProbe, PerfProcess};

const SIZE: usize = 4;
/// Offset of the field with the address of a probe's name, or the address of a breakpoint.
const CONFIG1: usize = 56;
/// Size of the first version of the attribute.
const FIRST_VERSION: usize = 64;

const CLOSE_ON_EXEC: u64 = 8;
const OF_GROUP: u64 = 4;

/// Perf event types of probes, which the kernel numbers at boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProbeEvents {
    /// Type of events of kernel functions.
    pub kprobe: Option<u32>,
    /// Type of events of user-space functions.
    pub uprobe: Option<u32>,
}

impl ProbeEvents {
    #[must_use]
    pub fn of_kernel() -> Self {
        let read = |name: &str| {
            let file = format!("/sys/bus/event_source/devices/{name}/type");
            std::fs::read_to_string(file).ok()?.trim().parse().ok()
        };
        Self { kprobe: read("kprobe"), uprobe: read("uprobe") }
    }

    /// Returns whether events of this type are probes, and so take a name.
    #[must_use]
    pub fn are(&self, event_type: u32) -> bool {
        [self.kprobe, self.uprobe].contains(&Some(event_type))
    }
}

/// Arguments of the system call, with the text that the attribute points to.
pub(in crate::linux) struct FilledEvent {
    pub(in crate::linux) attribute: Vec<u8>,
    text: Option<CString>,
    process: i32,
    group: i32,
    flags: u64,
}

impl FilledEvent {
    pub(in crate::linux) fn new(
        attribute: &[u8],
        event: &PerfCall,
        descriptors: &[OwnedFd],
        sources: &ProbeEvents,
    ) -> Result<Self, Errno> {
        if attribute.len() < FIRST_VERSION || attribute.len() > PERF_ATTR {
            return Err(Errno::TOO_BIG);
        }
        let number = |index: usize| descriptors.get(index).map(|one| one.as_raw_fd()).ok_or(Errno::BADF);
        let mut attribute = attribute.to_vec();
        let size = attribute.len() as u32;
        attribute[SIZE..SIZE + 4].copy_from_slice(&size.to_ne_bytes());
        let event_type = attribute.first_chunk().copied().map_or(0, u32::from_ne_bytes);
        let text = match &event.probe {
            None => None,
            Some(PerfProbe::Function(name)) => Some(name.clone()),
            Some(PerfProbe::File(index)) => Some(format!("/proc/self/fd/{}", number(*index)?)),
        };
        let text = text.map(CString::new).transpose().map_err(|_| Errno::INVAL)?;
        let (process, flags) = match event.process {
            PerfProcess::All => (-1, event.flags & !OF_GROUP),
            PerfProcess::One(process) if process > 0 => (process, event.flags & !OF_GROUP),
            PerfProcess::One(_) => return Err(Errno::INVAL),
            PerfProcess::Group(index) => (number(index)?, event.flags | OF_GROUP),
        };
        let group = event.group.map_or(Ok(-1), number)?;
        let mut this = Self { attribute, text, process, group, flags };
        if sources.are(event_type) {
            let address = this.address().to_ne_bytes();
            this.attribute[CONFIG1..CONFIG1 + 8].copy_from_slice(&address);
        } else if this.text.is_some() {
            return Err(Errno::INVAL);
        }
        Ok(this)
    }

    pub(in crate::linux) fn address(&self) -> u64 {
        self.text.as_ref().map_or(0, |text| text.as_ptr() as u64)
    }
}

/// Opens an event. The type has been permitted; a probe's name comes from `event` alone.
pub fn open_perf_event(
    attribute: &[u8],
    event: &PerfCall,
    descriptors: &[OwnedFd],
    sources: &ProbeEvents,
) -> Result<OwnedFd, Errno> {
    let filled = FilledEvent::new(attribute, event, descriptors, sources)?;
    // SAFETY: the attribute is live and of the size in its `size` field. It holds one pointer, that of a probe's text, which
    // is null or of the live string in `filled`; for other types that field is a number.
    let opened = unsafe {
        libc::syscall(
            libc::SYS_perf_event_open,
            filled.attribute.as_ptr(),
            filled.process,
            event.cpu,
            filled.group,
            filled.flags | CLOSE_ON_EXEC,
        )
    };
    if opened < 0 {
        return Err(io::Error::last_os_error().into());
    }
    // SAFETY: the call succeeded, so its answer is a new descriptor without another owner.
    Ok(unsafe { OwnedFd::from_raw_fd(opened as i32) })
}
