//! Updates records of hooks to the current numbers of their interfaces, which may change with a reboot.

use std::collections::HashSet;
use std::sync::Arc;

use bpfman_model::{HookKey, HookNetns};
use bpfmand_kernel::{Kernel, KernelError};

use crate::engine::RecoveryReport;
use crate::error::Interference;
use crate::state::records::{Entry, HookRecord, LinkRecord};
use crate::state::waiting::{home_of, may_return};
use crate::state::{Changes, HookPresence};
use crate::{Engine, EngineError};

pub struct Absent {
    pub hook: Arc<HookRecord>,
    pub links: Vec<Arc<LinkRecord>>,
}

pub type Placed = (HookRecord, Vec<Arc<LinkRecord>>);

impl<K: Kernel> Engine<K> {
    /// Returns the hooks that can be entered. Others are parked where they cannot conflict, until the next start.
    pub(crate) fn move_absent(
        &self,
        absent: Vec<Absent>,
        present: &HashSet<HookKey>,
        report: &mut RecoveryReport,
    ) -> Vec<Placed> {
        let mut taken = present.clone();
        let mut placed = Vec::new();
        let mut stuck = Vec::new();
        let mut from: HashSet<HookKey> = HashSet::new();
        for Absent { hook, links } in absent {
            let is_current = |link: &Arc<LinkRecord>| link.boot == self.boot || !link.point.names_process();
            let (living, stranded): (Vec<_>, Vec<_>) = links.into_iter().partition(is_current);
            for link in &stranded {
                let error = EngineError::EarlierProcess { link: link.id, point: link.point.to_string() };
                report.problems.push(format!("link {}: {error}", link.id));
            }
            if stranded.is_empty() && living.is_empty() {
                // The link was moved, and the crash came before its record followed.
                from.insert(hook.key);
                continue;
            }
            if !stranded.is_empty() && (hook.key.netns.id().is_some() || !living.is_empty()) {
                from.insert(hook.key);
                placed.push((self.parked(&hook, &stranded), stranded));
            }
            if living.is_empty() {
                continue;
            }
            match self.find_again(&hook, &living, &taken) {
                Ok(found) => {
                    // Two paths that led to one namespace may lead to different ones now.
                    let is_there = |link: &LinkRecord| found.key == hook.key && link.boot == self.boot;
                    let (back, waiting): (Vec<_>, Vec<_>) =
                        living.into_iter().partition(|link| is_there(link) || self.is_back(link, &found.key));
                    taken.insert(found.key);
                    from.insert(hook.key);
                    if !waiting.is_empty() {
                        placed.push((self.parked(&hook, &waiting), waiting));
                    }
                    placed.push((found, back));
                }
                Err(error) => {
                    report.of_hook(&hook, &error);
                    stuck.push((hook, living));
                }
            }
        }
        for (hook, links) in stuck {
            // A hook of this boot may come back unchanged; keep its place unless another hook has it now.
            let is_old = links.iter().all(|link| link.boot != self.boot) && hook.key.netns.id().is_some();
            if is_old || taken.contains(&hook.key) || from.contains(&hook.key) {
                from.insert(hook.key);
                placed.push((self.parked(&hook, &links), links));
            }
        }
        let placed: Vec<Placed> =
            placed.into_iter().map(|(hook, links)| self.at_hook(hook, &links)).collect();
        if let Err(error) = self.record_moves(&from, &placed) {
            report.problems.push(format!("recording where the interfaces are now: {error}"));
            return Vec::new();
        }
        placed.into_iter().filter(|(hook, _)| taken.contains(&hook.key)).collect()
    }

    /// Returns the recorded place, if it still exists in this boot, or else the first of its names with an interface.
    fn find_again(
        &self,
        hook: &HookRecord,
        links: &[Arc<LinkRecord>],
        taken: &HashSet<HookKey>,
    ) -> Result<HookRecord, EngineError> {
        if hook.key.netns.id().is_some()
            && self.is_of_now(hook)
            && !taken.contains(&hook.key)
            && matches!(self.at_hook_of(hook)?, HookPresence::There(_))
        {
            return Ok(hook.clone());
        }
        // The hook's interface name comes from one member, which may have named the namespace by a process.
        let of_process = hook.interface.is_of_process() && links.iter().any(|link| link.boot != self.boot);
        let own = Some(&hook.interface).filter(|_| !of_process);
        let others = links.iter().filter_map(|link| link.point.hook().map(|(interface, _)| interface));
        let mut refused = None;
        for interface in own.into_iter().chain(others) {
            let key = match self.kernel.find_hook(interface, hook.key.kind) {
                Ok(key) => key,
                Err(error @ (KernelError::NoInterface { .. } | KernelError::NoNamespace { .. })) => {
                    refused.get_or_insert(error.into());
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            if !links.is_empty() && !links.iter().any(|link| self.is_back(link, &key)) {
                let link = &links[0];
                let (link, point) = (link.id, link.point.to_string());
                refused.get_or_insert(EngineError::EarlierProcess { link, point });
                continue;
            }
            if taken.contains(&key) {
                return Err(Interference::PlaceTaken.into());
            }
            let hook = if key == hook.key { hook.clone() } else { self.at_rest(hook) };
            return Ok(HookRecord { key, interface: interface.clone(), ..hook });
        }
        let fault = || EngineError::Fault("a hook without an interface".to_owned());
        Err(refused.unwrap_or_else(fault))
    }

    fn is_back(&self, link: &LinkRecord, key: &HookKey) -> bool {
        let path = link.point.hook().map(|(interface, _)| interface.netns.as_deref());
        let leads = path.zip(key.netns.id()).is_some_and(|(path, home)| self.kernel.leads_to(path, home));
        leads && may_return(link, &self.boot, key.netns)
    }

    /// Returns a record of the hook in no network namespace. Its members can still be detached.
    pub(crate) fn parked(&self, hook: &HookRecord, links: &[Arc<LinkRecord>]) -> HookRecord {
        let operation = self.operation();
        let interface = links
            .iter()
            .find_map(|link| link.point.hook().map(|(interface, _)| interface))
            .unwrap_or(&hook.interface);
        HookRecord {
            key: HookKey { netns: HookNetns::Nowhere(operation.0), ..hook.key },
            interface: interface.clone(),
            operation,
            entry: Entry::Link,
            ..self.at_rest(hook)
        }
    }

    pub(crate) fn at_hook(&self, hook: HookRecord, links: &[Arc<LinkRecord>]) -> Placed {
        let is_parked = hook.key.netns.id().is_none();
        let links = links.iter().map(|link| {
            let boot = if is_parked { link.boot.clone() } else { self.boot.clone() };
            let waits_in = if is_parked { home_of(link) } else { None };
            Arc::new(LinkRecord { hook: Some(hook.key), boot, waits_in, ..(**link).clone() })
        });
        let links = links.collect();
        (hook, links)
    }

    pub(crate) fn record_moves(&self, from: &HashSet<HookKey>, placed: &[Placed]) -> Result<(), EngineError> {
        if from.is_empty() && placed.is_empty() {
            return Ok(());
        }
        let mut changes = Changes::default();
        // Remove before adding: one hook's old place may be the new one of another.
        from.iter().for_each(|key| changes.end_hook(*key));
        for (hook, links) in placed {
            changes.put_hook(hook.clone());
            links.iter().for_each(|link| changes.put_link(Arc::clone(link)));
        }
        self.step("recover", "move hooks");
        for hook in self.commit(changes)?.ended {
            self.drop_chains_of(&hook);
        }
        Ok(())
    }
}
