//! Users and groups by name.

use std::collections::HashMap;

use anyhow::{Context as _, bail};

const GROUPS: &str = "/etc/group";
pub const USERS: &str = "/etc/passwd";
pub const FILES: [&str; 2] = [USERS, GROUPS];

pub fn find_user(user: &str) -> Option<u32> {
    in_groups(&std::fs::read_to_string(USERS).ok()?, user)
}

/// Returns a group's number. Names are looked up in `/etc/group` only: a directory service may not run yet.
pub fn find(group: &str) -> anyhow::Result<u32> {
    if group.bytes().all(|byte| byte.is_ascii_digit()) && !group.is_empty() {
        let number: u32 = group.parse().with_context(|| format!("\"{group}\" is no group's number"))?;
        // chown(2) treats the largest number as "do not change".
        if number == u32::MAX {
            bail!("\"{group}\" is no group's number");
        }
        return Ok(number);
    }
    let text = std::fs::read_to_string(GROUPS)
        .with_context(|| format!("cannot look up group \"{group}\" in {GROUPS}; give its number instead"))?;
    match in_groups(&text, group) {
        Some(number) => Ok(number),
        None => bail!("there is no group \"{group}\" in {GROUPS}; make it by `groupadd`, or give a number"),
    }
}

/// All numbers of a file of users or groups, by name. The first line of a name counts.
pub fn by_name(text: &str) -> HashMap<&str, u32> {
    let mut found = HashMap::new();
    for line in text.lines() {
        let mut fields = line.split(':');
        if let (Some(name), Some(Ok(number))) = (fields.next(), fields.nth(1).map(str::parse)) {
            found.entry(name).or_insert(number);
        }
    }
    found
}

/// Returns the third field of a name's line, which is the number in both files.
fn in_groups(text: &str, name: &str) -> Option<u32> {
    let entries = text.lines().map(|line| line.split(':').collect::<Vec<_>>());
    entries.filter(|fields| fields[0] == name).find_map(|fields| fields.get(2)?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_whole_and_lines_that_are_none_are_left_alone() {
        let text = "root:x:0:\nbpf\nbpfman:x:998:ada,bob\n# bpfman-old:x:7:\n";
        assert_eq!(
            (in_groups(text, "bpfman"), in_groups(text, "bpf"), in_groups(text, "old")),
            (Some(998), None, None)
        );
    }
}
