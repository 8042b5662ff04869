use std::io::{self, Read as _};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use bpfman_model::uapi::link_type;
use bpfman_model::{BtfId, IfIndex, KernelLinkId, LinkFacts, MapFacts, MapId, ProgramFacts, ProgramId};

use super::attr::{ById, Command, LinkInfo, MapInfo, ProgInfo};
use super::sys;

pub fn open(command: Command, id: u32) -> io::Result<Option<OwnedFd>> {
    found(sys::bpf_fd(command, &mut ById { id, ..ById::default() }))
}

/// Returns `None` if the object is gone, or is a link that is not attached yet: opening it fails with EAGAIN.
fn found<T>(opened: io::Result<T>) -> io::Result<Option<T>> {
    match opened {
        Ok(object) => Ok(Some(object)),
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::EAGAIN)) => Ok(None),
        Err(error) => Err(error),
    }
}

pub fn open_map_to_read(id: MapId) -> io::Result<OwnedFd> {
    const BPF_F_RDONLY: u32 = 1 << 3;
    let mut request = ById { id: id.0, open_flags: BPF_F_RDONLY, ..ById::default() };
    sys::bpf_fd(Command::MapGetFdById, &mut request)
}

pub fn program_ids() -> io::Result<Vec<ProgramId>> {
    ids(Command::ProgGetNextId).map(|ids| ids.into_iter().map(ProgramId).collect())
}

pub fn link_ids() -> io::Result<Vec<KernelLinkId>> {
    ids(Command::LinkGetNextId).map(|ids| ids.into_iter().map(KernelLinkId).collect())
}

pub fn btf_ids() -> io::Result<Vec<u32>> {
    ids(Command::BtfGetNextId)
}

fn ids(command: Command) -> io::Result<Vec<u32>> {
    let mut ids = Vec::new();
    let mut at = ById::default();
    loop {
        match sys::bpf(command, &mut at) {
            Ok(_) => ids.push(at.next_id),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => return Ok(ids),
            Err(error) => return Err(error),
        }
        at = ById { id: at.next_id, ..ById::default() };
    }
}

pub fn program(fd: &OwnedFd) -> io::Result<ProgramFacts> {
    expect(fd, "bpf-prog")?;
    // Most programs have few maps: one call fetches their ids as well.
    let mut map_ids = vec![0_u32; 16];
    let mut info;
    loop {
        info = ProgInfo {
            nr_map_ids: map_ids.len() as u32,
            map_ids: map_ids.as_mut_ptr() as u64,
            ..ProgInfo::default()
        };
        sys::info(fd, &mut info)?;
        if info.nr_map_ids as usize <= map_ids.len() {
            map_ids.truncate(info.nr_map_ids as usize);
            break;
        }
        map_ids.resize(info.nr_map_ids as usize, 0);
    }
    Ok(ProgramFacts {
        id: ProgramId(info.id),
        name: text(&info.name),
        kernel_type: info.prog_type,
        tag: info.tag,
        loaded_at: time_since_boot(info.load_time),
        created_by_uid: info.created_by_uid,
        gpl_compatible: info.bits & 1 != 0,
        map_ids: map_ids.into_iter().map(MapId).collect(),
        btf_id: (info.btf_id != 0).then_some(BtfId(info.btf_id)),
        bytes_xlated: info.xlated_prog_len,
        bytes_jited: info.jited_prog_len,
        bytes_memlock: u32::try_from(memlock(fd)).unwrap_or(u32::MAX),
        verified_insns: info.verified_insns,
    })
}

/// Fails if a descriptor is of another kind: its information would be misinterpreted.
fn expect(fd: &OwnedFd, kind: &str) -> io::Result<()> {
    let found = rustix::fs::readlink(format!("/proc/self/fd/{}", fd.as_raw_fd()), Vec::new())?;
    // `bpf_link` for a created link, `bpf-link` for an opened pin.
    if found.to_string_lossy().replace('_', "-").ends_with(kind) {
        return Ok(());
    }
    Err(io::Error::new(
        io::ErrorKind::InvalidInput,
        format!("it is no {kind} but {}", found.to_string_lossy()),
    ))
}

fn map_info(fd: &OwnedFd) -> io::Result<MapInfo> {
    expect(fd, "bpf-map")?;
    let mut info = MapInfo::default();
    sys::info(fd, &mut info)?;
    Ok(info)
}

pub fn map(fd: &OwnedFd) -> io::Result<MapFacts> {
    let info = map_info(fd)?;
    let told = fdinfo(fd);
    Ok(MapFacts {
        id: MapId(info.id),
        name: text(&info.name),
        map_type: info.map_type,
        key_size: info.key_size,
        value_size: info.value_size,
        max_entries: info.max_entries,
        flags: info.map_flags,
        bytes_memlock: number_of(&told, "memlock:"),
        frozen: number_of(&told, "frozen:") != 0,
    })
}

pub fn owner_program_type(fd: &OwnedFd) -> Option<u32> {
    let owner = number_of(&fdinfo(fd), "owner_prog_type:");
    u32::try_from(owner).ok().filter(|owner| *owner != 0)
}

pub fn map_btf(fd: &OwnedFd) -> io::Result<Option<BtfId>> {
    let info = map_info(fd)?;
    Ok((info.btf_id != 0).then_some(BtfId(info.btf_id)))
}

/// Returns type, key size and value size; the kernel reads and writes this many bytes of buffers.
pub fn map_layout(fd: &OwnedFd) -> io::Result<(u32, u32, u32)> {
    let info = map_info(fd)?;
    Ok((info.map_type, info.key_size, info.value_size))
}

pub fn link(fd: &OwnedFd) -> io::Result<LinkFacts> {
    expect(fd, "bpf-link")?;
    link_by_id(fd)
}

pub fn link_by_id(fd: &OwnedFd) -> io::Result<LinkFacts> {
    let mut info = LinkInfo::default();
    sys::info(fd, &mut info)?;
    // The first word is an interface (XDP, tcx), inode (namespaces) or map id; cgroups have a 64-bit id. 0 if gone.
    let at_interface = matches!(info.link_type, link_type::XDP | link_type::TCX);
    let gone = match info.link_type {
        link_type::CGROUP => info.words[..2] == [0, 0],
        link_type::NETNS | link_type::SOCKMAP | link_type::STRUCT_OPS | link_type::NETKIT => {
            info.words[0] == 0
        }
        _ => at_interface && info.words[0] == 0,
    };
    Ok(LinkFacts {
        id: KernelLinkId(info.id),
        kernel_type: info.link_type,
        program: ProgramId(info.prog_id),
        map: (info.link_type == link_type::STRUCT_OPS && !gone).then_some(MapId(info.words[0])),
        ifindex: (at_interface && !gone).then_some(IfIndex(info.words[0])),
        gone,
    })
}

/// Returns the kernel memory of an object, in bytes, which only fdinfo contains.
fn memlock(fd: impl AsFd) -> u64 {
    number_of(&fdinfo(fd), "memlock:")
}

/// Size of an fdinfo, in bytes: several times the longest.
const FDINFO: usize = 4 << 10;

fn fdinfo(fd: impl AsFd) -> String {
    let path = format!("/proc/self/fdinfo/{}", fd.as_fd().as_raw_fd());
    // A buffer of full size needs one read(2); a growing one needs five.
    let mut info = Vec::with_capacity(FDINFO);
    let read = std::fs::File::open(path).and_then(|file| file.take(FDINFO as u64).read_to_end(&mut info));
    read.ok().and_then(|_| String::from_utf8(info).ok()).unwrap_or_default()
}

fn number_of(info: &str, name: &str) -> u64 {
    info.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok()).unwrap_or(0)
}

pub fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

fn time_since_boot(nanoseconds: u64) -> SystemTime {
    static BOOT: Mutex<Option<SystemTime>> = Mutex::new(None);
    let uptime = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let uptime = Duration::new(uptime.tv_sec.unsigned_abs(), u32::try_from(uptime.tv_nsec).unwrap_or(0));
    let looked = SystemTime::now().checked_sub(uptime).unwrap_or(SystemTime::UNIX_EPOCH);
    let mut boot = BOOT.lock().unwrap_or_else(PoisonError::into_inner);
    let since = moment_of_boot(*boot, looked);
    *boot = Some(since);
    since + Duration::from_nanos(nanoseconds)
}

/// A larger difference of two readings means that the clock was set.
const APART: Duration = Duration::from_secs(2);

/// Returns the known time of boot, unless the clock was set: the daemon may start before the clock is right.
fn moment_of_boot(known: Option<SystemTime>, looked: SystemTime) -> SystemTime {
    let apart = |known: &SystemTime| looked.duration_since(*known).unwrap_or_else(|error| error.duration());
    known.filter(|known| apart(known) <= APART).unwrap_or(looked)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn link_being_made_is_absent_and_other_errors_are_returned() {
        let error = |number| found::<()>(Err(io::Error::from_raw_os_error(number)));
        assert!(error(libc::ENOENT).unwrap().is_none() && error(libc::EAGAIN).unwrap().is_none());
        assert_eq!(error(libc::EPERM).unwrap_err().raw_os_error(), Some(libc::EPERM));
        assert!(found(Ok(())).unwrap().is_some());
    }

    #[test]
    fn the_moment_of_boot_moves_only_when_the_clock_is_put() {
        let second = |second| SystemTime::UNIX_EPOCH + Duration::from_secs(second);
        assert_eq!(moment_of_boot(None, second(5)), second(5));
        assert_eq!(moment_of_boot(Some(second(5)), second(7)), second(5));
        assert_eq!(moment_of_boot(Some(second(5)), second(4)), second(5));
        assert_eq!(moment_of_boot(Some(second(5)), second(1_700_000_000)), second(1_700_000_000));
        assert_eq!(moment_of_boot(Some(second(1_700_000_000)), second(0)), second(0));
    }
}
