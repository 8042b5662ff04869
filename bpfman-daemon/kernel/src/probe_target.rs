//! Why something cannot be probed.

use std::ffi::NulError;
use std::io;
use std::path::PathBuf;

use crate::BadUsdtArgument;

/// Why a function, file or process cannot be probed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProbeTargetError {
    /// The kernel does not have the function.
    #[error(
        "the kernel has no such function{}, or it is in a module that is not loaded",
        if renamed.is_empty() {
            ": its compiler may have built it into its callers".to_owned()
        } else {
            format!(": its compiler made {} of it", renamed.join(", "))
        }
    )]
    NoKernelFunction {
        /// Functions that the kernel's compiler made of it, at most three.
        renamed: Vec<String>,
    },
    /// The kernel has the function on its list of those that are not probed, or cannot trace it.
    #[error("the kernel forbids to probe it ({source})")]
    Forbidden {
        /// The kernel's answer.
        source: io::Error,
    },
    /// Several functions of one name, of which the kernel would take any.
    #[error("the kernel has {0} functions of that name: choose one that it has once")]
    SeveralKernelFunctions(usize),
    /// An offset inside of an instruction.
    #[error("offset {offset:#x} is not at an instruction ({source})")]
    NotAnInstruction {
        /// Bytes from the function's start.
        offset: u64,
        /// The kernel's answer.
        source: io::Error,
    },
    /// An offset that lies in no part of the function that is known, for a caller other than root.
    #[error(
        "offset {offset:#x} is outside of the function{}: only root may probe there",
        match size {
            Some(size) => format!(", which has {size:#x} bytes"),
            None => " for all that is known: the kernel does not tell where it ends".to_owned(),
        }
    )]
    OutsideFunction {
        /// Bytes from the function's start.
        offset: u64,
        /// Bytes of the function; none where the kernel does not tell.
        size: Option<u64>,
    },
    /// More functions than one link takes.
    #[error("they are {found}; one link takes at most {most}: write a narrower pattern")]
    TooMany {
        /// So many match.
        found: usize,
        /// The most.
        most: usize,
    },
    /// No process of this id.
    #[error("process {0} does not exist")]
    NoProcess(u32),
    /// A relative path.
    #[error("a target is an absolute path or the name of a library")]
    RelativePath,
    /// A file that cannot be opened, or is none.
    #[error("{path}: {source}")]
    File {
        /// As given.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// A file that the caller may not read, whatever the daemon may.
    #[error(
        "user {uid} may not read {path}: name a file that the user may read, or have root attach the program"
    )]
    Unreadable {
        /// The user.
        uid: u32,
        /// As given.
        path: String,
    },
    /// A library that is nowhere.
    #[error(
        "no library of that name in {}the loader's cache or its usual folders",
        .pids.iter().map(|pid| format!("what process {pid} has mapped, ")).collect::<String>()
    )]
    NoLibrary {
        /// The processes that do not have it either.
        pids: Vec<u32>,
    },
    /// Not an ELF file that can be read.
    #[error("{} is not a binary that can be probed: {source}", path.display())]
    NotBinary {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// A file without the function.
    #[error("{} has no function \"{function}\"", path.display())]
    NoFunction {
        /// The file.
        path: PathBuf,
        /// The function.
        function: String,
    },
    /// A file that takes the function from a library.
    #[error(
        "{} takes function \"{function}\" from a library: name that library as the target",
        path.display()
    )]
    Imported {
        /// The file.
        path: PathBuf,
        /// The function.
        function: String,
    },
    /// A file with several functions of one name.
    #[error(
        "{} has {count} functions \"{function}\" at different addresses: name none, and give the offset of one in the file",
        path.display()
    )]
    SeveralFunctions {
        /// The file.
        path: PathBuf,
        /// The function.
        function: String,
        /// How many.
        count: usize,
    },
    /// A function at an address that no part of its file is loaded to.
    #[error("function \"{function}\" of {} is in no loaded segment", path.display())]
    NotLoaded {
        /// The file.
        path: PathBuf,
        /// The function.
        function: String,
    },
    /// A place that no function of the file covers, or whose instructions cannot be told apart.
    #[error("offset {offset:#x} of {} is at no instruction that is known: {why}", path.display())]
    UnknownPlace {
        /// The file.
        path: PathBuf,
        /// Bytes from the start of the file.
        offset: u64,
        /// What is not known.
        why: &'static str,
    },
    /// A place that no process runs.
    #[error(
        "offset {offset:#x} of {} is no code: the file loads nothing there to be run, and a breakpoint would change what \
         processes read there",
        path.display()
    )]
    NoCode {
        /// The file.
        path: PathBuf,
        /// Bytes from the start of the file.
        offset: u64,
    },
    /// A return probe of a function of a runtime that copies stacks.
    #[error(
        "{} has functions of {runtime}, which moves the stacks of its threads: return probes change return addresses there, and \
         end such processes; attach an entry probe (uprobe) to the instructions that return, or to a static probe (usdt)",
        path.display()
    )]
    MovesStacks {
        /// The file.
        path: PathBuf,
        /// Name of the runtime.
        runtime: &'static str,
    },
    /// A place inside of an instruction.
    #[error(
        "offset {offset:#x} of {} lies inside of an instruction of \"{function}\", which begins at {begins:#x}: a \
         breakpoint there would end every process that comes by",
        path.display()
    )]
    InsideInstruction {
        /// The file.
        path: PathBuf,
        /// Bytes from the start of the file.
        offset: u64,
        /// The function.
        function: String,
        /// Where that instruction begins.
        begins: u64,
    },
    /// A return probe that is not at a function's beginning.
    #[error(
        "offset {offset:#x} of {} is not where function \"{function}\" begins: a return probe there would lead its \
         processes astray",
        path.display()
    )]
    ReturnInside {
        /// The file.
        path: PathBuf,
        /// Bytes from the start of the file.
        offset: u64,
        /// The function.
        function: String,
    },
    /// A file without the static probe.
    #[error("{} has no static probe {provider}:{name}: `readelf -n` lists those that a file has", path.display())]
    NoUsdt {
        /// The file.
        path: PathBuf,
        /// Whose probe.
        provider: String,
        /// Its name.
        name: String,
    },
    /// Arguments that programs cannot be told of.
    #[error(transparent)]
    Argument(#[from] BadUsdtArgument),
    /// An offset past the largest file.
    #[error("offset {offset:#x} from {start:#x} is beyond any file")]
    BeyondFile {
        /// Bytes from the start.
        offset: u64,
        /// Where the function starts in its file, in bytes.
        start: u64,
    },
    /// A name that the kernel cannot be given.
    #[error(transparent)]
    Name(#[from] NulError),
}
