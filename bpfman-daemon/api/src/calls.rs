//! What each call does: the table by which calls are allowed and audited.

use bpfman_proto::Method;
use bpfmand_access::AccessVerb;

/// What a call needs of its caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallNeeds {
    /// Nothing but the socket: it tells callers of themselves.
    Nothing,
    /// This verb, on the objects that the call names.
    Verb(AccessVerb),
}

/// What a call needs. Every call of the services is here: one that is added has no answer until it has a row.
#[must_use]
pub const fn needs(method: Method) -> CallNeeds {
    use Method as M;
    CallNeeds::Verb(match method {
        M::BpfmanAccessWhoAmI | M::BpfmanAccessCanI => return CallNeeds::Nothing,
        M::BpfmanList
        | M::BpfmanGet
        | M::BpfmanExtListLinks
        | M::BpfmanExtGetLink
        | M::BpfmanExtGetChain
        | M::BpfmanExtGetProgram
        | M::BpfmanExtListPrograms
        | M::BpfmanExtInfo
        | M::BpfmanExtFeatures
        | M::BpfmanChainsShowChain
        | M::BpfmanChainsListHooks
        | M::BpfmanChainsExplain
        | M::BpfmanChainsListMatching
        | M::BpfmanChainsListStrays
        | M::BpfmanMapEntriesListMaps
        | M::BpfmanMapEntriesDescribeMap
        | M::BpfmanImagesListImages
        | M::BpfmanImagesInspectImage
        | M::BpfmanNodeFindContainers
        | M::BpfmanNodeFindNetworkNamespace
        | M::BpfmanNodeWatch
        | M::BpfmanNodeHistory
        | M::BpfmanNodeFollowEvents
        | M::BpfmanNodeExamine
        | M::BpfmanFiguresFollowFigures => AccessVerb::Read,
        M::BpfmanLoad
        | M::BpfmanUnload
        | M::BpfmanPullBytecode
        | M::BpfmanExtLoad
        | M::BpfmanExtPull
        | M::BpfmanExtHoldLease
        | M::BpfmanImagesVerifyImage
        | M::BpfmanNodeDryRun => AccessVerb::Load,
        M::BpfmanAttach
        | M::BpfmanDetach
        | M::BpfmanChainsAttach
        | M::BpfmanChainsUpdateLink
        | M::BpfmanChainsAttachMatching
        | M::BpfmanChainsDetachMatching => AccessVerb::Attach,
        M::BpfmanChainsReplaceProgram | M::BpfmanChainsRollbackProgram | M::BpfmanNodeReplaceLoad => {
            AccessVerb::Replace
        }
        M::BpfmanChainsAdopt => AccessVerb::Adopt,
        M::BpfmanChainsTraceChain
        | M::BpfmanChainsVerifyChain
        | M::BpfmanNodeSampleRuns
        | M::BpfmanExtReadIterator => AccessVerb::Trace,
        M::BpfmanMapsOpenForReading
        | M::BpfmanExtReadMap
        | M::BpfmanMapEntriesDumpMap
        | M::BpfmanMapEntriesGetMapEntry => AccessVerb::MapsRead,
        M::BpfmanMapsOpenForWriting
        | M::BpfmanMapEntriesSetMapEntry
        | M::BpfmanMapEntriesDeleteMapEntries => AccessVerb::MapsWrite,
        M::BpfmanChainsSetHook | M::BpfmanChainsTimeMembers | M::BpfmanImagesCheckProvenance => {
            AccessVerb::Settings
        }
        M::BpfmanRadarSurveyRadar => AccessVerb::Radar,
        M::BpfmanChainsRemoveStray
        | M::BpfmanRadarStartRadar
        | M::BpfmanRadarStopRadar
        | M::BpfmanExtFollowPrints
        | M::BpfmanImagesPruneImages
        | M::BpfmanImagesImportImages => AccessVerb::Administer,
    })
}

/// Calls that read maps, or open them: they change nothing by themselves, and clients make them as often as they like. Their
/// entries are kept apart from those of changes. Whoever has a map open for writing changes it without the daemon.
#[must_use]
pub const fn is_access(method: Method) -> bool {
    matches!(
        method,
        Method::BpfmanMapsOpenForReading
            | Method::BpfmanMapsOpenForWriting
            | Method::BpfmanExtReadMap
            | Method::BpfmanMapEntriesDumpMap
    )
}

/// Calls that leave an entry in the journal whenever they are made; others do where they are refused.
#[must_use]
pub const fn is_audited(method: Method) -> bool {
    match needs(method) {
        // The programs of others run on packets of the caller's choice.
        CallNeeds::Verb(_) if matches!(method, Method::BpfmanChainsTraceChain) => true,
        CallNeeds::Nothing | CallNeeds::Verb(AccessVerb::Read | AccessVerb::Trace | AccessVerb::Radar) => {
            false
        }
        // Scripts read single entries again and again: these would push changes out.
        CallNeeds::Verb(_) => {
            !matches!(method, Method::BpfmanNodeDryRun | Method::BpfmanMapEntriesGetMapEntry)
        }
    }
}
