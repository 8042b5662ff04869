//! Refusals of extensions, and of changes of programs that are extended.

use bpfman_model::{BadReplacedFunction, Hint, LinkId, ProgramId, Reason};

use super::EngineError;

/// Refusal concerning an extension (type `freplace`) or an extended program.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExtensionRefusal {
    /// The load does not name the program and function to replace.
    #[error("program \"{program}\" of type freplace takes the place of a function of another program: {why}")]
    Unnamed { program: String, why: BadReplacedFunction },
    #[error("program \"{program}\" is to extend program {extended}, which does not exist")]
    NoProgram { program: String, extended: ProgramId },
    #[error("program \"{program}\" is to extend program {extended}, which the same load replaces")]
    SameLoad { program: String, extended: ProgramId },
    /// The program to extend is an extension, which the kernel does not allow.
    #[error(
        "program \"{program}\" is to extend program {extended} (\"{name}\"), which is an extension itself: the kernel \
         extends no extensions"
    )]
    Recursive {
        program: String,
        extended: ProgramId,
        /// Name of the program to extend.
        name: String,
    },
    /// BTF is missing, by which functions are found and compared.
    #[error("program {whose} was loaded without types (BTF), by which functions are found")]
    NoTypes { whose: String },
    #[error(
        "program {extended} (\"{name}\") has no function \"{function}\", whose place program \"{program}\" is to take; \
         {}", match &there[..] { [] => "none of its functions can be replaced".to_owned(), names => format!("those of its types that can be replaced: {}", names.join(", ")) }
    )]
    NoFunction {
        program: String,
        extended: ProgramId,
        /// Name of the program to extend.
        name: String,
        function: String,
        /// Names of the functions that can be replaced.
        there: Vec<String>,
    },
    #[error(
        "function \"{function}\" of program {extended} (\"{name}\") is static, and the kernel lets nothing take the place of \
         such functions"
    )]
    Static {
        extended: ProgramId,
        /// Name of the program to extend.
        name: String,
        function: String,
    },
    /// The parameters or return types of the two functions differ.
    #[error(
        "program \"{program}\", which is `{own}`, cannot take the place of `{wanted}` of program {extended} (\"{name}\"): \
         {difference}"
    )]
    Differs {
        program: String,
        own: String,
        extended: ProgramId,
        /// Name of the program to extend.
        name: String,
        /// Prototype of the function to replace.
        wanted: String,
        difference: String,
    },
    /// A tenant's extension of a program that does not belong to the tenant.
    #[error("program \"{program}\" is a tenant's, and program {extended} is not of the same owner")]
    NotOwn { program: String, extended: ProgramId },
    /// The guard, which limits a program to a tenant's tasks, is in the program's own first function.
    #[error(
        "program \"{program}\" is a tenant's and cannot take the place of program {extended} (\"{name}\") itself, which is \
         guarded there: only of other functions of it"
    )]
    Guarded {
        program: String,
        extended: ProgramId,
        /// Name of the program to extend.
        name: String,
    },
    #[error("program {program} (\"{name}\") cannot be {change}: it is extended by {}", by.join(" and "))]
    Extended { program: ProgramId, name: String, change: &'static str, by: Vec<String> },
    /// A copy of the program runs, which extensions do not affect.
    #[error(
        "program {extended} (\"{name}\") does not run by itself at {hook}: its instructions are a part of the {strategy} \
         there, which no extension reaches"
    )]
    InChain {
        extended: ProgramId,
        /// Name of the program to extend.
        name: String,
        hook: String,
        strategy: &'static str,
    },
    /// An extended program would become a copy in a chain, which its extension does not affect.
    #[error(
        "{hook} would no longer run program {extended} (\"{name}\") by itself but a copy of it, which its extension by {by} \
         does not reach"
    )]
    Joins {
        /// Hook that would run the copy.
        hook: String,
        extended: ProgramId,
        name: String,
        by: String,
    },
    #[error("function \"{function}\" of program {extended} is replaced already, by {by}")]
    Taken { extended: ProgramId, function: String, by: String },
    /// The old and the new version of an extension cannot be attached at the same time.
    #[error(
        "program {program} (\"{name}\") cannot be replaced while link {link} attaches it: the kernel takes one program at a \
         time in the place of a function"
    )]
    Attached { program: ProgramId, name: String, link: LinkId },
    /// The extended program does not exist any more, for example after a reboot.
    #[error("program \"{program}\" was for function \"{function}\" of {extended}")]
    Gone {
        program: String,
        function: String,
        /// The extended program, and the reason of its absence.
        extended: String,
    },
}

impl From<ExtensionRefusal> for EngineError {
    fn from(refusal: ExtensionRefusal) -> Self {
        Self::Extension(Box::new(refusal))
    }
}

impl ExtensionRefusal {
    pub(super) const fn error_kind(&self) -> Reason {
        match self {
            Self::Unnamed { .. }
            | Self::SameLoad { .. }
            | Self::Recursive { .. }
            | Self::NoTypes { .. }
            | Self::Static { .. }
            | Self::Differs { .. } => Reason::Invalid,
            Self::NoProgram { .. } | Self::NoFunction { .. } => Reason::NotFound,
            Self::NotOwn { .. } | Self::Guarded { .. } => Reason::Denied,
            Self::Extended { .. } | Self::Gone { .. } => Reason::Precondition,
            Self::InChain { .. } | Self::Joins { .. } | Self::Taken { .. } | Self::Attached { .. } => {
                Reason::Conflict
            }
        }
    }

    pub(super) fn hint(&self) -> Hint {
        let text = match self {
            Self::Unnamed { program, .. } => {
                let flag = format!("write `--programs freplace:{program}:PROGRAM_ID:FUNCTION`");
                return Hint::Lines(vec![flag.into(), Hint::ListPrograms]);
            }
            Self::NoProgram { .. } => return Hint::ListAllPrograms,
            Self::SameLoad { .. } => "replace the program first, and load the extension then",
            Self::Recursive { .. } => "extend the program whose function that one replaces",
            Self::NoTypes { .. } => "compile it with -g, and load it again",
            Self::NoFunction { .. } => {
                "name a function that is not inlined: declare it without static, with __attribute__((noinline))"
            }
            Self::Static { .. } => "declare it without static, and load that program again",
            Self::Differs { .. } => "declare both alike",
            Self::NotOwn { .. } => "let root load it, or load the program to be extended by the same grant",
            Self::Guarded { .. } => "replace a function that the program calls",
            Self::Extended { .. } => "unload those that extend it first, and load them again afterwards",
            Self::InChain { .. } => {
                "let it have the hook alone, with the default set of verdicts and without counters, or attach it as tcx; then \
                 attach the extension"
            }
            Self::Joins { .. } => "detach the extension first, or attach the other program elsewhere",
            Self::Taken { .. } => "detach that one first",
            Self::Attached { .. } => {
                "detach the old version and attach the new one: in between, the function itself runs"
            }
            Self::Gone { .. } => "unload it, and load it again for the program of now",
        };
        text.into()
    }
}
