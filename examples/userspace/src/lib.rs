//! User-space sides of the example programs
