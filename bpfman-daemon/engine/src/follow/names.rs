//! Updates records of renamed interfaces; nothing else changes.

use std::sync::Arc;

use bpfman_model::{AttachPoint, HookKey, Interface, LinkId};
use bpfmand_kernel::{Kernel, SearchOnce};

use crate::follow::at_interface::{AtInterface, ChainOrLink};
use crate::follow::{FollowReport, Present};
use crate::standing::NetkitDevice;
use crate::state::Changes;
use crate::state::records::{HookRecord, LinkRecord};
use crate::{Engine, EngineError, paths};

impl<K: Kernel> Engine<K> {
    pub(crate) fn follow_names(&self, present: &Present<'_>, report: &mut FollowReport) {
        let renamed = |at: AtInterface<'_>| {
            let key = at.key.filter(|key| key.netns.id() == Some(present.netns))?;
            let facts = present.interfaces.get(&key.ifindex)?;
            (!facts.is_named(&at.interface.name)).then_some((at.what, &facts.name))
        };
        let all: Vec<_> = self.state().attached().filter_map(renamed).collect();
        for (what, name) in all {
            let result = match what {
                ChainOrLink::Chain(key) => self.rename_hook(&key, name),
                ChainOrLink::Link(id) => self.rename_link(id, name),
            };
            report.renamed += usize::from(result.is_ok());
            report.add(result, || format!("following the name {name}"));
        }
        self.follow_netkit_names(present, report);
    }

    /// Updates names of netkit devices, which are found by their links: no record has a device's number.
    fn follow_netkit_names(&self, present: &Present<'_>, report: &mut FollowReport) {
        let here: Vec<LinkId> = {
            let state = self.state();
            let is_here = |link: &&Arc<LinkRecord>| {
                matches!(link.point, AttachPoint::Netkit { .. }) && link.namespace == Some(present.netns)
            };
            state.links.values().filter(is_here).map(|link| link.id).collect()
        };
        let _list = SearchOnce::begin();
        for id in here {
            let renamed = self.rename_netkit(id).map(|renamed| report.renamed += usize::from(renamed));
            report.add(renamed, || format!("following the name of the device of link {id}"));
        }
    }

    fn rename_netkit(&self, id: LinkId) -> Result<bool, EngineError> {
        let Some((link, _held)) = self.lock_link(id) else { return Ok(false) };
        let AttachPoint::Netkit { interface } = &link.point else { return Ok(false) };
        let Some(program) = self.record(link.program) else { return Ok(false) };
        let Some((handle, _)) = self.live_link(&paths::link(id))? else { return Ok(false) };
        match self.netkit_device(&link, &program, &handle)? {
            NetkitDevice::Here(name) if name != interface.name => {
                self.step("follow", "rename");
                let point = AttachPoint::Netkit { interface: Interface { name, ..interface.clone() } };
                self.record_link(&Arc::new(LinkRecord { point, ..(*link).clone() }), None)?;
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    fn rename_hook(&self, key: &HookKey, name: &str) -> Result<(), EngineError> {
        let _locks = self.lock_members(&[*key])?;
        let (hook, links) = {
            let state = self.state();
            let Some(hook) = state.hooks.get(key).cloned() else { return Ok(()) };
            (hook, state.chain(key))
        };
        let interface = Interface { name: name.to_owned(), ..hook.interface.clone() };
        let hook = HookRecord { interface, ..(*hook).clone() };
        let mut changes = Changes::default();
        changes.put_hook(hook);
        links.iter().for_each(|link| changes.put_link(with_name(link, name)));
        self.step("follow", "rename");
        self.commit(changes).map(drop)
    }

    fn rename_link(&self, id: LinkId, name: &str) -> Result<(), EngineError> {
        let Some((link, _held)) = self.lock_link(id) else { return Ok(()) };
        if link.hook.is_none() {
            return Ok(());
        }
        self.step("follow", "rename");
        self.record_link(&Arc::new(with_name(&link, name)), None)
    }
}

fn with_name(link: &LinkRecord, name: &str) -> LinkRecord {
    let mut renamed = link.clone();
    if let Some(interface) = renamed.point.interface_mut() {
        name.clone_into(&mut interface.name);
    }
    renamed
}
