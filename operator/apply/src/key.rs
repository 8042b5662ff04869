use std::collections::BTreeMap;

use crate::desired::{AttachmentKey, WantedLink};

#[derive(Debug, Default)]
pub struct WantedLinks(BTreeMap<AttachmentKey, WantedLink>);

impl WantedLinks {
    /// Adds an attachment unless an equal one exists. One with another order is a further one at the hook.
    pub fn add(&mut self, identity: &str, link: WantedLink) {
        for number in 1_u32.. {
            let key = match number {
                1 => AttachmentKey(identity.to_owned()),
                _ => AttachmentKey(format!("{identity} #{number}")),
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

    pub fn into_map(self) -> BTreeMap<AttachmentKey, WantedLink> {
        self.0
    }
}
