//! Tests of the engine. Behaviour that is the same on every kernel is tested on the simulated kernel and on this
//! machine's. Tests of failing calls, kills at steps and reboots run on the simulated kernel only.

#![expect(clippy::unwrap_used, reason = "in tests a failure is to panic where it happens")]

mod accepted_before;
mod adoption;
mod adoption_limits;
mod after_reboot;
mod among_others;
mod barriers;
mod before_the_chain;
mod bench;
mod break_glass;
mod budgets;
mod bytecode;
mod callers_networks;
mod cases;
mod chains;
mod chains_under_faults;
mod copied_pins;
mod corpus;
mod counting;
mod crashes;
mod damaged;
mod departures;
mod dispatcher_ranks;
mod dispatchers;
mod documented;
mod dry_runs;
mod durability;
mod expiry;
mod extensions;
mod failing_starts;
mod faults;
mod freezes;
mod full_disk;
mod group_order;
mod group_programs;
mod guards;
mod half_done;
mod held_namespaces;
mod hooks_seen;
mod in_mid_change;
mod intents;
mod interfaces;
mod interfaces_late;
mod interfaces_moved;
mod iterators_seen;
mod judges;
mod jump_tables;
mod kept_open;
mod kernel_rules;
mod kernel_symbols;
mod late_modules;
mod late_targets;
mod leases;
mod libxdp;
mod limits_of_owners;
mod linux;
mod loads;
mod lying_readers;
mod many_hooks;
mod map_sizes;
mod missing_pins;
mod moved_dispatchers;
mod namespace_paths;
mod namespaces;
mod netkit;
mod not_undone;
mod numbered_namespaces;
mod objects;
mod older_records;
mod openers;
mod optimisation;
mod other_names;
mod pauses;
mod per_cpu;
mod perf_events_seen;
mod places;
mod points;
mod points_seen;
mod probe_readers;
mod probed_files;
mod probed_processes;
mod program_arrays;
mod python;
mod ranks;
mod reboots;
mod reboots_cut_short;
mod records_of_version_3;
mod recovery;
mod rejections;
mod replaced_places;
mod replacements;
mod routes_seen;
mod scenes;
mod schedulers;
mod senders;
mod senders_races;
mod sequences;
mod shadows;
mod shared_map_pins;
mod sharing_chains;
mod simulated;
mod simulation;
mod slow_readers;
mod sockmaps;
mod specialised;
mod storm;
mod strangers;
mod struct_ops;
mod switched_off;
mod switched_paths;
mod timing;
mod tracing_seen;
mod types_of_members;
mod usdt;
mod values;
mod verified;
mod ways;
mod whole_loads;
mod xdp_modes;

macro_rules! on_both_kernels {
    ($($name:ident),+ $(,)?) => {
        mod simulated {
            $(#[test] fn $name() { super::$name(&crate::simulated::bench()); })+
        }
        mod linux {
            $(#[test] fn $name() { super::$name(&crate::linux::bench(stringify!($name))); })+
        }
    };
}
pub(crate) use on_both_kernels;
