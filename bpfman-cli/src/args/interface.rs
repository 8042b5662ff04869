//! Interfaces of `bpfman attach`: one by its name, or all that match.

use std::path::PathBuf;

use clap::Args;

const MATCHING: &str = "Many interfaces";

/// An interface, or all that match, and a place in its chain.
#[derive(Args, Debug)]
pub struct InterfaceFlags {
    /// Network interface.
    #[arg(short, long, required_unless_present_any = ["iface_match", "iface_index"],
          conflicts_with_all = ["iface_match", "iface_index", "iface_except", "netns_match"])]
    pub iface: Option<String>,
    /// Interface selector: all interfaces with these names or globs, now and later; * selects all that are up.
    #[arg(long, value_delimiter = ',', value_name = "GLOB", help_heading = MATCHING)]
    pub iface_match: Vec<String>,
    /// Interface selector: interfaces with these indexes, now and later.
    #[arg(long, value_delimiter = ',', value_name = "INDEX", help_heading = MATCHING)]
    pub iface_index: Vec<u32>,
    /// Exclude interfaces with these names or globs.
    #[arg(long, value_delimiter = ',', value_name = "GLOB", help_heading = MATCHING)]
    pub iface_except: Vec<String>,
    /// Network namespaces to search: files, or globs of them, for example /run/netns/*.
    #[arg(long, value_delimiter = ',', value_name = "GLOB", help_heading = MATCHING)]
    pub netns_match: Vec<PathBuf>,
    /// Priority in the chain: lower runs earlier. 0 to 1000.
    #[arg(short, long, allow_negative_numbers = true)]
    pub priority: i32,
    /// Network namespace the interface is in, as a path, for example /run/netns/blue.
    #[arg(short, long, value_name = "PATH")]
    pub netns: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use crate::args::attach::AttachTo;
    use crate::args::{Cli, CliCommand};

    fn point(line: &str) -> AttachTo {
        match Cli::try_parse_from(line.split_whitespace()).unwrap().command {
            CliCommand::Attach(attach) => attach.point,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn many_interfaces_stand_in_for_one() {
        let AttachTo::Xdp(xdp) = point(
            "bpfman attach 7 xdp --iface-match veth*,eth0 --iface-except veth9 --iface-index 3 -p 1 \
             --netns-match /run/netns/*",
        ) else {
            panic!()
        };
        assert_eq!(xdp.interface.iface_match, ["veth*", "eth0"]);
        assert_eq!((xdp.interface.iface, xdp.interface.iface_index), (None, vec![3]));
        for line in [
            "bpfman attach 7 xdp -p 1",
            "bpfman attach 7 xdp -p 1 -i eth0 --iface-match veth*",
            "bpfman attach 7 xdp -p 1 -i eth0 --iface-except veth*",
            "bpfman attach 7 xdp -p 1 --iface-except veth*",
        ] {
            assert!(Cli::try_parse_from(line.split_whitespace()).is_err(), "{line}");
        }
    }
}
