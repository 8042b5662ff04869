//! The kernel's lists of programs and links: they show which disappeared and, without another source, which appeared.

use std::collections::BTreeMap;

use bpfman_model::uapi::{link_type, prog_type};
use bpfman_model::{KernelLinkId, LinkFacts, ProgramFacts, ProgramId};
use bpfmand_api::RadarReport;
use bpfmand_engine::OwnObjects;
use bpfmand_kernel::linux::LinuxKernel;
use bpfmand_kernel::{KernelError, KernelHooks as _, KernelObjects as _};

/// Number of observations before an object is reported: the daemon's own new objects have no record at first.
const LOOKS: u8 = 2;

#[derive(Debug, Default)]
pub struct KnownIds {
    programs: BTreeMap<ProgramId, KnownId>,
    links: BTreeMap<KernelLinkId, KnownId>,
    /// True after the first observation, which finds older objects too.
    begun: bool,
}

#[derive(Clone, Debug)]
struct KnownId {
    what: ChangedId,
    looks: u8,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangedId {
    pub program: u32,
    pub link: u32,
    pub words: String,
    /// User that loaded the program; 0 if unknown.
    pub user: u32,
    pub came: bool,
}

impl KnownIds {
    /// Returns changes. Of objects in `made`, only the end is a change; others count from their second observation on.
    pub fn look(
        &mut self,
        kernel: &LinuxKernel,
        own: &OwnObjects,
        made: &RadarReport,
    ) -> Result<Vec<ChangedId>, KernelError> {
        let mut changed = Vec::new();
        let mut programs = BTreeMap::new();
        for id in kernel.program_ids()? {
            if own.programs.contains(&id) {
                continue;
            }
            let known = match self.programs.remove(&id) {
                Some(known) => known.again(&mut changed),
                // It disappeared since the list was read.
                None => match kernel.program(id)? {
                    Some(facts) => self.first_seen(of_program(&facts), made.loaders.contains_key(&id.0)),
                    None => continue,
                },
            };
            programs.insert(id, known);
        }
        let mut links = BTreeMap::new();
        for id in kernel.link_ids()? {
            if own.links.contains_key(&id) {
                continue;
            }
            let known = match self.links.remove(&id) {
                Some(known) => known.again(&mut changed),
                None => {
                    let Some(link) = kernel.open_link(id)? else { continue };
                    let Ok(facts) = kernel.link_of(&link) else { continue };
                    if own.programs.contains(&facts.program) {
                        continue;
                    }
                    self.first_seen(of_link(&facts), made.makers.contains_key(&id.0))
                }
            };
            links.insert(id, known);
        }
        // The remaining ones disappeared, or became the daemon's.
        let gone = |known: KnownId| (known.looks >= LOOKS).then_some(ChangedId { came: false, ..known.what });
        let programs_gone = std::mem::replace(&mut self.programs, programs);
        let links_gone = std::mem::replace(&mut self.links, links);
        changed.extend(
            programs_gone
                .into_iter()
                .filter(|(id, _)| !own.programs.contains(id))
                .map(|(_, known)| known)
                .chain(
                    links_gone
                        .into_iter()
                        .filter(|(id, _)| !own.links.contains_key(id))
                        .map(|(_, known)| known),
                )
                .filter_map(gone),
        );
        self.begun = true;
        Ok(changed)
    }

    const fn first_seen(&self, what: ChangedId, is_strangers: bool) -> KnownId {
        KnownId { what, looks: if self.begun && !is_strangers { 1 } else { LOOKS } }
    }
}

impl KnownId {
    fn again(mut self, changed: &mut Vec<ChangedId>) -> Self {
        if self.looks < LOOKS {
            self.looks += 1;
            if self.looks == LOOKS {
                changed.push(self.what.clone());
            }
        }
        self
    }
}

fn of_program(facts: &ProgramFacts) -> ChangedId {
    let kind = prog_type::name(facts.kernel_type);
    ChangedId {
        program: facts.id.0,
        link: 0,
        words: format!("program {} {:?} of type {kind}", facts.id, facts.name),
        user: facts.created_by_uid,
        came: true,
    }
}

fn of_link(facts: &LinkFacts) -> ChangedId {
    let kind = link_type::name(facts.kernel_type);
    ChangedId {
        program: facts.program.0,
        link: facts.id.0,
        words: format!("link {} ({kind}) of program {}", facts.id, facts.program),
        user: 0,
        came: true,
    }
}
