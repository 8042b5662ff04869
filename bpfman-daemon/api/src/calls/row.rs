//! One row of the table of rights.

use bpfmand_access::{AccessVerb, ObjectClass};

/// The right that a call needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallNeeds {
    /// Nothing but the socket: the call is about the caller alone.
    Nothing,
    /// This verb, on the objects that the call names.
    Verb(AccessVerb),
}

/// The rule of a call for objects of one class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObjectRule {
    /// The call neither shows nor changes any.
    Unused,
    /// The call shows them to each caller that has its verb.
    Shown,
    /// The call shows those that concern the caller: its own, or all to root.
    Concerned,
    /// A grant has to cover each of them: its owner by `over`, or its name by a pattern.
    Covered,
    /// They change with an object that has to be covered, or as root's signature policy demands.
    Carried,
    /// Only root may make the call.
    Root,
}

/// The entries that a call leaves in the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JournalRule {
    /// An entry whenever the call is made.
    Change,
    /// An entry whenever it is made, among those of reads if it succeeds: clients make the call as often as they like, and must
    /// not push out entries of changes. A map that is open for writing changes without the daemon.
    Access,
    /// An entry where the call fails.
    Refusal,
}

/// The rights of one call.
#[derive(Clone, Copy, Debug)]
pub struct CallRow {
    /// The right for the call as a whole.
    pub needs: CallNeeds,
    /// A verb that some requests need besides, over some of their objects.
    pub besides: Option<AccessVerb>,
    /// The entries that it leaves.
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
    /// Returns the row of a call that is about its caller alone.
    pub(super) const fn of_caller() -> Self {
        let objects = [ObjectRule::Unused; ObjectClass::ALL.len()];
        Self { needs: CallNeeds::Nothing, besides: None, journal: JournalRule::Refusal, objects }
    }

    /// Adds a verb that some requests need besides.
    pub(super) const fn and(self, verb: AccessVerb) -> Self {
        Self { besides: Some(verb), ..self }
    }

    /// Returns the rule for a class.
    #[must_use]
    pub const fn rule(&self, class: ObjectClass) -> ObjectRule {
        self.objects[class as usize]
    }

    /// Returns whether the call may ask for a right to this verb on objects of these classes.
    pub(crate) fn has(&self, verb: AccessVerb, mut classes: impl Iterator<Item = ObjectClass>) -> bool {
        let is_named = self.needs == CallNeeds::Verb(verb) || self.besides == Some(verb);
        is_named && classes.all(|class| self.rule(class) == ObjectRule::Covered)
    }
}
