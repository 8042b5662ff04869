//! Nothing but features of crates of others: see the manifest. The sides do not depend on it.
