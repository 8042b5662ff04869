//! `bpfman list` and `bpfman get`.

use bpfman_model::ProgramType;
use clap::{Args, Subcommand};

use super::object_name::{ObjectName, link_id};
use super::selector::LabelSelector;
use super::value::KeyValue;
use super::watch::WatchFlag;
use crate::kernel_type;
use crate::kernel_type::TypeFilter;

/// `bpfman list`.
#[derive(Args, Debug)]
pub struct List {
    /// Repetition.
    #[command(flatten)]
    pub watch: WatchFlag,
    /// List.
    #[command(subcommand)]
    pub command: ListCommand,
}

/// `bpfman get`.
#[derive(Args, Debug)]
pub struct Get {
    /// Repetition.
    #[command(flatten)]
    pub watch: WatchFlag,
    /// Object to show.
    #[command(subcommand)]
    pub command: GetCommand,
}

/// Lists.
#[derive(Debug, Subcommand)]
pub enum ListCommand {
    /// List programs.
    #[command(alias = "program")]
    Programs(ListPrograms),
    /// List links.
    #[command(alias = "link")]
    Links(ListLinks),
    /// List applications: programs with the same application in their metadata.
    #[command(alias = "application")]
    Applications,
    /// List attachments by interface selector, with the interfaces that they selected.
    #[command(alias = "match")]
    Matches,
    /// List sessions of `run-as`, and leftovers of ended ones: yours, or all for root.
    #[command(alias = "session")]
    Sessions,
}

/// `bpfman list programs`.
#[derive(Args, Debug)]
pub struct ListPrograms {
    /// Program selection.
    #[command(flatten)]
    pub select: Select,
    /// Also list programs that other tools loaded.
    #[arg(short, long)]
    pub all: bool,
    /// List only programs of bpfman that have a link.
    #[arg(long, conflicts_with = "unattached")]
    pub attached: bool,
    /// List only programs of bpfman that have no link.
    #[arg(long)]
    pub unattached: bool,
}

/// `bpfman list links`.
#[derive(Args, Debug)]
pub struct ListLinks {
    /// Program selection.
    #[command(flatten)]
    pub select: Select,
    /// Also list links of other tools, with their kernel ids.
    #[arg(short, long)]
    pub all: bool,
    /// Only links of these programs; several with commas, or by repeating the flag.
    #[arg(long, value_delimiter = ',', value_name = "PROGRAM_ID")]
    pub program_id: Vec<u32>,
    /// Only links of these types, each xdp, tc, tcx, tracepoint, kprobe, kretprobe, uprobe, uretprobe, fentry, fexit
    /// or lsm; several with commas, or by repeating the flag.
    #[arg(long, value_delimiter = ',', value_name = "TYPE", value_parser = kernel_type::exact)]
    pub kind: Vec<ProgramType>,
}

/// Program selection.
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
    /// Only programs whose metadata matches, as with kubectl's label selectors: KEY, !KEY, KEY=VALUE, KEY!=VALUE,
    /// 'KEY in (A,B)', 'KEY notin (A,B)'; several with commas.
    #[arg(short = 'l', long, value_name = "SELECTOR")]
    pub selector: Option<LabelSelector>,
}

/// Objects to show.
#[derive(Debug, Subcommand)]
pub enum GetCommand {
    /// Show one program.
    Program {
        /// Kernel id of the program, or its name if one program has it.
        #[arg(value_name = "ID|NAME")]
        program: ObjectName,
    },
    /// Show one link.
    Link {
        /// Id of the link.
        #[arg(value_parser = link_id)]
        link_id: u32,
    },
    /// Show one session of `run-as`.
    Session {
        /// Name of the session, as `list sessions` shows it.
        #[arg(value_name = "SESSION")]
        name: String,
    },
}

/// `bpfman iter LINK_ID`.
#[derive(Args, Debug)]
pub struct Iterate {
    /// Link of an iterator, as `attach … iter` prints it.
    #[arg(value_parser = link_id)]
    pub link_id: u32,
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::{Cli, CliCommand};

    fn list(line: &str) -> ListCommand {
        match Cli::try_parse_from(line.split_whitespace()).unwrap().command {
            CliCommand::List(list) => list.command,
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
        assert_eq!(programs.select.program_type, Some(TypeFilter::Exact(ProgramType::Kretprobe)));
        assert_eq!(programs.select.metadata_selector.len(), 3);
        assert!(programs.all);
    }

    #[test]
    fn states_labels_programs_and_kinds_select() {
        let ListCommand::Programs(programs) = list("bpfman list programs --attached -l app=shop,!old") else {
            panic!()
        };
        assert!(programs.attached && !programs.unattached && programs.select.selector.is_some());
        let ListCommand::Links(links) =
            list("bpfman list links --program-id 7,8 --program-id 9 --kind xdp,kretprobe -l app")
        else {
            panic!()
        };
        assert_eq!(
            (&links.program_id[..], &links.kind[..]),
            (&[7, 8, 9][..], &[ProgramType::Xdp, ProgramType::Kretprobe][..])
        );
        for line in [
            "bpfman list programs --attached --unattached",
            "bpfman list programs -l a=b=c",
            "bpfman list links --kind probe",
            "bpfman list links --program-id x",
            "bpfman list links --attached",
        ] {
            assert!(Cli::try_parse_from(line.split_whitespace()).is_err(), "{line}");
        }
    }

    #[test]
    fn third_party_links_are_listed_on_request() {
        let ListCommand::Links(links) = list("bpfman list links --all") else { panic!() };
        assert!(links.all);
        assert!(matches!(list("bpfman list sessions"), ListCommand::Sessions));
    }
}
