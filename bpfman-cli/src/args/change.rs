//! `bpfman update`, `bpfman replace` and `bpfman adopt`: changes without a gap.

use std::path::PathBuf;
use std::str::FromStr;

use bpfman_proto::ext::v1 as ext;
use clap::{ArgGroup, Args, Subcommand, ValueEnum};

use super::load::ImageSource;
use super::object_name::{ObjectName, link_id};
use super::place::OrderFlags;
use super::source_name::ObjectPath;
use super::value::{GlobalValue, KeyValue, MapSize};
use super::value_error::ValueError;
use crate::verdict;

/// Objects to change.
#[derive(Debug, Subcommand)]
pub enum UpdateCommand {
    /// Change a link in place, without detaching it.
    Link(UpdateLink),
}

/// `bpfman update link`.
#[derive(Args, Debug)]
#[command(group = ArgGroup::new("change").required(true).multiple(true).args(
    ["priority", "proceed_on", "before", "after", "role", "no_order", "position", "isolated", "shadow"]))]
pub struct UpdateLink {
    /// Id of the link.
    #[arg(value_parser = link_id)]
    pub link_id: u32,
    /// New priority: lower runs earlier. 0 to 1000.
    #[arg(short, long, allow_negative_numbers = true)]
    pub priority: Option<i32>,
    /// New verdicts after which the next program runs; they replace the old ones.
    #[arg(long, num_args = 1.., value_delimiter = ',', value_name = "VERDICT", value_parser = any_verdict)]
    pub proceed_on: Option<Vec<String>>,
    /// New order: --before, --after and --role together replace all of these that the link has.
    #[command(flatten)]
    pub order: OrderFlags,
    /// Remove --before, --after and --role from the link.
    #[arg(long, conflicts_with_all = ["before", "after", "role"], help_heading = "Place in the chain")]
    pub no_order: bool,
    /// Move the link to this position, from 0: the daemon chooses the priority.
    #[arg(long, conflicts_with = "priority")]
    pub position: Option<u32>,
    /// Run as a separate program behind a tail call, or as part of the chain's program.
    #[arg(long, value_name = "true|false")]
    pub isolated: Option<bool>,
    /// Make it a shadow member, whose verdicts do not count, or a normal one. Packets meet the old chain or the new
    /// one.
    #[arg(long, value_name = "true|false")]
    pub shadow: Option<bool>,
}

/// `bpfman replace`.
#[derive(Args, Debug)]
pub struct Replace {
    /// Program to replace wherever it is attached: its id, or its name if only one program has it.
    #[arg(value_name = "PROGRAM")]
    pub program: ObjectName,
    /// Roll back: restore the version before the last replacement.
    #[arg(long)]
    pub rollback: bool,
    /// Source of the new version.
    #[command(subcommand)]
    pub by: Option<ReplaceBy>,
}

/// Sources of a new version.
#[derive(Debug, Subcommand)]
pub enum ReplaceBy {
    /// From an object file on this machine.
    File {
        /// Object file.
        #[command(flatten)]
        object: ObjectPath,
        /// Function and values of the new version.
        #[command(flatten)]
        how: ReplaceHow,
    },
    /// From a bytecode image in a registry.
    Image {
        /// Image flags.
        #[command(flatten)]
        image: ImageSource,
        /// Options of the replacement.
        #[command(flatten)]
        how: ReplaceHow,
    },
}

impl ReplaceBy {
    #[must_use]
    pub const fn how(&self) -> &ReplaceHow {
        let (Self::File { how, .. } | Self::Image { how, .. }) = self;
        how
    }
}

/// Options of a replacement: values of the new version, and treatment of the old version's maps.
#[derive(Args, Debug)]
pub struct ReplaceHow {
    /// Function name in the new object, if it differs.
    #[arg(long, value_name = "FUNCTION")]
    pub name: Option<String>,
    /// Values of global variables, as `bpfman load` takes them.
    #[arg(short, long, num_args = 1.., value_name = "NAME=VALUE")]
    pub global: Vec<GlobalValue>,
    /// Maximum number of entries of maps, instead of what the object declares or what was set for the old version.
    #[arg(long, num_args = 1.., value_name = "MAP=ENTRIES")]
    pub map_size: Vec<MapSize>,
    /// Treatment of the maps of the old version.
    #[arg(long, value_name = "POLICY", value_enum, default_value_t)]
    pub maps: MapPolicyFlag,
    /// Do not keep the old version for --rollback.
    #[arg(long)]
    pub forget_old: bool,
}

/// Treatment of the maps of a replaced program.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum MapPolicyFlag {
    /// Keep maps that are the same, and copy those that differ only in their maximum number of entries.
    #[default]
    Keep,
    /// Keep maps that are the same, and refuse the replacement if any differs.
    ReuseOnly,
    /// Create all maps new and empty.
    Fresh,
}

impl MapPolicyFlag {
    /// Returns the number on the wire.
    #[must_use]
    pub fn on_the_wire(self) -> i32 {
        let policy = match self {
            Self::Keep => ext::MapPolicy::Keep,
            Self::ReuseOnly => ext::MapPolicy::ReuseOnly,
            Self::Fresh => ext::MapPolicy::Fresh,
        };
        policy as i32
    }
}

/// `bpfman adopt`.
#[derive(Args, Debug)]
pub struct Adopt {
    /// Id of the kernel's link, as `bpftool link` shows it, or the path where it is pinned.
    #[arg(value_name = "LINK_ID|PIN")]
    pub what: KernelLink,
    /// Priority in the chain: lower runs earlier. 0 to 1000.
    #[arg(short, long, allow_negative_numbers = true)]
    pub priority: i32,
    /// Verdicts after which the next program runs, for links of XDP: aborted, drop, pass, tx, redirect,
    /// dispatcher_return. Without this flag: pass dispatcher_return.
    #[arg(long, num_args = 1.., value_delimiter = ',', value_name = "VERDICT", value_parser = xdp_verdict)]
    pub proceed_on: Vec<String>,
    /// Place among others.
    #[command(flatten)]
    pub order: OrderFlags,
    /// Interface of the link. Default: the daemon searches its own network namespace and all named ones.
    #[arg(short, long)]
    pub iface: Option<String>,
    /// Network namespace of that interface, as a path, for example /run/netns/blue.
    #[arg(short, long, value_name = "PATH", requires = "iface")]
    pub netns: Option<PathBuf>,
    /// Metadata of the link; several with commas, or by repeating the flag.
    #[arg(short, long, value_delimiter = ',', value_name = "KEY=VALUE")]
    pub metadata: Vec<KeyValue>,
}

/// Link of a third party.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KernelLink {
    /// Kernel's id of the link.
    Id(u32),
    /// Path of the pin.
    Pin(PathBuf),
}

impl FromStr for KernelLink {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.parse() {
            Ok(id) => Ok(Self::Id(id)),
            Err(_) if text.contains('/') => Ok(Self::Pin(PathBuf::from(text))),
            Err(_) => Err(ValueError::NotLink(text.to_owned())),
        }
    }
}

fn xdp_verdict(name: &str) -> Result<String, verdict::UnknownVerdictName> {
    verdict::number(verdict::XDP, name).map(|_| name.to_owned())
}

/// Checks the name of a verdict of XDP or TC: only the daemon knows which of them the link has.
fn any_verdict(name: &str) -> Result<String, verdict::UnknownVerdictName> {
    match verdict::number(verdict::XDP, name).or_else(|_| verdict::number(verdict::TC, name)) {
        Ok(_) => Ok(name.to_owned()),
        Err(mut unknown) => {
            let mut expected: Vec<_> =
                verdict::XDP.iter().chain(verdict::TC).map(|(known, _)| *known).collect();
            expected.sort_unstable();
            expected.dedup();
            unknown.expected = expected;
            Err(unknown)
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::{Cli, CliCommand};

    fn parse(line: &str) -> Result<CliCommand, clap::Error> {
        Cli::try_parse_from(line.split_whitespace()).map(|cli| cli.command)
    }

    #[test]
    fn an_update_changes_something() {
        assert!(parse("bpfman update link 7").is_err());
        for flags in [
            "--priority 5",
            "--proceed-on drop pass",
            "--before 8",
            "--role firewall",
            "--no-order",
            "--position 0",
            "--isolated false",
        ] {
            assert!(parse(&format!("bpfman update link 7 {flags}")).is_ok(), "{flags}");
        }
        assert!(parse("bpfman update link 7 --priority 5 --position 0").is_err());
        assert!(parse("bpfman update link 7 --no-order --role x").is_err());
        assert!(parse("bpfman update link 7 --isolated maybe").is_err());
    }

    #[test]
    fn verdicts_of_both_kinds_are_known_and_others_are_not() {
        assert!(parse("bpfman update link 7 --proceed-on pipe pass").is_ok());
        assert!(parse("bpfman update link 7 --proceed-on pass,drop,tx").is_ok());
        let message = parse("bpfman update link 7 --proceed-on fly").unwrap_err().to_string();
        assert!(
            message.contains("unknown verdict \"fly\"")
                && message.contains("aborted, dispatcher_return, drop")
        );
    }

    #[test]
    fn a_new_version_has_a_source_and_a_policy() {
        let Ok(CliCommand::Replace(Replace {
            program: ObjectName::Id(7),
            rollback: false,
            by: Some(ReplaceBy::File { how, .. }),
        })) = parse("bpfman replace 7 file -p x.o --name f -g a=01 --maps reuse-only --forget-old")
        else {
            panic!()
        };
        assert_eq!((how.maps, how.forget_old, how.global.len()), (MapPolicyFlag::ReuseOnly, true, 1));
        assert!(parse("bpfman replace 7 image -i r.io/x:1").is_ok());
        assert!(parse("bpfman replace 7 --rollback").is_ok());
        assert!(parse("bpfman replace 7 file").is_err());
        assert!(parse("bpfman replace 7 file -p x.o --maps none").is_err());
    }

    #[test]
    fn third_party_links_are_ids_or_pins() {
        let what = |text: &str| text.parse::<KernelLink>();
        assert_eq!(what("7"), Ok(KernelLink::Id(7)));
        assert_eq!(what("/sys/fs/bpf/link"), Ok(KernelLink::Pin("/sys/fs/bpf/link".into())));
        assert_eq!(what("./7"), Ok(KernelLink::Pin("./7".into())));
        assert!(what("link").is_err());
        assert!(parse("bpfman adopt 7").is_err(), "a place is needed");
        assert!(parse("bpfman adopt 7 -p 1 -i eth0 -n /run/netns/b").is_ok());
        assert!(parse("bpfman adopt 7 -p 1 -n /run/netns/b").is_err(), "a namespace alone is no place");
    }
}
