//! Rollouts: waves, gates, preflight and the way back. Pure: observations in, orders out.
