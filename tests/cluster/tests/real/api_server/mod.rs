//! Checks of the API server itself: rules of definitions, admission policies, fields of later releases.

mod fields;
mod life;
mod policies;
mod rules;
