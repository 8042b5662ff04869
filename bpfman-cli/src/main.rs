//! `bpfman`: the command line client of `bpfmand`.

use std::process::ExitCode;

fn main() -> ExitCode {
    bpfman_cli::main()
}
