//! The kernel behind a trait: Linux, and a simulator with the same rules
