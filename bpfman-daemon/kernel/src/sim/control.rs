//! Control of a simulated kernel: changes of its machine, and failures.

use std::path::Path;
use std::time::{Duration, SystemTime};

use bpfman_model::uapi::link_type;
use bpfman_model::{Direction, IfIndex, NetnsId, ProgramId};

use super::filters::Filters;
use super::network::AttachedBy;
use super::objects::{Body, Key, SimLinkTarget};
use super::pins::SimPins;
use super::{LoadsSeen, SimKernel};

impl SimKernel {
    /// Adds a network namespace with a file of its own.
    pub fn add_namespace(&self, path: &Path) -> NetnsId {
        self.state().network.add_namespace(path)
    }

    /// Removes a network namespace with its interfaces.
    pub fn remove_namespace(&self, path: &Path) {
        let mut state = self.state();
        state.end_namespace_at(path);
        drop(state);
        self.changed.notify_all();
    }

    /// Removes a file of a namespace that lives on, held by a process or without a path.
    pub fn remove_name(&self, path: &Path) {
        self.state().network.remove_name(path);
        self.changed.notify_all();
    }

    /// Makes a file lead to a live network namespace. Files below `/proc` are those of processes, and no names.
    pub fn add_name(&self, path: &Path, netns: NetnsId) -> bool {
        let added = self.state().network.add_name(path, netns);
        self.changed.notify_all();
        added
    }

    /// Ends a network namespace with its interfaces, whether a file leads to it or not.
    pub fn end_namespace(&self, netns: NetnsId) {
        let mut state = self.state();
        state.end_namespace(netns.inode);
        drop(state);
        self.changed.notify_all();
    }

    /// Adds an interface; `None` if there is no such namespace.
    pub fn add_interface(&self, netns: Option<&Path>, name: &str) -> Option<IfIndex> {
        let added = self.state().network.add_interface(netns, name);
        self.changed.notify_all();
        added
    }

    /// Renames an interface; false if it is missing, or the name is taken.
    pub fn rename_interface(&self, netns: Option<&Path>, name: &str, new: &str) -> bool {
        let renamed = self.state().network.rename_interface(netns, name, new);
        self.changed.notify_all();
        renamed
    }

    /// Gives an interface an alternative name; false if it is missing, or the name is taken.
    pub fn add_other_name(&self, netns: Option<&Path>, name: &str, other: &str) -> bool {
        let added = self.state().network.add_other_name(netns, name, other);
        self.changed.notify_all();
        added
    }

    /// Switches an interface on or off; new ones are off.
    pub fn switch_interface(&self, netns: Option<&Path>, name: &str, up: bool) -> bool {
        let switched = self.state().network.switch(netns, name, up);
        self.changed.notify_all();
        switched
    }

    /// Makes all watches lose their unread events.
    pub fn overrun_watches(&self) {
        self.state().network.overruns += 1;
        self.changed.notify_all();
    }

    /// Moves an interface to another namespace, without its filters; false if there is no such interface or namespace.
    pub fn move_interface(&self, from: &Path, name: &str, to: &Path) -> bool {
        let mut state = self.state();
        let moved = state.network.move_interface(from, name, to);
        if let Some((from, to)) = moved {
            state.interface_moved(from, to);
        }
        drop(state);
        self.changed.notify_all();
        moved.is_some()
    }

    /// Removes an interface. Its filters are removed, its links stay and run nothing.
    pub fn remove_interface(&self, netns: Option<&Path>, name: &str) {
        let mut state = self.state();
        if let Some(place) = state.network.remove_interface(netns, name) {
            state.interface_gone(place);
        }
        drop(state);
        self.changed.notify_all();
    }

    pub fn switch_cpus(&self, online: impl IntoIterator<Item = u32>) {
        self.state().online_cpus = online.into_iter().collect();
    }

    /// Makes the verifier refuse programs of this name from now on.
    pub fn refuse(&self, program: &str) {
        self.state().refused.insert(program.to_owned());
    }

    /// Sets the time that the verifier takes to refuse a program.
    pub fn refuse_after(&self, time: Duration) {
        self.state().refusal_time = time;
    }

    /// Sets the time that the verifier takes for a program that passes.
    pub fn verify_for(&self, time: Duration) {
        self.state().verification_time = time;
    }

    /// Sets whether each wait for readers empties program arrays, as Linux does when the last holder closes an array.
    pub fn empty_arrays(&self, empties: bool) {
        self.state().empties_arrays = empties;
    }

    /// Returns how many loads of programs of this name the verifier refused.
    #[must_use]
    pub fn refused_loads(&self, program: &str) -> usize {
        self.state().refused_loads.get(program).copied().unwrap_or_default()
    }

    /// Makes the verifier refuse the next program of this name.
    pub fn refuse_next(&self, program: &str) {
        self.state().refused_next.insert(program.to_owned());
    }

    /// Makes the verifier accept programs of this name again.
    pub fn accept(&self, program: &str) {
        self.state().refused.remove(program);
    }

    /// Makes the verifier refuse or accept programs with this constant, alone or in a chain, and counts their loads. A test
    /// marks a version of a program by a constant.
    pub fn judge_constant(&self, constant: i32, refused: bool) {
        self.state().constants.entry(constant).or_default().refused = refused;
    }

    /// Returns the loads with this constant since the first [`SimKernel::judge_constant`] for it.
    #[must_use]
    pub fn loads_with(&self, constant: i32) -> LoadsSeen {
        self.state().constants.get(&constant).copied().unwrap_or_default()
    }

    /// Limits the instructions of programs: the verifier refuses at the first one above the limit.
    pub fn refuse_longer_than(&self, insns: usize) {
        self.state().longest = Some(insns);
    }

    /// Makes the verifier refuse programs with more instructions if they are loaded without `CAP_PERFMON`: the verifier
    /// then follows speculative paths, too.
    pub fn refuse_longer_without_perfmon(&self, insns: usize) {
        self.state().longest_without_perfmon = Some(insns);
    }

    /// Sets the number of instructions that the verifier walks through for every program.
    pub fn walk_through(&self, insns: u32) {
        self.state().walked = Some(insns);
    }

    /// Reboots: objects and pins are gone, namespaces and interfaces exchange numbers, ids begin at 1.
    pub fn reboot(&self) {
        let mut state = self.state();
        state.objects.reboot();
        state.pins = SimPins::default();
        state.filters = Filters::default();
        state.network.reboot();
        state.targets.reboot();
        state.holders.clear();
        state.run_counts.clear();
        state.clock.since_boot = Duration::from_secs(10);
        state.faults.countdown = None;
    }

    /// Moves both clocks forward.
    pub fn pass_time(&self, by: Duration) {
        let mut state = self.state();
        state.clock.since_boot += by;
        state.clock.wall += by;
    }

    pub fn put_clock(&self, wall: SystemTime) {
        self.state().clock.wall = wall;
    }

    /// Adds one run of this duration to the counts of a program.
    pub fn ran(&self, program: ProgramId, nanoseconds: u64) {
        let mut state = self.state();
        let counts = state.run_counts.entry(program).or_default();
        counts.runs += 1;
        counts.nanoseconds += nanoseconds;
    }

    /// Makes the `n`-th call from now fail, counted from 1; 0 means none.
    pub fn fail_call(&self, n: u64) {
        let mut state = self.state();
        state.faults.countdown = (n > 0).then_some(n);
        state.faults.lasting = false;
    }

    /// Makes the `n`-th call from now and all later ones fail, until `fail_call(0)`.
    pub fn fail_from(&self, n: u64) {
        self.fail_call(n);
        self.state().faults.lasting = true;
    }

    /// Returns whether an ordered failure is still to happen.
    #[must_use]
    pub fn failure_pending(&self) -> bool {
        self.state().faults.countdown.is_some()
    }

    /// Begins to record the names of calls, and forgets earlier ones.
    pub fn note_calls(&self) {
        let mut state = self.state();
        state.faults.record = true;
        state.faults.calls.clear();
    }

    /// Returns the calls since [`SimKernel::note_calls`].
    #[must_use]
    pub fn calls(&self) -> Vec<&'static str> {
        self.state().faults.calls.clone()
    }
}

impl super::SimState {
    pub(super) fn namespace_gone(&mut self, inode: u64) {
        for place in self.network.end_namespace(inode) {
            self.interface_gone(place);
        }
        let at_namespace = format!("network namespace {inode},");
        let is_there = |body: &Body| {
            matches!(body, Body::Link { place: SimLinkTarget::Place { kernel_type: link_type::NETNS, at }, .. }
                if at.starts_with(&at_namespace))
        };
        let all = self.objects.all.iter();
        let links: Vec<Key> = all.filter(|(_, object)| is_there(&object.body)).map(|(key, _)| *key).collect();
        links.into_iter().for_each(|link| self.detach(link));
    }

    fn interface_moved(&mut self, from: (NetnsId, IfIndex), to: (NetnsId, IfIndex)) {
        for object in self.objects.all.values_mut() {
            let Body::Link { place, .. } = &mut object.body else { continue };
            if let SimLinkTarget::Xdp { netns, ifindex }
            | SimLinkTarget::Tcx { netns, ifindex, .. }
            | SimLinkTarget::Netkit { netns, ifindex, .. } = place
                && (*netns, *ifindex) == from
            {
                (*netns, *ifindex) = to;
            }
        }
        if let Some(attached) = self.network.xdp.remove(&from) {
            self.network.xdp.insert(to, attached);
        }
        for direction in [Direction::Ingress, Direction::Egress] {
            if let Some(hook) = self.network.tcx.remove(&(from.0, from.1, direction)) {
                self.network.tcx.insert((to.0, to.1, direction), hook);
            }
        }
        self.drop_filters(from);
    }

    fn interface_gone(&mut self, (netns, ifindex): (NetnsId, IfIndex)) {
        let links: Vec<Key> = self
            .objects
            .all
            .iter()
            .filter(|(_, object)| {
                matches!(&object.body, Body::Link {
                    place: SimLinkTarget::Xdp { netns: n, ifindex: i }
                        | SimLinkTarget::Tcx { netns: n, ifindex: i, .. }
                        | SimLinkTarget::Netkit { netns: n, ifindex: i, .. },
                    ..
                } if *n == netns && *i == ifindex)
            })
            .map(|(key, _)| *key)
            .collect();
        for link in links {
            self.detach(link);
        }
        self.drop_unlinked_programs(netns, ifindex);
        self.drop_filters((netns, ifindex));
    }

    fn drop_filters(&mut self, (netns, ifindex): (NetnsId, IfIndex)) {
        let filters: Vec<_> = self
            .filters
            .all
            .keys()
            .filter(|((n, i, _), _, _)| *n == netns && *i == ifindex)
            .copied()
            .collect();
        for at in filters {
            if let Some(filter) = self.filters.all.remove(&at) {
                self.unuse(filter.program);
            }
        }
    }

    fn drop_unlinked_programs(&mut self, netns: NetnsId, ifindex: IfIndex) {
        let mut gone = Vec::new();
        gone.extend(self.network.xdp.remove(&(netns, ifindex)).map(|(attached, _)| attached));
        for direction in [Direction::Ingress, Direction::Egress] {
            let hook = self.network.tcx.remove(&(netns, ifindex, direction));
            gone.extend(hook.into_iter().flat_map(|hook| hook.entries));
        }
        for attached in gone {
            if let AttachedBy::Program(program) = attached {
                self.unuse(program);
            }
        }
    }
}
