//! Row of the table of rights.

use bpfmand_access::{AccessVerb, ObjectClass};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallNeeds {
    /// Only access to the socket: the call is about the caller alone.
    Nothing,
    /// This verb, on the objects that the call names.
    Verb(AccessVerb),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObjectRule {
    /// Objects that the call neither shows nor changes.
    Unused,
    /// Objects that the call shows to each caller with its verb.
    Shown,
    /// Objects that the call shows if they concern the caller; all concern root.
    Concerned,
    /// Objects that a grant has to cover: their owner by `over`, or their name by a pattern.
    Covered,
    /// Objects that change with a covered one, or as root's signature policy requires.
    Carried,
    /// Objects of a call that only root may make.
    Root,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JournalRule {
    /// Entry for every call.
    Change,
    /// Entry for every call. Entries of successful calls go to the separate journal of accesses: frequent
    /// reads must not displace entries of changes. The rule includes opening a map for writing.
    Access,
    /// Entry for every failed call.
    Refusal,
}

#[derive(Clone, Copy, Debug)]
pub struct CallRow {
    pub needs: CallNeeds,
    /// Verb that some requests need in addition, over some of their objects.
    pub besides: Option<AccessVerb>,
    pub journal: JournalRule,
    objects: [ObjectRule; ObjectClass::ALL.len()],
}

/// Returns the row of a call that needs a verb, with a rule for each class in the order of [`ObjectClass::ALL`].
pub(super) const fn row(
    verb: AccessVerb,
    journal: JournalRule,
    objects: [ObjectRule; ObjectClass::ALL.len()],
) -> CallRow {
    CallRow { needs: CallNeeds::Verb(verb), besides: None, journal, objects }
}

impl CallRow {
    pub(super) const fn of_caller() -> Self {
        let objects = [ObjectRule::Unused; ObjectClass::ALL.len()];
        Self { needs: CallNeeds::Nothing, besides: None, journal: JournalRule::Refusal, objects }
    }

    pub(super) const fn and(self, verb: AccessVerb) -> Self {
        Self { besides: Some(verb), ..self }
    }

    #[must_use]
    pub const fn rule(&self, class: ObjectClass) -> ObjectRule {
        self.objects[class as usize]
    }

    pub(crate) fn has(&self, verb: AccessVerb, mut classes: impl Iterator<Item = ObjectClass>) -> bool {
        let is_named = self.needs == CallNeeds::Verb(verb) || self.besides == Some(verb);
        is_named && classes.all(|class| self.rule(class) == ObjectRule::Covered)
    }
}
