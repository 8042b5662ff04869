//! Number of a hook's network namespace, by which the end of the namespace is detected.

use bpfman_model::{NetnsId, NetnsNumber};
use serde::{Deserialize, Serialize};

/// Number of the namespace in the table of the daemon's own namespace. A namespace can live on without any path: only
/// the number distinguishes it from one that has ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamespaceNumber {
    pub boot: String,
    /// The daemon's own namespace when the number was read.
    pub table: NetnsId,
    pub number: u32,
}

pub fn folder_name(home: NetnsId, number: NetnsNumber) -> String {
    let NetnsNumber { table, number } = number;
    format!("{}_{}_{number}_{}_{}", home.inode, home.cookie, table.inode, table.cookie)
}

pub fn parse_folder_name(name: &str) -> Option<(NetnsId, NetnsNumber)> {
    let mut parts = name.split('_').map(|part| part.parse::<u64>().ok());
    let mut next = || parts.next().flatten();
    let home = NetnsId { inode: next()?, cookie: next()? };
    let number = u32::try_from(next()?).ok()?;
    let table = NetnsId { inode: next()?, cookie: next()? };
    Some((home, NetnsNumber { table, number }))
}

impl NamespaceNumber {
    #[must_use]
    pub const fn in_kernel(&self) -> NetnsNumber {
        NetnsNumber { table: self.table, number: self.number }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folder_name_leads_back_to_the_namespace() {
        let home = NetnsId { inode: 4_026_532_201, cookie: u64::MAX };
        let number = NetnsNumber { table: NetnsId { inode: 9, cookie: 1 }, number: 0x6270_0001 };
        let name = folder_name(home, number);
        assert!(!name.contains('.'), "{name}");
        assert_eq!(parse_folder_name(&name), Some((home, number)));
        assert_eq!(parse_folder_name("1_2_x_4_5"), None);
    }
}
