//! Verbs of calls.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;

/// Kind of a call, as grants name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AccessVerb {
    /// Listing and describing objects.
    Read,
    /// Loading and unloading programs, and fetching images.
    Load,
    /// Attaching, detaching, and changing the position of an attachment.
    Attach,
    /// Replacing a program by another version.
    Replace,
    /// Making a third-party program a member of a chain.
    Adopt,
    /// Sending packets through a chain, and counting runs.
    Trace,
    /// Changing the settings of a hook.
    Settings,
    MapsRead,
    MapsWrite,
    /// Observing third-party use of eBPF on the machine.
    Radar,
    /// Loading and attaching bytecode of one's own, by a command under `bpfman run-as`.
    Raw,
    /// Actions reserved for root, whatever a grant allows: on the image cache, and on leftovers without an owner.
    Administer,
}

/// Unknown verb.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "\"{0}\" is no verb: expected read, load, attach, replace, adopt, trace, settings, maps-read, maps-write, radar or raw"
)]
pub struct UnknownVerb(pub String);

impl AccessVerb {
    /// Verbs that a grant may allow.
    pub const GRANTABLE: [Self; 11] = [
        Self::Read,
        Self::Load,
        Self::Attach,
        Self::Replace,
        Self::Adopt,
        Self::Trace,
        Self::Settings,
        Self::MapsRead,
        Self::MapsWrite,
        Self::Radar,
        Self::Raw,
    ];

    /// Returns the name of the verb in grants.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Load => "load",
            Self::Attach => "attach",
            Self::Replace => "replace",
            Self::Adopt => "adopt",
            Self::Trace => "trace",
            Self::Settings => "settings",
            Self::MapsRead => "maps-read",
            Self::MapsWrite => "maps-write",
            Self::Radar => "radar",
            Self::Raw => "raw",
            Self::Administer => "administer",
        }
    }

    /// Returns the verb for a sentence, where its name in grants is not English.
    pub(crate) const fn phrase(self) -> &'static str {
        match self {
            Self::Settings => "change settings",
            Self::MapsRead => "read maps",
            Self::MapsWrite => "write maps",
            Self::Radar => "use the radar",
            _ => self.name(),
        }
    }
}

impl fmt::Display for AccessVerb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for AccessVerb {
    type Err = UnknownVerb;

    fn from_str(text: &str) -> Result<Self, UnknownVerb> {
        let named = Self::GRANTABLE.into_iter().find(|verb| verb.name() == text);
        named.ok_or_else(|| UnknownVerb(text.to_owned()))
    }
}
