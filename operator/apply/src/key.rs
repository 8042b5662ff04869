//! The attachments of one program, each once.

use std::collections::BTreeMap;

use crate::desired::{LinkKey, WantedLink};

/// Attachments while they are gathered.
#[derive(Debug, Default)]
pub struct WantedLinks(BTreeMap<LinkKey, WantedLink>);

impl WantedLinks {
    /// Adds one. What is there already, in all that a user can say of it, is one; what differs from it in its place
    /// alone is another one at the same hook.
    pub fn add(&mut self, identity: &str, link: WantedLink) {
        for number in 1_u32.. {
            let key = match number {
                1 => LinkKey(identity.to_owned()),
                _ => LinkKey(format!("{identity} #{number}")),
            };
            match self.0.get(&key) {
                Some(there) if *there == link => return,
                Some(_) => {}
                None => {
                    self.0.insert(key, link);
                    return;
                }
            }
        }
    }

    /// All of them.
    pub fn into_map(self) -> BTreeMap<LinkKey, WantedLink> {
        self.0
    }
}
