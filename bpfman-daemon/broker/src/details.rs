//! Sessions and what they have, as lists show them.

use std::collections::BTreeMap;
use std::path::Path;

use bpfman_model::Owner;
use bpfmand_calls::ObjectKind;
use bpfmand_kernel::linux::brokered;

use crate::admission::AdmittedCommand;
use crate::ids::exists;
use crate::session::{BrokeredSession, SessionFacts};

/// A session, with its existing objects.
#[derive(Clone, Debug)]
pub struct SessionDetails {
    /// Facts that do not change.
    pub facts: SessionFacts,
    /// Command; `None` until it may start.
    pub command: Option<AdmittedCommand>,
    /// Owner of the objects that the command made.
    pub owner: Owner,
    pub programs: Vec<u32>,
    pub maps: Vec<u32>,
    pub links: Vec<u32>,
    /// Number of attachments without a link.
    pub attachments: usize,
    /// Kernel memory of the maps, in bytes.
    pub map_memory: u64,
    /// Number of calls that this daemon made.
    pub granted: u64,
    /// Number of calls that it refused with a reason.
    pub refused: u64,
    /// True if the command has ended, and pins or attachments of the session stay.
    pub is_left: bool,
}

/// Sessions that own programs and links, as text, by kernel id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionOwners {
    pub programs: BTreeMap<u32, String>,
    pub links: BTreeMap<u32, String>,
}

impl BrokeredSession {
    fn existing(&self, kind: ObjectKind) -> impl Iterator<Item = u32> {
        let known: Vec<u32> = self.objects().ids(kind).collect();
        known.into_iter().filter(move |id| exists(kind, *id))
    }

    /// Returns whether anything that its command made still exists.
    pub fn has_anything(&self) -> bool {
        let kinds = [ObjectKind::Program, ObjectKind::Link, ObjectKind::Map];
        kinds.into_iter().any(|kind| self.existing(kind).next().is_some())
            || self.left().iter().any(|left| exists(ObjectKind::Program, left.program))
    }

    pub fn details(&self, is_left: bool) -> SessionDetails {
        let maps: Vec<u32> = self.existing(ObjectKind::Map).collect();
        let (granted, refused) = self.calls();
        SessionDetails {
            facts: self.facts.clone(),
            command: self.command().cloned(),
            owner: self.owner(),
            programs: self.existing(ObjectKind::Program).collect(),
            links: self.existing(ObjectKind::Link).collect(),
            attachments: self.lasting().len() + self.left().len(),
            map_memory: maps.iter().filter_map(|id| brokered::map_memory(*id)).sum(),
            maps,
            granted,
            refused,
            is_left,
        }
    }

    pub fn add_to(&self, owners: &mut SessionOwners, is_left: bool) {
        let uid = self.facts.peer.uid;
        let text = if is_left {
            let path = self.command().map(|command| command.file.path.as_str()).unwrap_or_default();
            let name = Path::new(path).file_name().unwrap_or_default().display();
            format!("left by {name} of user {uid}")
        } else {
            format!("session {} of user {uid}", self.facts.name)
        };
        let objects = self.objects();
        owners.programs.extend(objects.ids(ObjectKind::Program).map(|id| (id, text.clone())));
        owners.links.extend(objects.ids(ObjectKind::Link).map(|id| (id, text.clone())));
    }
}
