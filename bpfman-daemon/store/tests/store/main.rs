//! The store, kept to its promises on every engine: the contract, crashes, damage, a full disk, lost writes.

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
