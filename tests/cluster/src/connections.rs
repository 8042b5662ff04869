//! Connections of a process to the API server, from the kernel's tables.

use std::collections::BTreeSet;
use std::fs;

use crate::Operator;

const SERVER: &str = ":01BB";

const ESTABLISHED: &str = "01";

impl Operator {
    #[must_use]
    pub fn connections(&self) -> BTreeSet<String> {
        let process = format!("/proc/{}", self.pid());
        let sockets: BTreeSet<String> = fs::read_dir(format!("{process}/fd"))
            .unwrap()
            // A file may have been closed meanwhile.
            .filter_map(|entry| fs::read_link(entry.unwrap().path()).ok())
            .filter_map(|target| {
                target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']').map(str::to_owned)
            })
            .collect();
        let table = fs::read_to_string(format!("{process}/net/tcp")).unwrap();
        let rows = table.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
        // Columns: number, local address, remote address, state, and in the tenth the inode of the socket.
        rows.filter(|row| row[2].ends_with(SERVER) && row[3] == ESTABLISHED && sockets.contains(row[9]))
            .map(|row| row[1].to_owned())
            .collect()
    }
}
