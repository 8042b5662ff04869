//! perf_event_open(2).

use std::os::fd::OwnedFd;

use bpfmand_calls::{Errno, PerfCall, PerfProbe};
use bpfmand_kernel::linux::brokered;

use crate::decide::{self, GrantedObjects, RawObject};
use crate::event_source::{self, EventSource};
use crate::serve::{Given, SessionCalls, SessionRefusal};

impl SessionCalls {
    /// Decides about an event, and opens it.
    pub fn perf_event(
        &self,
        event: &PerfCall,
        buffers: &[Vec<u8>],
        descriptors: &[OwnedFd],
    ) -> Result<Given, SessionRefusal> {
        let attribute = buffers.first().ok_or(Errno::INVAL)?;
        if event_source::is_refused(attribute) {
            return Err(Errno::PERM.into());
        }
        let object = match EventSource::of(attribute, &self.probes) {
            EventSource::ProgramOutput => None,
            EventSource::Counter => Some(RawObject::AnyTarget("perf_event")),
            EventSource::Tracepoint(number) => Some(match brokered::tracepoint_name(number) {
                Some(name) => RawObject::Target("tracepoint", name),
                None => RawObject::AnyTarget("tracepoint"),
            }),
            EventSource::Kprobe => Some(match &event.probe {
                Some(PerfProbe::Function(name)) if event_source::is_at_begin(attribute) => {
                    RawObject::Target("kprobe", name.clone())
                }
                _ => RawObject::AnyTarget("kprobe"),
            }),
            EventSource::Uprobe => Some(match &event.probe {
                Some(PerfProbe::File(index)) => {
                    let file = decide::file_name(descriptors.get(*index).ok_or(Errno::BADF)?);
                    file.map_or(RawObject::AnyTarget("uprobe"), |file| RawObject::Target("uprobe", file))
                }
                _ => RawObject::AnyTarget("uprobe"),
            }),
            EventSource::Other => return Err(Errno::PERM.into()),
        };
        let side = event_source::has_side_records(attribute).then_some(RawObject::AnyTarget("perf_event"));
        let objects: Vec<_> = object.into_iter().chain(side).collect();
        self.permit(&objects)?;
        let opened = brokered::open_perf_event(attribute, event, descriptors, &self.probes)?;
        Ok(Given { about: GrantedObjects { objects, program: None }, ..Given::object(opened) })
    }
}
