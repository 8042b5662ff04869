//! Facts of the machine and its daemon, for the page.

use bpfman_proto::ext::v1 as ext;

use crate::command::version::DaemonJson;
use crate::show::access::WhoAmIJson;
use crate::show::json::filled;
use crate::show::json_shape::json_shape;

json_shape! {
    pub struct MachineFacts(socket: &str, caller: &ext::WhoAmIResponse, info: &ext::InfoResponse) {
        socket: String = socket.to_owned(),
        caller: WhoAmIJson = WhoAmIJson::new(caller),
        daemon: DaemonJson = DaemonJson::new(info),
        /// Reason of break-glass, while nothing is attached.
        detached: Option<String> = filled(&info.detached),
    }
}
