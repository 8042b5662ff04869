//! Program types of the kernel (`enum bpf_prog_type`), and their names on the command line.

use bpfman_model::ProgramType;
use bpfman_model::uapi::prog_type::{PUBLISHED_NAMES, published_name};

use crate::args::suggestion::did_you_mean;

/// Returns the kernel type's name in tables: snake case, or the bare number if unknown.
#[must_use]
pub fn name(number: u32) -> String {
    published_name(number).map_or_else(|| number.to_string(), str::to_owned)
}

/// Returns the type's name in v0.6.0's tables, which show return probes as their entry probes.
#[must_use]
pub fn table_name(exact: &str) -> &str {
    exact.parse::<ProgramType>().map_or(exact, |known| known.declared().name())
}

/// Returns a type by its name, as in `--programs` and `--kind`. Dashes and underscores are equivalent.
pub fn exact(name: &str) -> Result<ProgramType, UnknownType> {
    let names = || ProgramType::ALL.map(|known| known.name().to_owned()).into();
    name.replace('-', "_").parse().map_err(|_| UnknownType { name: name.to_owned(), expected: names() })
}

/// Selection of `--program-type`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TypeFilter {
    /// All programs of one kernel type, for example `tc` and `tcx` together.
    Kernel(u32),
    /// One type of this project.
    Exact(ProgramType),
}

/// Error of a name that is no program type.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "unknown program type \"{name}\"{}; `bpfman features types` lists them",
    did_you_mean(name, .expected.iter().map(String::as_str))
)]
pub struct UnknownType {
    pub name: String,
    pub expected: Vec<String>,
}

impl TypeFilter {
    /// Parses a kernel type in kebab case, as in v0.6.0, or a name of this project that no kernel type has.
    pub fn parse(name: &str) -> Result<Self, UnknownType> {
        let kernel = PUBLISHED_NAMES.iter().position(|known| known.replace('_', "-") == name);
        if let Some(number) = kernel.and_then(|index| u32::try_from(index).ok()) {
            return Ok(Self::Kernel(number));
        }
        exact(name).map(Self::Exact).map_err(|error| UnknownType { expected: Self::names(), ..error })
    }

    /// Returns all names that [`Self::parse`] accepts.
    #[must_use]
    pub fn names() -> Vec<String> {
        let kernel = PUBLISHED_NAMES.iter().map(|name| name.replace('_', "-"));
        let exact = ProgramType::ALL.map(ProgramType::name).into_iter();
        let exact = exact.filter(|name| !PUBLISHED_NAMES.contains(name));
        kernel.chain(exact.map(str::to_owned)).collect()
    }

    /// Returns whether a program with the exact type `exact` is selected.
    #[must_use]
    pub fn selects(&self, exact: &str) -> bool {
        match self {
            Self::Kernel(number) => exact.parse::<ProgramType>().is_ok_and(|of| of.kernel_type() == *number),
            Self::Exact(known) => known.name() == exact,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_names_are_kebab_case_in_input_snake_case_in_tables() {
        assert_eq!(TypeFilter::parse("socket-filter"), Ok(TypeFilter::Kernel(1)));
        assert_eq!(TypeFilter::parse("raw-tracepoint-writable"), Ok(TypeFilter::Kernel(24)));
        assert_eq!(TypeFilter::parse("netfilter"), Ok(TypeFilter::Kernel(32)));
        assert_eq!(name(1), "socket_filter");
        assert_eq!(name(29), "lsm");
        assert_eq!(name(77), "77");
    }

    #[test]
    fn a_name_that_is_both_means_the_kernel_type() {
        assert_eq!(TypeFilter::parse("tc"), Ok(TypeFilter::Kernel(3)));
        assert!(TypeFilter::Kernel(3).selects("tcx"));
        assert!(!TypeFilter::Kernel(3).selects("xdp"));
    }

    #[test]
    fn names_only_we_have_are_exact() {
        assert_eq!(TypeFilter::parse("kretprobe"), Ok(TypeFilter::Exact(ProgramType::Kretprobe)));
        assert!(TypeFilter::Exact(ProgramType::Kretprobe).selects("kretprobe"));
        assert!(!TypeFilter::Exact(ProgramType::Kretprobe).selects("kprobe"));
    }

    #[test]
    fn unknown_names_are_refused_with_the_list() {
        let error = TypeFilter::parse("xpd").unwrap_err();
        let text = "unknown program type \"xpd\" (did you mean xdp?); `bpfman features types` lists them";
        assert_eq!(error.to_string(), text);
        assert_eq!(error.expected.len(), 33 + 26);
    }
}
