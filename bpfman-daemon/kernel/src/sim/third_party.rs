use std::path::Path;

use bpfman_model::{Direction, Held, Holder, IfIndex};

use super::hooks::runs_in;
use super::network::AttachedBy;
use super::objects::{Body, LINK, PROGRAM};
use super::{SimHandle, SimKernel};
use crate::{KernelError, ListAnchor, ObjectHolders, TestRunResult, XdpMode};

impl SimKernel {
    /// Attaches a program as `ip link set xdp` does: without a link, and without replacing one.
    pub fn attach_xdp_by_netlink(
        &self,
        netns: Option<&Path>,
        ifindex: IfIndex,
        program: &SimHandle,
        mode: XdpMode,
    ) -> Result<(), KernelError> {
        let mut state = self.state();
        let home = state.network.namespace(netns)?.id;
        let place = state.xdp_place(program.key, home, ifindex, mode)?;
        state.objects.use_it(program.key);
        state.network.xdp.insert(place, (AttachedBy::Program(program.key), runs_in(mode)));
        Ok(())
    }

    /// Removes a program of [`SimKernel::attach_xdp_by_netlink`]; returns whether there was one.
    pub fn detach_xdp_by_netlink(&self, netns: Option<&Path>, ifindex: IfIndex) -> bool {
        let mut state = self.state();
        let Ok(Some(netns)) = state.network.place(netns, ifindex) else { return false };
        let Some((AttachedBy::Program(program), _)) = state.network.xdp.get(&(netns, ifindex)).copied()
        else {
            return false;
        };
        state.network.xdp.remove(&(netns, ifindex));
        state.unuse(program);
        true
    }

    /// Attaches a program to tcx by `BPF_PROG_ATTACH`: without a link.
    pub fn attach_tcx_program(
        &self,
        netns: Option<&Path>,
        ifindex: IfIndex,
        direction: Direction,
        program: &SimHandle,
        anchor: ListAnchor,
    ) -> Result<(), KernelError> {
        let mut state = self.state();
        let hook = (state.network.namespace(netns)?.id, ifindex, direction);
        let (place, at) = state.tcx_position(program.key, hook, anchor, None)?;
        state.objects.use_it(program.key);
        state.insert_tcx(place, at, AttachedBy::Program(program.key));
        Ok(())
    }

    /// Makes `holders` report this process as a holder of the object from now on.
    pub fn add_holder(&self, of: Held, holder: Holder) {
        self.state().holders.push((of, holder));
    }

    /// Sets the result of test runs of programs of this name.
    pub fn answer_test_runs(&self, program: &str, result: TestRunResult) {
        self.state().runs.insert(super::create::kernel_name(program), result);
    }
}

impl super::SimState {
    pub(super) fn all_holders(&self) -> ObjectHolders {
        let mut all = ObjectHolders::default();
        for (held, holder) in &self.holders {
            let of = match held {
                Held::Program(id) => all.programs.entry(id.0),
                Held::Link(id) => all.links.entry(id.0),
            };
            of.or_default().push(holder.clone());
        }
        all
    }

    pub(super) fn holders(&self, of: Held) -> Vec<Holder> {
        let object = match of {
            Held::Program(id) => self.objects.find(PROGRAM, id.0),
            Held::Link(id) => self.objects.find(LINK, id.0),
        };
        let has_handle = |key| {
            let pins = self.pins.nodes.values().filter(|node| **node == super::pins::Node::Pin(key)).count();
            self.objects.all.get(&key).is_some_and(|object| object.held > pins)
        };
        let runs_it = |key: &u64| {
            matches!(&self.objects.all.get(key).map(|object| &object.body),
                Some(Body::Link { program, .. }) if Some(*program) == object)
        };
        let mut found: Vec<Holder> =
            self.holders.iter().filter(|(held, _)| *held == of).map(|(_, holder)| holder.clone()).collect();
        if object.is_some_and(has_handle)
            || self.objects.all.keys().any(|key| runs_it(key) && has_handle(*key))
        {
            found.push(Holder { pid: std::process::id(), command: "simulation".to_owned(), unit: None });
        }
        found.sort_by_key(|holder| holder.pid);
        found
    }
}
