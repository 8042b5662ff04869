//! A kernel in memory, with the rules of the real one that the engine depends on.
