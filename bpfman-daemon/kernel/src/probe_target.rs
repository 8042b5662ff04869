use std::ffi::NulError;
use std::io;
use std::path::PathBuf;

use bpfman_model::FunctionHints;

use crate::BadUsdtArgument;

/// Reason why a function, file or process cannot be probed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProbeTargetError {
    #[error(
        "the kernel has no such function{}",
        if hints.explain() {
            hints.to_string()
        } else {
            format!(": its compiler may have built it into its callers, or it is in a module that is not loaded{hints}")
        }
    )]
    NoKernelFunction {
        /// Functions that the name may denote.
        hints: FunctionHints,
    },
    #[error("the kernel has no function that can be traced and matches")]
    NoMatch,
    /// The function is on the kernel's list of forbidden ones, or cannot be traced.
    #[error("the kernel forbids to probe it ({source})")]
    Forbidden { source: io::Error },
    /// Some functions are in modules, and multi-function links of this kernel accept only functions of the kernel itself.
    #[error(
        "such a link has functions of kernel modules since Linux 6.2, and this is {release}; of module {module}, attach \
         a kprobe to each"
    )]
    OfModule {
        /// Module of the first such function.
        module: String,
        release: String,
    },
    /// Several functions have the name: the kernel would choose any of them.
    #[error("the kernel has {0} functions of that name: choose one that it has once")]
    SeveralKernelFunctions(usize),
    #[error("offset {offset:#x} is not at an instruction ({source})")]
    NotAnInstruction {
        /// Bytes from the start of the function.
        offset: u64,
        source: io::Error,
    },
    /// A caller other than root named an offset outside of the known part of the function.
    #[error(
        "offset {offset:#x} is outside of the function{}: only root may probe there",
        match size {
            Some(size) => format!(", which has {size:#x} bytes"),
            None => " for all that is known: the kernel does not tell where it ends".to_owned(),
        }
    )]
    OutsideFunction {
        offset: u64,
        /// Size of the function in bytes; `None` if the kernel does not report it.
        size: Option<u64>,
    },
    #[error("they are {found}; one link takes at most {most}: write a narrower pattern")]
    TooMany { found: usize, most: usize },
    #[error(
        "comparing the patterns with all functions takes too long: write fewer ones, with fewer wildcards"
    )]
    TooSlow,
    #[error("process {0} does not exist")]
    NoProcess(u32),
    #[error("a target is an absolute path or the name of a library")]
    RelativePath,
    /// The file cannot be opened, or the path leads to no file.
    #[error("{path}: {source}")]
    File { path: String, source: io::Error },
    /// A file that the caller may not read, whatever the daemon may.
    #[error(
        "user {uid} may not read {path}: name a file that the user may read, or have root attach the program"
    )]
    Unreadable { uid: u32, path: String },
    #[error(
        "no library of that name in {}the loader's cache or its usual folders",
        .pids.iter().map(|pid| format!("what process {pid} has mapped, ")).collect::<String>()
    )]
    NoLibrary {
        /// Processes that do not have it either.
        pids: Vec<u32>,
    },
    /// The file at the path of a library is another one than the process runs.
    #[error(
        "process {pid} runs the library that was at {} before it was replaced or written: start the process again, or have root \
         attach the program",
        path.display()
    )]
    ReplacedLibrary {
        pid: u32,
        /// Path of the library, as the process sees it.
        path: PathBuf,
    },
    /// The file is not an ELF file that can be read.
    #[error("{} is not a binary that can be probed: {source}", path.display())]
    NotBinary { path: PathBuf, source: io::Error },
    #[error("{} has no function \"{function}\"", path.display())]
    NoFunction { path: PathBuf, function: String },
    /// The file does not have the function among the symbols that are read, and has packed ones.
    #[error(
        "{} has no function \"{function}\", or only among the packed symbols of its section .gnu_debugdata, which are not \
         read: install its debug symbols, or give an offset",
        path.display()
    )]
    PackedSymbols { path: PathBuf, function: String },
    #[error(
        "{} takes function \"{function}\" from a library: name that library as the target",
        path.display()
    )]
    Imported { path: PathBuf, function: String },
    #[error(
        "{} has {count} functions \"{function}\" at different addresses: name none, and give the offset of one in the file",
        path.display()
    )]
    SeveralFunctions { path: PathBuf, function: String, count: usize },
    /// The loader chooses the function among several when a process starts (`STT_GNU_IFUNC`).
    #[error(
        "{} has several functions behind \"{function}\", of which a process chooses one for its CPU when it starts: name the \
         function that it chooses, or none and an offset in the file",
        path.display()
    )]
    ChosenAtRunTime { path: PathBuf, function: String },
    /// The function is at an address that no part of its file is loaded to.
    #[error("function \"{function}\" of {} is in no loaded segment", path.display())]
    NotLoaded { path: PathBuf, function: String },
    /// No function of the file covers the place, or its instructions cannot be decoded.
    #[error("offset {offset:#x} of {} is at no instruction that is known: {why}", path.display())]
    UnknownPlace {
        path: PathBuf,
        /// Bytes from the start of the file.
        offset: u64,
        why: &'static str,
    },
    #[error(
        "offset {offset:#x} of {} is no code: the file loads nothing there to be run, and a breakpoint would change what \
         processes read there",
        path.display()
    )]
    NoCode {
        path: PathBuf,
        /// Bytes from the start of the file.
        offset: u64,
    },
    /// The return probe is on a function of a runtime that copies stacks.
    #[error(
        "{} has functions of {runtime}, which moves the stacks of its threads: return probes change return addresses there, and \
         end such processes; attach an entry probe (uprobe) to the instructions that return, or to a USDT probe (usdt)",
        path.display()
    )]
    MovesStacks { path: PathBuf, runtime: &'static str },
    #[error(
        "offset {offset:#x} of {} lies inside of an instruction of \"{function}\", which begins at {begins:#x}: a \
         breakpoint there would end every process that comes by",
        path.display()
    )]
    InsideInstruction {
        path: PathBuf,
        /// Bytes from the start of the file.
        offset: u64,
        function: String,
        begins: u64,
    },
    /// The return probe is not at the beginning of a function.
    #[error(
        "offset {offset:#x} of {} is not where function \"{function}\" begins: a return probe there would lead its \
         processes astray",
        path.display()
    )]
    ReturnInside {
        path: PathBuf,
        /// Bytes from the start of the file.
        offset: u64,
        function: String,
    },
    #[error("{} has no USDT probe {provider}:{name}: `readelf -n` lists those that a file has", path.display())]
    NoUsdt { path: PathBuf, provider: String, name: String },
    /// The arguments cannot be described to programs.
    #[error(transparent)]
    Argument(#[from] BadUsdtArgument),
    #[error("offset {offset:#x} from {start:#x} is beyond any file")]
    BeyondFile {
        /// Bytes from the start of the function.
        offset: u64,
        /// Start of the function in its file, in bytes.
        start: u64,
    },
    /// The name cannot be passed to the kernel.
    #[error(transparent)]
    Name(#[from] NulError),
}
