//! The node agent: applications of its node turned into calls of the daemon, and what came out into state objects.
//!
//! It needs no privileges: it talks to the API server and to the daemon's socket. [`watch`]es and the [`daemon`]'s
//! stream keep a [`world`] up to date; whatever changes puts the applications concerned into a queue; a [`look`]
//! brings the daemon to what one of them wants ([`bring`]) and [`tell`]s what came of it, if that is another word than
//! the last one. Nothing is remembered that a restart would miss: what is loaded, the daemon knows.

pub mod absent;
pub mod api;
pub mod application;
pub mod arriving;
pub mod asked;
pub mod bring;
pub mod cni;
pub mod composition;
pub mod counts;
pub mod credentials;
pub mod daemon;
pub mod events;
mod facts;
pub mod gates;
pub mod heir;
pub mod lead;
pub mod leftovers;
pub mod listeners;
pub mod locks;
pub mod look;
pub mod machine;
pub mod metrics;
pub mod netns;
pub mod options;
pub mod pace;
pub mod part;
pub mod preflight;
pub mod protect;
pub mod removal;
pub mod revision;
pub mod run;
pub mod said;
pub mod secret;
pub mod selector;
pub mod serve;
pub mod shared;
pub mod soak;
pub mod state;
pub mod status;
pub mod tell;
pub mod watch;
pub mod world;

pub use self::protect::{PodToProtect, ProtectError, Protected};
pub use self::run::{Agent, client_of_agent, run};
pub use self::shared::Shared;
