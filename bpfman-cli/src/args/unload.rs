//! `bpfman unload`.

use clap::Args;

use super::object_name::ObjectName;

/// `bpfman unload`.
#[derive(Args, Debug)]
pub struct Unload {
    /// Programs, by kernel id or by a name that only one program has. The command tries all of them, in this order.
    #[arg(required_unless_present = "all", value_name = "ID|NAME")]
    pub programs: Vec<ObjectName>,
    /// Unload all programs that bpfman loaded, the newest first. Users other than root: all that they own.
    #[arg(long, conflicts_with_all = ["programs", "ignore_missing"])]
    pub all: bool,
    /// Ignore programs that do not exist.
    #[arg(long)]
    pub ignore_missing: bool,
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::{Cli, CliCommand};

    #[test]
    fn one_bad_id_refuses_all() {
        let unload = |line: &str| Cli::try_parse_from(line.split_whitespace()).map(|cli| cli.command);
        let Ok(CliCommand::Unload(several)) = unload("bpfman unload 7 8 --ignore-missing") else { panic!() };
        let both = [ObjectName::Id(7), ObjectName::Id(8)];
        assert_eq!((&several.programs[..], several.ignore_missing), (&both[..], true));
        for line in ["", "7 x:y", "7 -8", "7,8", "7 --all", "--all --ignore-missing"] {
            assert!(unload(&format!("bpfman unload {line}")).is_err(), "{line}");
        }
        let Ok(CliCommand::Unload(all)) = unload("bpfman unload --all") else { panic!() };
        assert!(all.all && all.programs.is_empty());
    }
}
