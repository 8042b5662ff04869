use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use bpfman_model::{BoundText, FuncInfo, Insn, ProgramType, op};

use super::attr::{self, Command};
use super::{facts, load, sys, types};
use crate::{EXTENSION, Extends, KernelError, ProgramLoad};

pub fn target(extends: Extends) -> Result<OwnedFd, KernelError> {
    let fail =
        |source| KernelError::call("open", format!("program {}, to be extended", extends.program), source);
    facts::open(Command::ProgGetFdById, extends.program.0)
        .map_err(fail)?
        .ok_or_else(|| fail(io::Error::from_raw_os_error(libc::ENOENT)))
}

pub fn attach(program: &OwnedFd, extends: Extends) -> Result<OwnedFd, KernelError> {
    let target = target(extends)?;
    let mut request = attr::LinkCreate {
        prog_fd: program.as_raw_fd(),
        target: target.as_raw_fd().cast_unsigned(),
        // `target_btf_id` shares the field with the anchor of other links.
        relative: extends.function,
        ..Default::default()
    };
    sys::bpf_fd(Command::LinkCreate, &mut request).map_err(|source| {
        let subject =
            format!("a program in the place of function {} of program {}", extends.function, extends.program);
        KernelError::call("attach", subject, source)
    })
}

/// Returns whether this process may load programs, by a minimal one.
pub fn may_load() -> bool {
    let refused = load::program(&plain(&smallest())).err();
    !matches!(refused, Some(KernelError::Refused { source, .. }) if source.raw_os_error() == Some(libc::EPERM))
}

/// Returns whether an extension can be loaded, which some kernels refuse, and attached, which some machines refuse.
pub fn works() -> bool {
    let try_it = || -> Result<OwnedFd, KernelError> {
        let text = smallest();
        let target = load::program(&plain(&text))?.program;
        let id =
            facts::program(&target).map_err(|source| KernelError::call("describe", "a program", source))?.id;
        let extends = Extends { program: id, function: FUNCTION };
        let extension = ProgramLoad { kind: EXTENSION, extends: Some(extends), ..plain(&text) };
        attach(&load::program(&extension)?.program, extends)
    };
    match try_it() {
        Ok(_link) => true,
        Err(error) => {
            tracing::debug!(%error, "this kernel does not let programs replace functions of others");
            false
        }
    }
}

fn plain(text: &BoundText) -> ProgramLoad<'_> {
    ProgramLoad::new("probe", text, ProgramType::Xdp.into())
}

fn smallest() -> BoundText {
    let insns = vec![Insn::new(0xb7, 0, 0, 0, 2), Insn::new(op::EXIT, 0, 0, 0, 0)];
    let mut text = BoundText::of_one_function("probe", "GPL", insns);
    text.0.btf = Some(smallest_types().into());
    text.0.func_info = vec![FuncInfo { insn_off: 0, type_id: FUNCTION }];
    text
}

const FUNCTION: u32 = 5;

fn smallest_types() -> Vec<u8> {
    const INT: u32 = 1;
    const POINTER: u32 = 2;
    const STRUCT: u32 = 4;
    const FUNC: u32 = 12;
    const FUNC_PROTO: u32 = 13;
    const GLOBAL: u32 = 1;
    let strings = b"\0int\0xdp_md\0ctx\0probe\0";
    let (int, xdp_md, ctx, probe) = (1, 5, 12, 16);
    let kind = |kind: u32, vlen: u32| kind << 24 | vlen;
    // Each type: name, kind, size or type, and data of the kind.
    let types: Vec<u32> = [
        vec![int, kind(INT, 0), 4, 1 << 24 | 32], // 1: signed, 32 bits
        vec![xdp_md, kind(STRUCT, 0), 4],         // 2
        vec![0, kind(POINTER, 0), 2],             // 3
        vec![0, kind(FUNC_PROTO, 1), 1, ctx, 3],  // 4
        vec![probe, kind(FUNC, GLOBAL), 4],       // 5
    ]
    .concat();
    types::blob(&types, strings)
}
