//! `bpfman check`: requirements of an object, compared with kernels.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use bpfman_client::Services;
use bpfman_proto::ext::v1 as ext;
use bpfman_proto::v1;
use bpfmand_object::{KernelBtf, ObjectFile};
use bpfmand_requirements::{KernelView, LinuxVersion, ObjectNeeds, needs_of};
use tonic::Code;

use super::boot::KernelRunner;
use super::object_source::{self, ObjectSource};
use super::{connect, dry_run};
use crate::args::Global;
use crate::args::check::Check;
use crate::args::value::ProgramSpec;
use crate::error::CliError;
use crate::show;
use crate::show::checked::{CheckedKernel, CheckedObject};
use crate::show::tried::Tried;

const TYPES: &str = "/sys/kernel/btf";

/// Minimum number of functions in a kernel's list: kernels have 50,000 and more.
const MIN_FUNCTIONS: usize = 1000;

/// Maximum size of a kernel's BTF, in bytes: a distribution's has about 7 MB.
const MAX_BTF_BYTES: u64 = 256 << 20;

pub async fn run(global: &Global, command: Check) -> Result<(), CliError> {
    let source = ObjectSource::of(&command.object);
    let mut notes = Vec::new();
    // This host's kernel is checked unless others are named.
    let of_host = command.kernel_btf.is_empty() && command.kernel.is_empty();
    let runner = if command.kernel.is_empty() { None } else { Some(KernelRunner::find()?) };
    let wants_try = of_host && !command.no_try;
    let mut daemon = if wants_try { reach(global, &mut notes).await } else { None };
    let object = match &source {
        ObjectSource::File(path) => object_source::read(path)?,
        ObjectSource::Image(image) => match take_from(global, &mut daemon, image, &mut notes).await {
            Some(object) => object,
            None => object_source::fetch_here(global, &command.object).await?,
        },
    };
    let needs = needs_of(&object);
    let mut checked = CheckedObject::new(&source.to_string(), &needs);
    checked.notes = notes;
    let mut failure = None;
    if of_host {
        let mut host = this_host(&object, &needs, &mut checked.notes);
        if let Some(daemon) = &mut daemon {
            failure = dry_run_load(daemon, &source, &object, &mut checked).await?;
            host.allow(checked.tried.as_ref());
            add_missing_types(daemon, &object, &mut host).await?;
        }
        checked.kernels.push(host);
    }
    for path in &command.kernel_btf {
        let types = KernelBtf::parse(bytes(path, MAX_BTF_BYTES)?).map_err(|error| CliError::Invalid {
            what: format!("{}: {error}", path.display()),
            hint: Some("--kernel-btf takes raw BTF, as in /sys/kernel/btf/vmlinux".into()),
        })?;
        let view = KernelView { types: Some(&types), ..KernelView::default() };
        checked.kernels.push(CheckedKernel::new(&path.display().to_string(), view.lacks(&object, &needs)));
    }
    if let Some(runner) = &runner {
        for kernel in &command.kernel {
            checked.kernels.push(runner.check(kernel, object.bytes())?);
        }
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

pub(super) fn bytes(path: &Path, most: u64) -> Result<Vec<u8>, CliError> {
    let failed = |source| CliError::File { path: path.to_path_buf(), source };
    let is_regular = std::fs::metadata(path).map_err(failed)?.is_file();
    let mut content = Vec::new();
    if is_regular {
        let file = std::fs::File::open(path).map_err(failed)?;
        file.take(most + 1).read_to_end(&mut content).map_err(failed)?;
    }
    let what = match (is_regular, content.len() as u64 > most) {
        (true, false) => return Ok(content),
        (true, true) => format!("{} has more than {most} bytes", path.display()),
        (false, _) => format!("{} is no regular file", path.display()),
    };
    Err(CliError::Invalid { what, hint: None })
}

async fn reach(global: &Global, notes: &mut Vec<String>) -> Option<Services> {
    match connect(global).await {
        Ok(client) => Some(client),
        Err(error) => {
            notes.push(format!("dry run failed: {error}"));
            None
        }
    }
}

/// Fetches an image through the daemon. If this fails, adds a note, and the daemon is not used for a dry run.
async fn take_from(
    global: &Global,
    daemon: &mut Option<Services>,
    image: &v1::BytecodeImage,
    notes: &mut Vec<String>,
) -> Option<ObjectFile> {
    match object_source::fetch(global, daemon.as_mut()?, image).await {
        Ok(object) => Some(object),
        Err(error) => {
            notes.push(format!("dry run failed: {error}"));
            *daemon = None;
            None
        }
    }
}

fn this_host(object: &ObjectFile, needs: &ObjectNeeds, notes: &mut Vec<String>) -> CheckedKernel {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let path = Path::new(TYPES).join("vmlinux");
    let own = std::fs::read(&path).map_err(|error| error.to_string());
    let mut types = match own.and_then(|bytes| KernelBtf::parse(bytes).map_err(|error| error.to_string())) {
        Ok(types) => Some(types),
        Err(error) => {
            notes.push(format!("compared by version alone: {}: {error}", path.display()));
            None
        }
    };
    if let Some(types) = &mut types {
        add_modules(types);
    }
    let version = LinuxVersion::of_release(&release);
    let functions = functions_of_host();
    let view = KernelView {
        types: types.as_ref(),
        has_modules: true,
        functions: (functions.len() > MIN_FUNCTIONS).then_some(&functions),
        version,
    };
    CheckedKernel::new(&format!("this host, Linux {release}"), view.lacks(object, needs))
}

/// Returns the names of the kernel's functions: readable without privileges, unless `/proc` is masked.
fn functions_of_host() -> BTreeSet<String> {
    let list = std::fs::read_to_string("/proc/kallsyms").unwrap_or_default();
    let symbols = list.lines().filter_map(|line| {
        let mut words = line.split_ascii_whitespace().skip(1);
        Some((words.next()?, words.next()?))
    });
    let functions = symbols.filter(|(kind, _)| matches!(*kind, "t" | "T" | "w" | "W"));
    functions.map(|(_, name)| name.to_owned()).collect()
}

/// Adds the BTF of all loaded modules. Skips BTF that cannot be read: programs cannot use it either.
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

/// Adds program types that the daemon reports as missing: the kernel may load programs but not attach them.
async fn add_missing_types(
    client: &mut Services,
    object: &ObjectFile,
    host: &mut CheckedKernel,
) -> Result<(), CliError> {
    let features = match client.ext.features(ext::FeaturesRequest {}).await {
        Ok(answer) => answer.into_inner().features,
        // The daemon is older, or denies the call.
        Err(status) if matches!(status.code(), Code::Unimplemented | Code::PermissionDenied) => return Ok(()),
        Err(status) => return Err(status.into()),
    };
    let is_missing = |feature: &&ext::Feature| {
        feature.kind() == ext::FeatureKind::Type && feature.state() == ext::FeatureState::Missing
    };
    for missing in features.iter().filter(is_missing) {
        let mut wanted_by = Vec::new();
        for program in object.programs() {
            if program.family.program_type().is_some_and(|of| of.name() == missing.name) {
                wanted_by.push(program.name.clone());
            }
        }
        host.lack_type(&missing.name, &missing.detail, wanted_by);
    }
    Ok(())
}

/// Makes the daemon load and discard the programs. Returns the reason of a refusal; adds a note if there is no answer.
async fn dry_run_load(
    client: &mut Services,
    source: &ObjectSource,
    object: &ObjectFile,
    checked: &mut CheckedObject,
) -> Result<Option<ext::Failure>, CliError> {
    let mut specs = Vec::new();
    for program in object.programs() {
        let Some(program_type) = program.family.program_type() else { continue };
        let target = program.attach_target.as_ref().filter(|_| program_type.needs_load_target());
        let target = target.map(|target| format!(":{target}")).unwrap_or_default();
        match format!("{program_type}:{}{target}", program.name).parse::<ProgramSpec>() {
            Ok(spec) => specs.push(spec),
            Err(error) => checked.notes.push(format!("dry run failed: {}: {error}", program.name)),
        }
    }
    if specs.is_empty() {
        return Ok(None);
    }
    let load = v1::LoadRequest {
        bytecode: Some(v1::BytecodeLocation { location: Some(source.location()) }),
        info: specs.iter().map(v1::LoadInfo::from).collect(),
        ..Default::default()
    };
    let request = ext::DryRunRequest { load: Some(load), ..Default::default() };
    match client.node.dry_run(request).await {
        Ok(answer) => {
            let answer = answer.into_inner();
            checked.tried = Some(Tried::new(&answer));
            Ok(dry_run::refusal(answer)?.map(|(failure, _)| failure))
        }
        // The results without the daemon are shown nevertheless.
        Err(status) => {
            checked.notes.push(format!("dry run failed: {}", status.message()));
            Ok(None)
        }
    }
}
