//! tcx programs without a link, which no tool of Debian 12 attaches.

use std::io;
use std::os::fd::{AsRawFd as _, RawFd};

use bpfman_model::Direction;
use bpfman_model::uapi::attach_type;
use bpfmand_kernel::ListAnchor;

use crate::bench::At;

#[repr(C)]
struct ProgAttach {
    target_ifindex: u32,
    attach_bpf_fd: RawFd,
    attach_type: u32,
    attach_flags: u32,
    replace_bpf_fd: u32,
    relative: u32,
    expected_revision: u64,
}

pub fn attach_to_tcx(
    at: &At<'_>,
    direction: Direction,
    program: RawFd,
    anchor: ListAnchor,
) -> io::Result<()> {
    const BPF_PROG_ATTACH: i64 = 8;
    const F_BEFORE: u32 = 1 << 3;
    const F_AFTER: u32 = 1 << 4;
    const F_ID: u32 = 1 << 5;
    let (attach_flags, relative) = match anchor {
        ListAnchor::First => (F_BEFORE, 0),
        ListAnchor::Last => (F_AFTER, 0),
        ListAnchor::BeforeProgram(id) => (F_BEFORE | F_ID, id.0),
        ListAnchor::AfterProgram(id) => (F_AFTER | F_ID, id.0),
        ListAnchor::Before(_) | ListAnchor::After(_) => return Err(io::ErrorKind::Unsupported.into()),
    };
    let attribute = ProgAttach {
        target_ifindex: at.ifindex.0,
        attach_bpf_fd: program,
        attach_type: match direction {
            Direction::Ingress => attach_type::TCX_INGRESS,
            Direction::Egress => attach_type::TCX_EGRESS,
        },
        attach_flags,
        replace_bpf_fd: 0,
        relative,
        expected_revision: 0,
    };
    let namespace = std::fs::File::open(at.netns)?;
    let check = |result: i64| if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) };
    // A thread that enters the namespace ends there.
    std::thread::scope(|scope| {
        let inside = scope.spawn(|| {
            // SAFETY: setns(2) takes no pointers; the descriptor is open.
            check(i64::from(unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) }))?;
            // SAFETY: the argument is a live structure of the given size, which the kernel only reads.
            check(unsafe {
                libc::syscall(libc::SYS_bpf, BPF_PROG_ATTACH, &raw const attribute, size_of::<ProgAttach>())
            })
        });
        inside.join().unwrap()
    })
}
