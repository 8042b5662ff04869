use std::collections::HashMap;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use bpfman_model::{FuncInfo, Insn, LineInfo, MapId, ProgramType, op};

use super::attr::{self, Command};
use super::verifier_log::{self, STATISTICS, is_too_complex};
use super::{extension, facts, jump_tables, load_rights, netns, sys, types};
use crate::{KernelError, Loaded, LogRequest, ProgramLoad, RefusalReason};

const FLAG_SLEEPABLE: u32 = 1 << 4;
const FLAG_XDP_HAS_FRAGS: u32 = 1 << 5;
const FLAG_XDP_DEVICE_BOUND: u32 = 1 << 6;
const LOG_VERIFIER: u32 = 1;
const LOG_STATISTICS: u32 = 4;

pub fn program(load: &ProgramLoad<'_>) -> Result<Loaded<OwnedFd>, KernelError> {
    let Some(device) = load.device else { return program_here(load) };
    netns::enter(device.netns, || program_here(load))
}

fn program_here(load: &ProgramLoad<'_>) -> Result<Loaded<OwnedFd>, KernelError> {
    let text = &load.text.0;
    let modules = text.modules.iter().map(|name| types::of_module(name)).collect::<Result<Vec<_>, _>>()?;
    // Index 0 denotes the kernel itself, which needs no descriptor: the kernel never reads this element.
    let descriptors: Vec<RawFd> = std::iter::once(0).chain(modules.iter().map(AsRawFd::as_raw_fd)).collect();
    let (mut insns, maps) = with_descriptors(load, &descriptors)?;
    // Keep the tables open until the program holds them.
    let _tables = jump_tables::bind(&text.jump_tables, &mut insns)?;
    let mut warnings = Vec::new();
    // Most programs work without types: like libbpf, load without those that this kernel refuses.
    let (btf, refused) = match text.btf.as_deref().map(|bytes| types::of_maps_or_new(bytes, &maps)) {
        Some(Ok(btf)) => (Some(btf), None),
        Some(Err(KernelError::Call { source, action, subject })) if types::is_for_lack(&source) => {
            return Err(KernelError::Call { source, action, subject });
        }
        Some(Err(error)) => {
            warnings.push(format!("it is loaded without its types, which the kernel refuses: {error}"));
            (None, Some(error))
        }
        None => (None, None),
    };
    let license = CString::new(text.license.as_str()).unwrap_or_default();
    let mut request = attr::ProgLoad {
        prog_type: load.kind.kernel_type,
        expected_attach_type: load.kind.expected_attach_type,
        insn_cnt: insns.len() as u32,
        insns: insns.as_ptr() as u64,
        license: license.as_ptr() as u64,
        prog_name: kernel_name(load.name),
        attach_btf_id: load.attach_btf_id,
        ..Default::default()
    };
    if !modules.is_empty() {
        request.fd_array = descriptors.as_ptr() as u64;
    }
    let attached = load.attach_module.map(types::of_module).transpose()?;
    if let Some(module) = &attached {
        // `attach_btf_obj_fd` shares the field.
        request.attach_prog_fd = module.as_raw_fd();
    }
    let extended = load.extends.map(extension::target).transpose()?;
    if let (Some(target), Some(extends)) = (&extended, load.extends) {
        request.attach_prog_fd = target.as_raw_fd();
        request.attach_btf_id = extends.function;
    }
    if let Some(device) = load.device {
        request.prog_ifindex = device.ifindex.0;
        request.prog_flags |= FLAG_XDP_DEVICE_BOUND;
    }
    if text.frags {
        request.prog_flags |= FLAG_XDP_HAS_FRAGS;
    }
    if text.sleepable {
        request.prog_flags |= FLAG_SLEEPABLE;
    }
    if let Some(btf) = &btf
        && !text.func_info.is_empty()
    {
        request.prog_btf_fd = btf.as_raw_fd();
        request.func_info_rec_size = size_of::<FuncInfo>() as u32;
        request.func_info = text.func_info.as_ptr() as u64;
        request.func_info_cnt = text.func_info.len() as u32;
        if !text.line_info.is_empty() {
            request.line_info_rec_size = size_of::<LineInfo>() as u32;
            request.line_info = text.line_info.as_ptr() as u64;
            request.line_info_cnt = text.line_info.len() as u32;
        }
    }
    let attempt = |request: &mut attr::ProgLoad| match load.without_perfmon {
        true => {
            load_rights::without_perfmon(&format!("program \"{}\"", text.name), || verified(load, request))
        }
        false => verified(load, request),
    };
    let mut loaded = attempt(&mut request);
    while let Err(KernelError::Refused { log, .. }) = &loaded
        && let Some(what) = leave_out(&mut request, log)
    {
        warnings.push(format!("it is loaded without {what}, which the kernel refuses: {}", first_line(log)));
        loaded = attempt(&mut request);
    }
    if let (LogRequest::Never(_), Err(KernelError::Refused { log, .. })) = (load.log, &mut loaded) {
        log.clear();
    }
    if let Ok(loaded) = &mut loaded {
        warnings.iter().for_each(|what| tracing::warn!(program = text.name, "{what}"));
        loaded.warnings = warnings;
    }
    loaded.map_err(|error| match (error, refused) {
        (KernelError::Refused { program, why, log, source }, _) if is_unsaid(&why, &source) => {
            let why = match arrays_of_others(load, &maps) {
                Some(what) => RefusalReason::Supposed(what),
                None => why,
            };
            KernelError::Refused { program, why, log, source }
        }
        (KernelError::Refused { program, why: RefusalReason::Unsaid, log, source }, Some(refused)) => {
            let why = RefusalReason::Supposed(format!("it may need its types: {refused}"));
            KernelError::Refused { program, why, log, source }
        }
        (error, _) => error,
    })
}

fn first_line(log: &str) -> &str {
    log.lines().find(|line| !line.trim().is_empty()).unwrap_or("it gave no reason")
}

/// Removes, and names, the debug information for which the kernel refused a request before verifying instructions.
fn leave_out(request: &mut attr::ProgLoad, log: &str) -> Option<&'static str> {
    let is_about =
        |names: [&str; 2]| log.contains("processed 0 insns") && names.iter().any(|name| log.contains(name));
    if request.line_info_cnt != 0 && is_about(["line_info", "line info"]) {
        (request.line_info, request.line_info_cnt, request.line_info_rec_size) = (0, 0, 0);
        return Some("its source lines");
    }
    if request.func_info_cnt != 0 && is_about(["func_info", "func info"]) {
        (request.line_info, request.line_info_cnt, request.line_info_rec_size) = (0, 0, 0);
        (request.func_info, request.func_info_cnt, request.func_info_rec_size) = (0, 0, 0);
        request.prog_btf_fd = 0;
        return Some("the types of its functions");
    }
    None
}

fn verified(load: &ProgramLoad<'_>, request: &mut attr::ProgLoad) -> Result<Loaded<OwnedFd>, KernelError> {
    let loaded = logged(load, request);
    // The buffer of the log is gone: the kernel would write to it if the request is tried again.
    (request.log_level, request.log_size, request.log_buf) = (0, 0, 0);
    loaded
}

fn logged(load: &ProgramLoad<'_>, request: &mut attr::ProgLoad) -> Result<Loaded<OwnedFd>, KernelError> {
    let (first, words) = match load.log {
        LogRequest::OnFailure => match sys::bpf_fd(Command::ProgLoad, request) {
            Ok(program) => {
                return Ok(Loaded { program, log: String::new(), stack_depths: None, warnings: Vec::new() });
            }
            Err(source) => (source, String::new()),
        },
        LogRequest::StackDepths | LogRequest::UnlessTooComplex | LogRequest::Never(_) => {
            let mut statistics = vec![0_u8; STATISTICS];
            request.log_level = LOG_STATISTICS;
            request.log_size = STATISTICS as u32;
            request.log_buf = statistics.as_mut_ptr() as u64;
            let loaded = sys::bpf_fd(Command::ProgLoad, request);
            let log = facts::text(&statistics);
            match loaded {
                Ok(program) => {
                    let stack_depths = verifier_log::stack_depths(&log);
                    let warnings = Vec::new();
                    return Ok(Loaded { program, log: String::new(), stack_depths, warnings });
                }
                Err(source) if load.log == LogRequest::UnlessTooComplex && is_too_complex(&log) => {
                    return Err(refused(load, log, source));
                }
                Err(source) => (source, log),
            }
        }
        LogRequest::Always => return with_log(load, request),
    };
    if let LogRequest::Never(left) = load.log {
        let program = load.text.0.name.clone();
        return Err(KernelError::Refused {
            program,
            why: RefusalReason::no_log(left),
            log: words,
            source: first,
        });
    }
    with_log_of_refusal(load, request, first)
}

fn refused(load: &ProgramLoad<'_>, log: String, source: io::Error) -> KernelError {
    let text = &load.text.0;
    KernelError::Refused { program: text.name.clone(), why: RefusalReason::read(&log, text), log, source }
}

fn is_unsaid(why: &RefusalReason, source: &io::Error) -> bool {
    let is_silent = matches!(why, RefusalReason::Verifier(rejection) if rejection.message.is_empty());
    is_silent && source.raw_os_error() == Some(libc::EINVAL)
}

/// Describes a program array that may be of another program type: its first user determines its type.
fn arrays_of_others(load: &ProgramLoad<'_>, maps: &[OwnedFd]) -> Option<String> {
    let own = load.kind.kernel_type;
    let arrays = || {
        maps.iter().filter_map(|map| {
            let of = facts::owner_program_type(map)?;
            Some((facts::map(map).ok()?.name, of))
        })
    };
    if let Some((name, of)) = arrays().find(|(_, of)| *of != own) {
        return Some(format!(
            "its array of programs \"{name}\" belongs to programs of type {}, the first that used it, and this one is of type \
             {}: give each type an array of its own",
            program_type_name(of),
            program_type_name(own)
        ));
    }
    arrays().next().map(|(name, _)| {
        format!(
            "its array of programs \"{name}\" may belong to programs of another kind, the first that used it: those with and \
             without .frags, or with another attach type, need arrays of their own"
        )
    })
}

fn program_type_name(number: u32) -> String {
    let named = ProgramType::ALL.into_iter().find(|known| known.kernel_type() == number);
    named.map_or_else(|| number.to_string(), |known| known.name().to_owned())
}

fn with_log(load: &ProgramLoad<'_>, request: &mut attr::ProgLoad) -> Result<Loaded<OwnedFd>, KernelError> {
    let (result, log) = verifier_log::growing(|log| attempt_with_log(request, log));
    read_log(load, result, &log)
}

fn with_log_of_refusal(
    load: &ProgramLoad<'_>,
    request: &mut attr::ProgLoad,
    first: io::Error,
) -> Result<Loaded<OwnedFd>, KernelError> {
    let (result, log) = verifier_log::of_refusal(first, |log| attempt_with_log(request, log));
    read_log(load, result, &log)
}

fn attempt_with_log(request: &mut attr::ProgLoad, log: &mut [u8]) -> io::Result<OwnedFd> {
    request.log_level = if log.is_empty() { 0 } else { LOG_VERIFIER | LOG_STATISTICS };
    request.log_size = log.len() as u32;
    request.log_buf = if log.is_empty() { 0 } else { log.as_mut_ptr() as u64 };
    sys::bpf_fd(Command::ProgLoad, request)
}

fn read_log(
    load: &ProgramLoad<'_>,
    result: io::Result<OwnedFd>,
    log: &[u8],
) -> Result<Loaded<OwnedFd>, KernelError> {
    let log = facts::text(log);
    match result {
        Ok(program) => {
            let stack_depths = verifier_log::stack_depths(&log);
            Ok(Loaded { program, log, stack_depths, warnings: Vec::new() })
        }
        Err(source) => Err(refused(load, log, source)),
    }
}

fn with_descriptors(
    load: &ProgramLoad<'_>,
    modules: &[RawFd],
) -> Result<(Vec<Insn>, Vec<OwnedFd>), KernelError> {
    let mut open: HashMap<u32, RawFd> = HashMap::new();
    let mut held = Vec::new();
    for MapId(id) in load.text.map_ids() {
        let fd = facts::open(Command::MapGetFdById, id)
            .and_then(|fd| fd.ok_or_else(|| io::Error::from_raw_os_error(libc::ENOENT)))
            .map_err(|source| {
                KernelError::call("open", format!("map {id} of program \"{}\"", load.text.0.name), source)
            })?;
        open.insert(id, fd.as_raw_fd());
        held.push(fd);
    }
    let mut insns = load.text.0.insns.clone();
    for at in load.text.map_references() {
        if let Some(fd) = open.get(&insns[at].imm.cast_unsigned()) {
            insns[at].imm = *fd;
        }
    }
    // The second half of the instruction holds the module of a variable.
    for at in 1..insns.len() {
        let before = insns[at - 1];
        if before.is_ld_imm64()
            && before.src() == op::PSEUDO_BTF_ID
            && let Some(module) = modules.get(insns[at].imm as usize).filter(|fd| **fd != 0)
        {
            insns[at].imm = *module;
        }
    }
    Ok((insns, held))
}

/// Kernel names: 15 bytes of letters, digits, `_` and `.`, and a zero.
pub fn kernel_name(name: &str) -> [u8; 16] {
    let mut bytes = [0_u8; 16];
    for (slot, byte) in bytes.iter_mut().zip(name.bytes()).take(15) {
        *slot = if byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'.' { byte } else { b'_' };
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_cut_and_cleaned_as_the_kernel_wants_it() {
        assert_eq!(&kernel_name("a-name that is long"), b"a_name_that_is_\0");
        assert_eq!(&kernel_name("x")[..2], b"x\0");
    }
}
