//! `BPF_OBJ_GET_INFO_BY_FD` of a program for a caller that has buffers of its own.

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};

use bpfmand_calls::{Errno, INFO_PARTS, PROGRAM_INFO};

use crate::linux::attr::{Command, InfoByFd};
use crate::linux::sys;

/// A structure and the buffers that it pointed to; `None` where the caller or the kernel gave none.
pub type DescribedProgram = (Vec<u8>, Vec<Option<Vec<u8>>>);

/// Describes a program. `parts` marks the arrays for which the caller has a buffer. Returns the structure with null
/// pointers, and the contents of these arrays.
pub fn program_info(program: &OwnedFd, given: &[u8], parts: &[bool]) -> Result<DescribedProgram, Errno> {
    if given.len() > PROGRAM_INFO || parts.len() != INFO_PARTS.len() {
        return Err(Errno::INVAL);
    }
    let mut info = given.to_vec();
    let own = own_counts(program)?;
    INFO_PARTS.iter().for_each(|part| part.cut(&mut info, &own));
    let mut outputs = Vec::new();
    for (part, wanted) in INFO_PARTS.iter().zip(parts) {
        let fits = info.len() >= part.pointer + 8;
        let room = match (fits && *wanted).then(|| part.length(&info)) {
            None => None,
            Some(None) => return Err(Errno::TOO_BIG),
            Some(Some(length)) => Some(vec![0_u8; length as usize]),
        };
        let address = room.as_ref().map_or(0, |room| room.as_ptr() as u64);
        // Overwrite a truncated pointer, too: the kernel would complete it with zeroes.
        for (slot, byte) in info.iter_mut().skip(part.pointer).zip(address.to_ne_bytes()) {
            *slot = byte;
        }
        outputs.push(room);
    }
    describe(program, &mut info)?;
    for (part, output) in INFO_PARTS.iter().zip(&mut outputs) {
        let Some(slot) = info.get_mut(part.pointer..part.pointer + 8) else { continue };
        // The kernel sets a pointer to null whose contents it withholds.
        if slot.iter().all(|byte| *byte == 0) {
            *output = None;
        }
        slot.fill(0);
    }
    Ok((info, outputs))
}

/// Returns the program's `bpf_prog_info` with the lengths of its arrays.
fn own_counts(program: &OwnedFd) -> Result<Vec<u8>, Errno> {
    let mut info = vec![0; PROGRAM_INFO];
    describe(program, &mut info)?;
    Ok(info)
}

/// Fills in a structure. Each buffer that it points to must be live, and of the length given beside its address.
fn describe(program: &OwnedFd, info: &mut Vec<u8>) -> Result<(), Errno> {
    let mut request =
        InfoByFd { bpf_fd: program.as_raw_fd(), info_len: info.len() as u32, info: info.as_mut_ptr() as u64 };
    sys::bpf(Command::ObjGetInfoByFd, &mut request).map_err(|error: io::Error| Errno::from(error))?;
    info.truncate(request.info_len as usize);
    Ok(())
}
