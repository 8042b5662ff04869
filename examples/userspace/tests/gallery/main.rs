//! Tests of the examples as users run them: a signed image, and a companion command without rights, by a grant.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod ci_guard;
mod clone_registry;
mod egress_guard;
mod equipment;
mod exec_snoop;
mod flows;
mod name_server;
mod pod_fastpath;
mod profiler;
mod sock_shortcut;
mod switch_port;
mod tls_trace;
mod watchdog;
mod xdp_balancer;
mod xdp_counter;
mod xdp_firewall;
