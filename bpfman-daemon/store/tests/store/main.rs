//! Tests of the store on every engine: the contract, crashes, damage, a full disk, lost writes.

#![expect(clippy::unwrap_used, reason = "in tests a failure is to panic where it happens")]

mod concurrent;
mod contract;
mod crash;
mod damage;
mod disk_full;
mod failing_disk;
mod fixture;
mod foreign;
mod opening;
mod power_loss;
