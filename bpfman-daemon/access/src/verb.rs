//! What a call does.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;

/// What a call does, as grants name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AccessVerb {
    /// Lists and describes.
    Read,
    /// Loads and unloads programs, and fetches images.
    Load,
    /// Attaches, detaches, and changes the place of an attachment.
    Attach,
    /// Puts another version of a program in its places.
    Replace,
    /// Makes a program that someone else attached a member of a chain.
    Adopt,
    /// Sends packets through a chain, and counts runs.
    Trace,
    /// Changes the settings of a hook.
    Settings,
    /// Reads maps.
    MapsRead,
    /// Writes maps.
    MapsWrite,
    /// Sees what others do with eBPF on the machine.
    Radar,
    /// What only root may do, whatever a grant says: the image cache, and remains that are nobody's.
    Administer,
}

/// A text that is no verb.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "\"{0}\" is no verb: expected read, load, attach, replace, adopt, trace, settings, maps-read, maps-write or radar"
)]
pub struct UnknownVerb(pub String);

impl AccessVerb {
    /// All that a grant may allow.
    pub const GRANTABLE: [Self; 10] = [
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
    ];

    /// As grants write it.
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
            Self::Administer => "administer",
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
