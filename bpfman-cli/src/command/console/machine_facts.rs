//! The machine and its daemon, as the page shows them.

use bpfman_proto::ext::v1 as ext;

use crate::command::version::DaemonJson;
use crate::show::access::WhoAmIJson;
use crate::show::json::filled;
use crate::show::json_shape::json_shape;

json_shape! {
    /// What is asked for as `machine`.
    pub struct MachineFacts(socket: &str, caller: &ext::WhoAmIResponse, info: &ext::InfoResponse) {
        /// Where the daemon listens.
        socket: String = socket.to_owned(),
        /// Who asks, and by which grants.
        caller: WhoAmIJson = WhoAmIJson::new(caller),
        /// What the daemon says of itself and of the kernel.
        daemon: DaemonJson = DaemonJson::new(info),
        /// Why nothing is attached, where root took the way out.
        detached: Option<String> = filled(&info.detached),
    }
}
