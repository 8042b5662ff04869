use std::collections::BTreeMap;

use bpfman_model::ProgramId;
use bpfman_model::uapi::prog_type;

use super::errno::{EEXIST, EINVAL, ENODEV};
use super::network::TcPlace;
use super::objects::{Body, Key};
use super::{SimState, refuse};
use crate::{FilterPlace, KernelError};

#[derive(Clone, Debug)]
pub(super) struct Filter {
    pub program: Key,
    pub name: String,
    pub made: u64,
}

#[derive(Debug, Default)]
pub(super) struct Filters {
    pub all: BTreeMap<(TcPlace, u16, u32), Filter>,
    made: u64,
}

type FilterKey = (TcPlace, u16, u32);

impl SimState {
    fn filter_key(&self, at: &FilterPlace<'_>) -> Result<Option<FilterKey>, KernelError> {
        let subject = format!("tc {} of interface {}", at.direction, at.ifindex);
        let namespace = self.network.reach(at.home, &subject)?;
        let netns = namespace.has(at.ifindex).then_some(namespace.id);
        Ok(netns.map(|netns| ((netns, at.ifindex, at.direction), at.filter.priority, at.filter.handle)))
    }

    fn is_classifier(&self, program: Key) -> bool {
        matches!(self.objects.all.get(&program).map(|object| &object.body),
            Some(Body::Program { kind, .. }) if kind.kernel_type == prog_type::SCHED_CLS)
    }

    pub(super) fn add_filter(
        &mut self,
        at: &FilterPlace<'_>,
        program: Key,
        name: &str,
    ) -> Result<(), KernelError> {
        let fail = |number| {
            refuse("add", format!("a filter to {} of interface {}", at.direction, at.ifindex), number)
        };
        let key = self.filter_key(at)?.ok_or_else(|| fail(ENODEV))?;
        if !self.is_classifier(program) {
            return Err(fail(EINVAL));
        }
        if self.filters.all.contains_key(&key) {
            return Err(fail(EEXIST));
        }
        self.objects.use_it(program);
        self.filters.made += 1;
        let made = self.filters.made;
        self.filters.all.insert(key, Filter { program, name: name.to_owned(), made });
        Ok(())
    }

    pub(super) fn replace_filter(
        &mut self,
        at: &FilterPlace<'_>,
        program: Key,
        expected: ProgramId,
        name: &str,
    ) -> Result<(), KernelError> {
        let hook = || format!("tc {} of interface {}", at.direction, at.ifindex);
        if self.filter_program(at)? != Some(expected) {
            return Err(KernelError::HookChanged { hook: hook() });
        }
        if !self.is_classifier(program) {
            return Err(refuse("replace", format!("the filter at {}", hook()), EINVAL));
        }
        let key = self.filter_key(at)?.ok_or_else(|| KernelError::HookChanged { hook: hook() })?;
        self.objects.use_it(program);
        let made = self.filters.all.get(&key).map_or(0, |old| old.made);
        let old = self.filters.all.insert(key, Filter { program, name: name.to_owned(), made });
        if let Some(old) = old {
            self.unuse(old.program);
        }
        Ok(())
    }

    pub(super) fn remove_filter(
        &mut self,
        at: &FilterPlace<'_>,
        expected: ProgramId,
    ) -> Result<(), KernelError> {
        if self.filter_program(at)? != Some(expected) {
            return Ok(());
        }
        if let Some(key) = self.filter_key(at)?
            && let Some(old) = self.filters.all.remove(&key)
        {
            self.unuse(old.program);
        }
        Ok(())
    }

    pub(super) fn filter_program(&self, at: &FilterPlace<'_>) -> Result<Option<ProgramId>, KernelError> {
        let key = self.filter_key(at)?;
        Ok(key
            .and_then(|key| self.filters.all.get(&key))
            .map(|found| ProgramId(self.objects.id(found.program))))
    }
}
