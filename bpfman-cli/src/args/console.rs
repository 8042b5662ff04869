//! `bpfman console`.

use std::net::SocketAddr;

use clap::Args;

/// `bpfman console`.
#[derive(Args, Debug)]
pub struct ShowConsole {
    /// Loopback address and port to serve the page on; port 0 picks a free port
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:0", value_parser = bpfman_console::loopback)]
    pub listen: SocketAddr,
    /// Print the address, and do not start a browser
    #[arg(long)]
    pub no_open: bool,
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use crate::args::{Cli, CliCommand};

    #[test]
    fn only_loopback_is_listened_on() {
        for address in ["127.0.0.1:0", "127.0.0.2:8090", "[::1]:8090"] {
            let cli = Cli::try_parse_from(["bpfman", "console", "--listen", address]).unwrap();
            let CliCommand::Console(console) = cli.command else { panic!() };
            assert_eq!(console.listen.to_string(), address);
        }
        for address in ["0.0.0.0:8090", "[::]:8090", "10.0.0.1:80", "localhost:80", "8090", "127.0.0.1"] {
            let error = Cli::try_parse_from(["bpfman", "console", "--listen", address]).unwrap_err();
            assert!(error.to_string().contains("--listen"), "{error}");
        }
    }
}
