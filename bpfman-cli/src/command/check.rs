//! `bpfman check`: what an object needs, and whether kernels have it.

use std::path::{Path, PathBuf};

use bpfman_proto::ext::v1 as ext;
use bpfman_proto::v1;
use bpfman_proto::v1::bytecode_location::Location;
use bpfmand_object::{KernelBtf, MAX_OBJECT_BYTES, ObjectFile};
use bpfmand_requirements::{KernelView, LinuxVersion, ObjectNeeds, needs_of};

use super::connect;
use crate::args::Global;
use crate::args::check::Check;
use crate::args::value::ProgramSpec;
use crate::error::CliError;
use crate::show;
use crate::show::checked::{CheckedKernel, CheckedObject};
use crate::show::tried::Tried;

/// Where a kernel shows its types, and those of its modules beside.
const TYPES: &str = "/sys/kernel/btf";

/// Reads the object, compares it with each kernel, and has the daemon of this host try it.
pub async fn run(global: &Global, command: Check) -> Result<(), CliError> {
    let object = read(&command.file)?;
    let needs = needs_of(&object);
    let mut checked = CheckedObject::new(&command.file, &needs);
    let mut failure = None;
    if command.kernel_btf.is_empty() {
        checked.kernels.push(this_host(&object, &needs));
        if !command.no_try {
            failure = have_it_tried(global, &command.file, &object, &mut checked).await?;
        }
    }
    for path in &command.kernel_btf {
        let types = KernelBtf::parse(bytes(path)?).map_err(|error| CliError::Invalid {
            what: format!("{}: {error}", path.display()),
            hint: Some("--kernel-btf takes raw BTF, as in /sys/kernel/btf/vmlinux".to_owned()),
        })?;
        let view = KernelView { types: Some(&types), version: None };
        checked.kernels.push(CheckedKernel::new(&path.display().to_string(), view.lacks(&object, &needs)));
    }
    show::answer(global, &checked)?;
    if let Some(failure) = failure {
        return Err(CliError::Tried { failure: Box::new(failure) });
    }
    match checked.verdict() {
        None => Ok(()),
        Some((what, hint)) => Err(CliError::Invalid { what, hint }),
    }
}

fn bytes(path: &Path) -> Result<Vec<u8>, CliError> {
    std::fs::read(path).map_err(|source| CliError::File { path: path.to_path_buf(), source })
}

fn read(path: &Path) -> Result<ObjectFile, CliError> {
    let failed = |what: String| CliError::Invalid { what: format!("{}: {what}", path.display()), hint: None };
    let size =
        std::fs::metadata(path).map_err(|source| CliError::File { path: path.to_path_buf(), source })?.len();
    if size > MAX_OBJECT_BYTES as u64 {
        return Err(failed(format!("it has {size} bytes; an object may have {MAX_OBJECT_BYTES}")));
    }
    ObjectFile::parse(bytes(path)?).map_err(|error| failed(error.to_string()))
}

/// The kernel that runs here, by its own types, as far as this user may read them.
fn this_host(object: &ObjectFile, needs: &ObjectNeeds) -> CheckedKernel {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let own = std::fs::read(Path::new(TYPES).join("vmlinux")).ok();
    let mut types = own.and_then(|bytes| KernelBtf::parse(bytes).ok());
    if let Some(types) = &mut types
        && object.programs().iter().any(|program| object.exceeds(&program.name, types))
    {
        add_modules(types);
    }
    let view = KernelView { types: types.as_ref(), version: LinuxVersion::of_release(&release) };
    CheckedKernel::new(&format!("this host, Linux {release}"), view.lacks(object, needs))
}

/// Adds the types of all loaded modules. Those that cannot be read are missing for programs, too.
fn add_modules(types: &mut KernelBtf) {
    let mut modules: Vec<PathBuf> =
        std::fs::read_dir(TYPES).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path())).collect();
    modules.sort();
    for path in modules {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if let (true, Ok(bytes)) = (name != "vmlinux", std::fs::read(&path)) {
            let _unreadable = types.add_module(&name, bytes);
        }
    }
}

/// Has the daemon load the programs and drop them. Answers why it refused them, if it did; where nobody can be asked, a note
/// says so.
async fn have_it_tried(
    global: &Global,
    path: &Path,
    object: &ObjectFile,
    checked: &mut CheckedObject,
) -> Result<Option<ext::Failure>, CliError> {
    let specs: Vec<ProgramSpec> = object
        .programs()
        .iter()
        .filter_map(|program| {
            let program_type = program.family.program_type()?;
            let target = program.attach_target.as_ref().filter(|_| program_type.needs_load_target());
            let target = target.map(|target| format!(":{target}")).unwrap_or_default();
            format!("{program_type}:{}{target}", program.name).parse().ok()
        })
        .collect();
    if specs.is_empty() {
        return Ok(None);
    }
    let mut client = match connect(global).await {
        Ok(client) => client,
        Err(error @ (CliError::Unreachable { .. } | CliError::SocketDenied { .. })) => {
            checked.notes.push(format!("not loaded for a try: {error}"));
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    let path = std::path::absolute(path)
        .map_err(|source| CliError::File { path: path.to_path_buf(), source })?
        .display()
        .to_string();
    let load = v1::LoadRequest {
        bytecode: Some(v1::BytecodeLocation { location: Some(Location::File(path)) }),
        info: specs.iter().map(v1::LoadInfo::from).collect(),
        ..Default::default()
    };
    let request = ext::DryRunRequest { load: Some(load), ..Default::default() };
    match client.node.dry_run(request).await {
        Ok(answer) => {
            let answer = answer.into_inner();
            checked.tried = Some(Tried::new(&answer));
            let parts = answer.programs.into_iter().filter_map(|part| part.failure);
            Ok(answer.failure.into_iter().chain(parts).next())
        }
        Err(status) if status.code() == tonic::Code::PermissionDenied => {
            checked.notes.push(format!("not loaded for a try: {}", status.message()));
            Ok(None)
        }
        Err(status) => Err(status.into()),
    }
}
