//! `bpfman unload`.

use clap::Args;

/// `bpfman unload`.
#[derive(Args, Debug)]
pub struct Unload {
    /// Kernel ids of the programs. The command tries all of them, in this order.
    #[arg(required = true, value_name = "PROGRAM_ID")]
    pub program_ids: Vec<u32>,
    /// Ignore programs that do not exist.
    #[arg(long)]
    pub ignore_missing: bool,
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use crate::args::{Cli, CliCommand};

    #[test]
    fn one_bad_id_refuses_all() {
        let unload = |line: &str| Cli::try_parse_from(line.split_whitespace()).map(|cli| cli.command);
        let Ok(CliCommand::Unload(several)) = unload("bpfman unload 7 8 --ignore-missing") else { panic!() };
        assert_eq!((&several.program_ids[..], several.ignore_missing), (&[7, 8][..], true));
        for line in ["bpfman unload", "bpfman unload 7 x", "bpfman unload 7 -8", "bpfman unload 7,8"] {
            assert!(unload(line).is_err(), "{line}");
        }
    }
}
