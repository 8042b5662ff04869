//! The node agent: applications of its node turned into calls of the daemon, and what came out into state objects.
