use std::os::fd::OwnedFd;

use bpfman_model::{PerfEventPlace, PerfSource, SampleRate};

use super::sys::{self, PerfEventAttr};
use super::{cpus, perf};
use crate::{KernelError, ProbeTargetError};

const TYPE_HARDWARE: u32 = 0;
const TYPE_SOFTWARE: u32 = 1;
/// Flags of `struct perf_event_attr`: count new threads too; the sample period is a frequency per second.
const INHERIT: u64 = 1 << 1;
const BY_FREQUENCY: u64 = 1 << 10;
const MAX_SAMPLES: &str = "/proc/sys/kernel/perf_event_max_sample_rate";

pub fn open(place: &PerfEventPlace) -> Result<OwnedFd, KernelError> {
    let online = place.cpu.map(|cpu| cpus::online().map(|online| (cpu, online))).transpose()?;
    if let Some((cpu, online)) = online
        && !online.contains(&cpu)
    {
        return Err(KernelError::NoCpu { cpu, online });
    }
    let (sample_period, by_frequency) = match place.rate {
        SampleRate::Frequency(frequency) => {
            check_frequency(frequency)?;
            (frequency, BY_FREQUENCY)
        }
        SampleRate::Period(period) => (period, 0),
    };
    let event_type = match place.event.source() {
        PerfSource::Hardware => TYPE_HARDWARE,
        PerfSource::Software => TYPE_SOFTWARE,
    };
    let flags = by_frequency | if place.pid.is_some() { INHERIT } else { 0 };
    let config = place.event.number();
    let event = PerfEventAttr { event_type, config, sample_period, flags, ..Default::default() };
    let process = place.pid.map_or(perf::ANY_PROCESS, u32::cast_signed);
    let cpu = place.cpu.map_or(perf::ANY_CPU, u32::cast_signed);
    sys::perf_event_open(event, process, cpu).map_err(|source| match (source.raw_os_error(), place.pid) {
        (Some(libc::ESRCH), Some(pid)) => KernelError::CannotProbe {
            target: format!("perf event {place}"),
            reason: ProbeTargetError::NoProcess(pid),
        },
        (Some(libc::ENOENT | libc::EOPNOTSUPP | libc::ENXIO), _)
            if place.event.source() == PerfSource::Hardware =>
        {
            KernelError::NoCounter { event: place.event.name() }
        }
        _ => KernelError::call("open", format!("perf event {place}"), source),
    })
}

/// Names the machine's limit: the kernel only reports an invalid argument.
fn check_frequency(frequency: u64) -> Result<(), KernelError> {
    let fail = |source| KernelError::call("read", MAX_SAMPLES, source);
    let text = std::fs::read_to_string(MAX_SAMPLES).map_err(fail)?;
    let most = text.trim().parse().map_err(|_| fail(std::io::ErrorKind::InvalidData.into()))?;
    if frequency > most { Err(KernelError::TooFrequent { frequency, most }) } else { Ok(()) }
}
