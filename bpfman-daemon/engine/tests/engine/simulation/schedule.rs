//! Schedules: sequences of events, derived from a seed.

use proptest::collection::vec;
use proptest::prelude::*;

/// Each in a load of its own. Two are the same function loaded twice, so that names are equal.
pub const PROGRAMS: [&str; 7] = ["alpha", "bravo", "alpha", "tango", "tulip", "xray", "trace"];

/// Index of an invalid place. Even indexes are one interface or direction, odd ones the other.
pub const WRONG_PLACE: usize = 16;

/// Indexes count modulo the number of choices.
#[derive(Clone, Copy, Debug)]
pub enum Change {
    Load { program: usize },
    Attach { program: usize, place: usize, priority: i32 },
    Move { link: usize, priority: i32 },
    Detach { link: usize },
    Replace { program: usize },
    Unload { program: usize },
}

/// Injected failure. Calls and steps are counted from 1; nothing fails if a change has fewer.
#[derive(Clone, Copy, Debug)]
pub enum Trouble {
    Nothing,
    CallFails(u64),
    /// This call and all later ones fail, including those of the undo.
    CallsFailFrom(u64),
    EndsAt(usize),
}

#[derive(Clone, Copy, Debug)]
pub enum Event {
    Asked(Change, Trouble),
    Together(Change, Change),
    Restart,
    /// The first start is killed before this step.
    StartCutShort(usize),
    Reboot,
    InterfaceGoes(usize),
    InterfaceComes(usize),
    NamespaceAnew,
    PinRemoved(usize),
    ForcedOff(usize),
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

pub fn schedule() -> impl Strategy<Value = Vec<Event>> {
    vec(event(), 8..40)
}
