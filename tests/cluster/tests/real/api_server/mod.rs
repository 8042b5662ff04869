//! Checks that an API server makes by itself: rules of definitions, admission policies, fields of later releases.

mod fields;
mod life;
mod policies;
mod rules;
