//! Table of rights: the permission that each call needs for the objects of each class, and its journal entries.
//!
//! [`authorize`](crate::authorize) enforces it in handlers, `docs/calls.md` shows it, and the tests of rights on a
//! daemon try each of its cells. A call without a row does not compile, nor does a row with an empty cell.

mod row;

use bpfman_proto::Method;
use bpfmand_access::AccessVerb as Verb;

pub use row::{CallNeeds, CallRow, JournalRule, ObjectRule};

use JournalRule::{Access, Change, Refusal};
use ObjectRule::{Carried, Concerned, Covered, Root, Shown, Unused};
use row::row;

const LOAD: [ObjectRule; 7] = [Covered, Unused, Covered, Unused, Covered, Covered, Covered];

#[must_use]
#[rustfmt::skip]
pub const fn row_of(method: Method) -> CallRow {
    use Method as M;
    match method {
        M::BpfmanAccessWhoAmI | M::BpfmanAccessCanI => CallRow::of_caller(),

        // Columns: program, link, map, hook, bytecode, place, application.
        M::BpfmanList                 => row(Verb::Read, Refusal, [Shown, Shown, Shown, Unused, Shown, Shown, Unused]),
        M::BpfmanGet                  => row(Verb::Read, Refusal, [Shown, Shown, Shown, Unused, Shown, Shown, Unused]),
        M::BpfmanExtListPrograms      => row(Verb::Read, Refusal, [Shown, Shown, Shown, Unused, Shown, Shown, Unused]),
        M::BpfmanExtGetProgram        => row(Verb::Read, Refusal, [Shown, Shown, Shown, Unused, Shown, Shown, Unused]),
        M::BpfmanExtListLinks         => row(Verb::Read, Refusal, [Shown, Shown, Unused, Shown, Unused, Shown, Unused]),
        M::BpfmanExtGetLink           => row(Verb::Read, Refusal, [Shown, Shown, Unused, Shown, Unused, Shown, Unused]),
        M::BpfmanExtGetChain          => row(Verb::Read, Refusal, [Shown, Shown, Unused, Shown, Unused, Shown, Unused]),
        M::BpfmanExtInfo              => row(Verb::Read, Refusal, [Unused, Unused, Unused, Unused, Unused, Unused, Unused]),
        M::BpfmanExtFeatures          => row(Verb::Read, Refusal, [Unused, Unused, Unused, Unused, Unused, Unused, Unused]),
        M::BpfmanChainsShowChain      => row(Verb::Read, Refusal, [Shown, Shown, Unused, Shown, Shown, Shown, Unused]),
        M::BpfmanChainsListHooks      => row(Verb::Read, Refusal, [Shown, Shown, Unused, Shown, Unused, Shown, Unused]),
        M::BpfmanChainsExplain        => row(Verb::Read, Refusal, [Shown, Shown, Unused, Shown, Unused, Shown, Unused]),
        M::BpfmanChainsListMatching   => row(Verb::Read, Refusal, [Shown, Shown, Unused, Unused, Unused, Shown, Unused]),
        M::BpfmanChainsListStrays     => row(Verb::Read, Refusal, [Shown, Shown, Shown, Unused, Unused, Unused, Unused]),
        M::BpfmanMapEntriesListMaps   => row(Verb::Read, Refusal, [Shown, Unused, Shown, Unused, Unused, Unused, Unused]),
        M::BpfmanMapEntriesDescribeMap => row(Verb::Read, Refusal, [Shown, Unused, Shown, Unused, Unused, Unused, Unused]),
        M::BpfmanImagesListImages     => row(Verb::Read, Refusal, [Shown, Unused, Unused, Unused, Shown, Unused, Unused]),
        M::BpfmanImagesInspectImage   => row(Verb::Read, Refusal, [Shown, Unused, Unused, Unused, Shown, Unused, Unused]),
        M::BpfmanNodeFindContainers   => row(Verb::Read, Refusal, [Unused, Unused, Unused, Unused, Unused, Shown, Unused]),
        M::BpfmanNodeFindNetworkNamespace => row(Verb::Read, Refusal, [Unused, Unused, Unused, Unused, Unused, Shown, Unused]),
        M::BpfmanNodeWatch            => row(Verb::Read, Refusal, [Unused, Unused, Unused, Unused, Unused, Shown, Unused]),
        M::BpfmanNodeHistory          => row(Verb::Read, Refusal, [Concerned, Concerned, Concerned, Concerned, Concerned, Unused, Concerned]),
        M::BpfmanNodeFollowEvents     => row(Verb::Read, Refusal, [Concerned, Concerned, Concerned, Concerned, Concerned, Unused, Concerned]),
        M::BpfmanNodeExamine          => row(Verb::Read, Refusal, [Shown, Shown, Shown, Shown, Unused, Unused, Unused]),
        M::BpfmanFiguresFollowFigures => row(Verb::Read, Refusal, [Shown, Shown, Shown, Shown, Unused, Shown, Unused]).and(Verb::Trace),

        M::BpfmanLoad                 => row(Verb::Load, Change, LOAD).and(Verb::MapsWrite),
        M::BpfmanExtLoad              => row(Verb::Load, Change, LOAD).and(Verb::MapsWrite),
        M::BpfmanNodeDryRun           => row(Verb::Load, Refusal, LOAD).and(Verb::MapsWrite),
        M::BpfmanUnload               => row(Verb::Load, Change, [Covered, Carried, Carried, Carried, Unused, Unused, Unused]),
        M::BpfmanPullBytecode         => row(Verb::Load, Change, [Unused, Unused, Unused, Unused, Covered, Unused, Unused]),
        M::BpfmanExtPull              => row(Verb::Load, Change, [Unused, Unused, Unused, Unused, Covered, Unused, Unused]),
        M::BpfmanImagesVerifyImage    => row(Verb::Load, Access, [Unused, Unused, Unused, Unused, Covered, Unused, Unused]),
        M::BpfmanExtHoldLease         => row(Verb::Load, Access, [Carried, Carried, Unused, Unused, Unused, Unused, Unused]),

        M::BpfmanAttach               => row(Verb::Attach, Change, [Covered, Unused, Unused, Carried, Unused, Covered, Unused]),
        M::BpfmanChainsAttach         => row(Verb::Attach, Change, [Covered, Unused, Unused, Covered, Unused, Covered, Unused]).and(Verb::Settings),
        M::BpfmanChainsAttachMatching => row(Verb::Attach, Change, [Covered, Unused, Unused, Carried, Unused, Covered, Unused]),
        M::BpfmanChainsUpdateLink     => row(Verb::Attach, Change, [Unused, Covered, Unused, Carried, Unused, Covered, Unused]),
        M::BpfmanDetach               => row(Verb::Attach, Change, [Unused, Covered, Unused, Carried, Unused, Unused, Unused]),
        M::BpfmanChainsDetachMatching => row(Verb::Attach, Change, [Unused, Covered, Unused, Carried, Unused, Unused, Unused]),

        M::BpfmanChainsReplaceProgram => row(Verb::Replace, Change, [Covered, Carried, Carried, Carried, Covered, Covered, Unused]),
        M::BpfmanChainsRollbackProgram => row(Verb::Replace, Change, [Covered, Carried, Carried, Carried, Unused, Covered, Unused]),
        M::BpfmanNodeReplaceLoad      => row(Verb::Replace, Change, [Covered, Carried, Covered, Carried, Covered, Covered, Covered]).and(Verb::MapsWrite),
        M::BpfmanChainsAdopt          => row(Verb::Adopt, Change, [Carried, Carried, Unused, Carried, Unused, Covered, Covered]),

        M::BpfmanChainsTraceChain     => row(Verb::Trace, Change, [Unused, Unused, Unused, Covered, Unused, Covered, Unused]).and(Verb::MapsWrite),
        M::BpfmanChainsVerifyChain    => row(Verb::Trace, Refusal, [Unused, Unused, Unused, Covered, Unused, Covered, Unused]),
        M::BpfmanNodeSampleRuns       => row(Verb::Trace, Refusal, [Shown, Unused, Unused, Unused, Unused, Unused, Unused]),
        M::BpfmanExtReadIterator      => row(Verb::Trace, Refusal, [Unused, Covered, Unused, Unused, Unused, Unused, Unused]),

        M::BpfmanMapsOpenForReading   => row(Verb::MapsRead, Access, [Unused, Unused, Covered, Unused, Unused, Unused, Unused]),
        M::BpfmanExtReadMap           => row(Verb::MapsRead, Access, [Unused, Unused, Covered, Unused, Unused, Unused, Unused]),
        M::BpfmanMapEntriesDumpMap    => row(Verb::MapsRead, Access, [Unused, Unused, Covered, Unused, Unused, Unused, Unused]),
        // Scripts read single entries repeatedly: their journal entries would push out those of changes.
        M::BpfmanMapEntriesGetMapEntry => row(Verb::MapsRead, Refusal, [Unused, Unused, Covered, Unused, Unused, Unused, Unused]),
        M::BpfmanMapsOpenForWriting   => row(Verb::MapsWrite, Access, [Unused, Unused, Covered, Unused, Unused, Unused, Unused]),
        M::BpfmanMapEntriesSetMapEntry => row(Verb::MapsWrite, Change, [Unused, Unused, Covered, Unused, Unused, Unused, Unused]),
        M::BpfmanMapEntriesDeleteMapEntries => row(Verb::MapsWrite, Change, [Unused, Unused, Covered, Unused, Unused, Unused, Unused]),

        M::BpfmanChainsSetHook        => row(Verb::Settings, Change, [Unused, Unused, Unused, Covered, Unused, Covered, Unused]),
        M::BpfmanChainsTimeMembers    => row(Verb::Settings, Access, [Unused, Unused, Unused, Covered, Unused, Covered, Unused]),
        // Each revoked program that is detached has its own entry.
        M::BpfmanImagesCheckProvenance => row(Verb::Settings, Refusal, [Carried, Carried, Unused, Carried, Unused, Unused, Unused]),
        M::BpfmanSessionsStart        => row(Verb::Raw, Change, [Unused, Unused, Unused, Unused, Unused, Unused, Unused]),
        M::BpfmanSessionsList         => row(Verb::Read, Refusal, [Concerned, Concerned, Concerned, Unused, Unused, Unused, Unused]),
        M::BpfmanSessionsRemove       => row(Verb::Raw, Change, [Unused, Unused, Unused, Unused, Unused, Unused, Unused]),

        M::BpfmanRadarSurveyRadar     => row(Verb::Radar, Refusal, [Shown, Shown, Unused, Unused, Unused, Unused, Unused]),

        M::BpfmanChainsRemoveStray    => row(Verb::Administer, Change, [Root, Root, Root, Unused, Unused, Unused, Unused]),
        M::BpfmanRadarStartRadar      => row(Verb::Administer, Change, [Root, Unused, Unused, Unused, Root, Unused, Unused]),
        M::BpfmanRadarStopRadar       => row(Verb::Administer, Change, [Unused, Unused, Unused, Unused, Unused, Unused, Unused]),
        M::BpfmanExtFollowPrints      => row(Verb::Administer, Change, [Root, Unused, Unused, Unused, Unused, Unused, Unused]),
        M::BpfmanImagesPruneImages    => row(Verb::Administer, Change, [Unused, Unused, Unused, Unused, Root, Unused, Unused]),
        M::BpfmanImagesImportImages   => row(Verb::Administer, Change, [Unused, Unused, Unused, Unused, Root, Unused, Unused]),
    }
}

#[cfg(test)]
mod tests;
