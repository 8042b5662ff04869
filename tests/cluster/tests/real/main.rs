//! Tests with a real API server.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod admission;
mod agent;
mod api_server;
mod application;
mod apply;
mod chart;
mod controller;
mod equipment;
mod kill_loop;
mod packaging;
mod pages;
mod refusals;
mod removal;
mod rollout;
mod samples;
mod tables;
mod upgrade;
