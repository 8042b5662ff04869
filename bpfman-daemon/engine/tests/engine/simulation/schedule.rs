//! What may happen to a machine, one thing after the other. A schedule is drawn from a seed.

use proptest::collection::vec;
use proptest::prelude::*;

/// Programs by index, each in an object of its own load: two are one function loaded twice, so that names tie.
pub const PROGRAMS: [&str; 7] = ["alpha", "bravo", "alpha", "tango", "tulip", "xray", "trace"];

/// Of a program's places the one, by index, where it may not be attached. The even ones are one interface or direction,
/// the odd ones the other.
pub const WRONG_PLACE: usize = 16;

/// A change that a client asks for. Indices count round what there is to choose from.
#[derive(Clone, Copy, Debug)]
pub enum Change {
    Load { program: usize },
    Attach { program: usize, place: usize, priority: i32 },
    Move { link: usize, priority: i32 },
    Detach { link: usize },
    Replace { program: usize },
    Unload { program: usize },
}

/// What goes wrong during a change. Calls and steps count from 1; a change may have fewer.
#[derive(Clone, Copy, Debug)]
pub enum Trouble {
    Nothing,
    /// This call of the kernel's fails.
    CallFails(u64),
    /// This call fails and all after it, those that undo included.
    CallsFailFrom(u64),
    /// The daemon is killed before this step.
    EndsAt(usize),
}

/// One thing that happens.
#[derive(Clone, Copy, Debug)]
pub enum Event {
    Asked(Change, Trouble),
    /// Two clients at once.
    Together(Change, Change),
    /// The daemon ends in order, and starts.
    Restart,
    /// The same, and the first start is killed before this step.
    StartCutShort(usize),
    /// The machine starts anew.
    Reboot,
    InterfaceGoes(usize),
    InterfaceComes(usize),
    /// The network namespace goes, and another one comes under its name.
    NamespaceAnew,
    /// A stranger removes a pin of a link.
    PinRemoved(usize),
    /// A stranger ends a link by force.
    ForcedOff(usize),
    /// The daemon looks at interfaces and hooks, as it does from time to time.
    Check,
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        4 => (0..PROGRAMS.len()).prop_map(|program| Change::Load { program }),
        8 => (0..PROGRAMS.len(), 0..=WRONG_PLACE, 0..3_i32)
            .prop_map(|(program, place, priority)| Change::Attach { program, place, priority }),
        2 => (0..16_usize, 0..3_i32).prop_map(|(link, priority)| Change::Move { link, priority }),
        4 => (0..16_usize).prop_map(|link| Change::Detach { link }),
        2 => (0..PROGRAMS.len()).prop_map(|program| Change::Replace { program }),
        1 => (0..PROGRAMS.len()).prop_map(|program| Change::Unload { program }),
    ]
}

fn trouble() -> impl Strategy<Value = Trouble> {
    prop_oneof![
        5 => Just(Trouble::Nothing),
        2 => (1..60_u64).prop_map(Trouble::CallFails),
        1 => (1..60_u64).prop_map(Trouble::CallsFailFrom),
        2 => (1..20_usize).prop_map(Trouble::EndsAt),
    ]
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        24 => (change(), trouble()).prop_map(|(change, trouble)| Event::Asked(change, trouble)),
        3 => (change(), change()).prop_map(|(one, other)| Event::Together(one, other)),
        1 => Just(Event::Restart),
        1 => (1..30_usize).prop_map(Event::StartCutShort),
        1 => Just(Event::Reboot),
        1 => (0..2_usize).prop_map(Event::InterfaceGoes),
        2 => (0..2_usize).prop_map(Event::InterfaceComes),
        1 => Just(Event::NamespaceAnew),
        1 => (0..8_usize).prop_map(Event::PinRemoved),
        1 => (0..8_usize).prop_map(Event::ForcedOff),
        2 => Just(Event::Check),
    ]
}

/// So many events that chains become some members long.
pub fn schedule() -> impl Strategy<Value = Vec<Event>> {
    vec(event(), 8..40)
}
