//! In which order the members of one hook run.

use crate::{LinkId, ProgramUid};

/// The most members of one chain.
pub const MAX_CHAIN_MEMBERS: usize = 10;

/// What decides a member's place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The link that put the program here.
    pub link: LinkId,
    /// The program.
    pub program: ProgramUid,
    /// Function name of the program.
    pub name: String,
    /// 0 runs first.
    pub priority: i32,
    /// Grows with every attachment of this daemon.
    pub sequence: u64,
}

/// Sorts a chain of XDP or TC members: by priority; at equal priority the newcomer, if there is one, runs before
/// those already there, and those run by name. Members of one name run newest first.
///
/// The newcomer is the link that the last change of the hook added; after a detach there is none. So the order
/// depends only on the set of members and that one link, never on the way that led there.
pub fn order_chain(places: &mut [Place], newcomer: Option<LinkId>) {
    places.sort_by(|a, b| {
        a.priority
            .cmp(&b.priority)
            .then_with(|| (Some(b.link) == newcomer).cmp(&(Some(a.link) == newcomer)))
            .then_with(|| a.name.cmp(&b.name))
            .then_with(|| b.sequence.cmp(&a.sequence))
    });
}

/// Sorts links that the kernel runs one by one (tcx): by priority, at equal priority the older first.
pub fn order_links(places: &mut [Place]) {
    places.sort_by_key(|place| (place.priority, place.sequence));
}
