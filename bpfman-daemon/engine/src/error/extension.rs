//! Why a program does not take the place of a function of another, or why one whose function is replaced has to stay as it
//! is.

use bpfmand_core::{BadReplacedFunction, LinkId, ProgramId};

use super::{EngineError, ErrorKind};

/// What keeps extensions (type `freplace`), and programs that are extended, from what was asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExtensionRefusal {
    /// The load does not say whose function.
    #[error("program \"{program}\" of type freplace takes the place of a function of another program: {why}")]
    Unnamed {
        /// Which program.
        program: String,
        /// What is missing.
        why: BadReplacedFunction,
    },
    /// The kernel has no such program.
    #[error("program \"{program}\" is to extend program {extended}, which does not exist")]
    NoProgram {
        /// Which program.
        program: String,
        /// Whose function.
        extended: ProgramId,
    },
    /// It is about to be replaced by the same call.
    #[error("program \"{program}\" is to extend program {extended}, which the same load replaces")]
    SameLoad {
        /// Which program.
        program: String,
        /// Whose function.
        extended: ProgramId,
    },
    /// An extension cannot be extended.
    #[error(
        "program \"{program}\" is to extend program {extended} (\"{name}\"), which is an extension itself: the kernel \
         extends no extensions"
    )]
    Recursive {
        /// Which program.
        program: String,
        /// Whose function.
        extended: ProgramId,
        /// The name of that.
        name: String,
    },
    /// Types are missing, by which functions are found and compared.
    #[error("program {whose} was loaded without types (BTF), by which functions are found")]
    NoTypes {
        /// Which of the two.
        whose: String,
    },
    /// No such function.
    #[error(
        "program {extended} (\"{name}\") has no function \"{function}\", whose place program \"{program}\" is to take; \
         {}", match &there[..] { [] => "none of its functions can be replaced".to_owned(), names => format!("those of its types that can be replaced: {}", names.join(", ")) }
    )]
    NoFunction {
        /// Which program.
        program: String,
        /// Whose function.
        extended: ProgramId,
        /// The name of that.
        name: String,
        /// Which function.
        function: String,
        /// Those that it has.
        there: Vec<String>,
    },
    /// The verifier looks at static functions with who calls them.
    #[error(
        "function \"{function}\" of program {extended} (\"{name}\") is static, and the kernel lets nothing take the place of \
         such functions"
    )]
    Static {
        /// Whose function.
        extended: ProgramId,
        /// The name of that.
        name: String,
        /// Which function.
        function: String,
    },
    /// The two functions take or answer other things.
    #[error(
        "program \"{program}\", which is `{own}`, cannot take the place of `{wanted}` of program {extended} (\"{name}\"): \
         {difference}"
    )]
    Differs {
        /// Which program.
        program: String,
        /// What it takes and answers.
        own: String,
        /// Whose function.
        extended: ProgramId,
        /// The name of that.
        name: String,
        /// What that takes and answers.
        wanted: String,
        /// How they differ.
        difference: String,
    },
    /// A tenant's extension of what is not the tenant's own.
    #[error("program \"{program}\" is a tenant's, and program {extended} is not of the same owner")]
    NotOwn {
        /// Which program.
        program: String,
        /// Whose function.
        extended: ProgramId,
    },
    /// The test that keeps a program to a tenant's tasks stands in its own function.
    #[error(
        "program \"{program}\" is a tenant's and cannot take the place of program {extended} (\"{name}\") itself, which is \
         guarded there: only of other functions of it"
    )]
    Guarded {
        /// Which program.
        program: String,
        /// Whose function.
        extended: ProgramId,
        /// The name of that.
        name: String,
    },
    /// Others depend on it as it is.
    #[error("program {program} (\"{name}\") cannot be {change}: it is extended by {}", by.join(" and "))]
    Extended {
        /// Which program.
        program: ProgramId,
        /// Its name.
        name: String,
        /// What was to happen to it.
        change: &'static str,
        /// Who extends it.
        by: Vec<String>,
    },
    /// A copy of the program runs, which no extension reaches.
    #[error(
        "program {extended} (\"{name}\") does not run by itself at {hook}: its instructions are a part of the {strategy} \
         there, which no extension reaches"
    )]
    InChain {
        /// Whose function.
        extended: ProgramId,
        /// The name of that.
        name: String,
        /// Which hook.
        hook: String,
        /// What runs there.
        strategy: &'static str,
    },
    /// The same, the other way round.
    #[error(
        "{hook} would no longer run program {extended} (\"{name}\") by itself but a copy of it, which its extension by {by} \
         does not reach"
    )]
    Joins {
        /// Which hook.
        hook: String,
        /// Whose function.
        extended: ProgramId,
        /// The name of that.
        name: String,
        /// Who extends it.
        by: String,
    },
    /// The kernel takes one program in the place of a function.
    #[error("function \"{function}\" of program {extended} is replaced already, by {by}")]
    Taken {
        /// Whose function.
        extended: ProgramId,
        /// Which function.
        function: String,
        /// By whom.
        by: String,
    },
    /// It could not be beside its new version for a moment.
    #[error(
        "program {program} (\"{name}\") cannot be replaced while link {link} attaches it: the kernel takes one program at a \
         time in the place of a function"
    )]
    Attached {
        /// Which program.
        program: ProgramId,
        /// Its name.
        name: String,
        /// By which link.
        link: LinkId,
    },
    /// After a reboot there is nothing to extend.
    #[error("program \"{program}\" was for function \"{function}\" of {extended}")]
    Gone {
        /// Which program.
        program: String,
        /// Which function.
        function: String,
        /// Whose, and what became of it.
        extended: String,
    },
}

impl From<ExtensionRefusal> for EngineError {
    fn from(refusal: ExtensionRefusal) -> Self {
        Self::Extension(Box::new(refusal))
    }
}

impl ExtensionRefusal {
    pub(super) const fn error_kind(&self) -> ErrorKind {
        match self {
            Self::Unnamed { .. }
            | Self::SameLoad { .. }
            | Self::Recursive { .. }
            | Self::NoTypes { .. }
            | Self::Static { .. }
            | Self::Differs { .. } => ErrorKind::Invalid,
            Self::NoProgram { .. } | Self::NoFunction { .. } => ErrorKind::NotFound,
            Self::NotOwn { .. } | Self::Guarded { .. } => ErrorKind::Denied,
            Self::Extended { .. } | Self::Gone { .. } => ErrorKind::Precondition,
            Self::InChain { .. } | Self::Joins { .. } | Self::Taken { .. } | Self::Attached { .. } => {
                ErrorKind::Conflict
            }
        }
    }

    pub(super) fn hint(&self) -> Option<String> {
        let text = match self {
            Self::Unnamed { program, .. } => {
                return Some(format!(
                    "`--programs freplace:{program}:PROGRAM_ID:FUNCTION`; `bpfman list programs` shows the ids"
                ));
            }
            Self::NoProgram { .. } => "`bpfman list programs --all` shows the programs of this machine",
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
            Self::Extended { .. } => {
                "`bpfman unload` those that extend it first, and load them again afterwards"
            }
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
        Some(text.to_owned())
    }
}
