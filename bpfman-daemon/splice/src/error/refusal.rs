/// Reason why one member cannot be joined.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The instructions or the description of the program are inconsistent.
    #[error("its program is malformed at instruction {at}: {what}")]
    Malformed { at: usize, what: &'static str },
    #[error("its type information (BTF) cannot be read: {what}")]
    BadBtf { what: &'static str },
    #[error("it is sleepable: no packet hook runs such programs")]
    Sleepable,
    /// Programs of device and CPU maps see packets elsewhere and under other rules.
    #[error("it is made for the entries of a device or CPU map (xdp/devmap, xdp/cpumap), not for a hook")]
    ForMap,
}

impl Refusal {
    /// Returns a remedy, in one sentence.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Malformed { .. } | Self::BadBtf { .. } => "compile the program again",
            Self::Sleepable => "choose a packet program",
            Self::ForMap => "put the program into an entry of its map",
        }
    }
}
