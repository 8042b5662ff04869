//! `bpfman list` and `bpfman get`.

use clap::{Args, Subcommand};

use super::value::KeyValue;
use crate::kernel_type::TypeFilter;

/// What to list.
#[derive(Debug, Subcommand)]
pub enum ListCommand {
    /// List programs.
    #[command(alias = "program")]
    Programs(ListPrograms),
    /// List links.
    #[command(alias = "link")]
    Links(ListLinks),
    /// List attachments by pattern, with the interfaces they found.
    #[command(alias = "match")]
    Matches,
}

/// `bpfman list programs`.
#[derive(Args, Debug)]
pub struct ListPrograms {
    /// Which programs.
    #[command(flatten)]
    pub select: Select,
    /// Also programs that others loaded.
    #[arg(short, long)]
    pub all: bool,
}

/// `bpfman list links`.
#[derive(Args, Debug)]
pub struct ListLinks {
    /// Links of which programs.
    #[command(flatten)]
    pub select: Select,
}

/// Which programs.
#[derive(Args, Debug)]
pub struct Select {
    /// Only this type: a kernel type such as xdp, tc, probe, tracing or socket-filter, or one of tcx, kprobe,
    /// kretprobe, uprobe, uretprobe, fentry, fexit.
    #[arg(short, long, value_name = "TYPE", value_parser = TypeFilter::parse)]
    pub program_type: Option<TypeFilter>,
    /// Only programs of this application.
    #[arg(long, value_name = "NAME")]
    pub application: Option<String>,
    /// Only programs with all of this metadata; several with commas, or by repeating the flag.
    #[arg(short, long, value_delimiter = ',', value_name = "KEY=VALUE")]
    pub metadata_selector: Vec<KeyValue>,
}

/// What to show.
#[derive(Debug, Subcommand)]
pub enum GetCommand {
    /// Show one program.
    Program {
        /// Kernel id of the program.
        program_id: u32,
    },
    /// Show one link.
    Link {
        /// Id of the link.
        link_id: u32,
    },
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::{Cli, Command};

    fn list(line: &str) -> ListCommand {
        match Cli::try_parse_from(line.split_whitespace()).unwrap().command {
            Command::List(list) => list,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn singular_names_are_hidden_aliases() {
        assert!(matches!(list("bpfman list program"), ListCommand::Programs(_)));
        assert!(matches!(list("bpfman list link"), ListCommand::Links(_)));
        let command = crate::args::definition();
        let list = command.find_subcommand("list").unwrap();
        assert!(list.get_subcommands().all(|sub| sub.get_visible_aliases().next().is_none()));
    }

    #[test]
    fn every_selector_of_programs() {
        let line = "bpfman list programs -p kretprobe --application shop -m a=b,c=d -m e=f -a";
        let ListCommand::Programs(programs) = list(line) else { panic!() };
        assert_eq!(programs.select.program_type, Some(TypeFilter::Exact("kretprobe")));
        assert_eq!(programs.select.metadata_selector.len(), 3);
        assert!(programs.all);
    }

    #[test]
    fn links_have_no_all() {
        assert!(Cli::try_parse_from(["bpfman", "list", "links", "--all"]).is_err());
    }
}
