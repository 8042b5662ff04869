//! Search of all paths to network namespaces, and netkit devices in them, shared by the observations of one list.
#![cfg_attr(not(feature = "linux"), allow(dead_code, reason = "a simulated kernel does not search"))]

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::path::PathBuf;

use bpfman_model::{IfIndex, NetnsId};

thread_local! {
    static SEARCH: RefCell<Search> = const { RefCell::new(Search::Repeated) };
    static NETKIT: RefCell<BTreeMap<NetnsId, NetkitDevices>> = const { RefCell::new(BTreeMap::new()) };
}

pub(crate) type NamespacePaths = BTreeMap<u64, PathBuf>;
pub(crate) type NetkitDevices = Vec<(IfIndex, String)>;

#[derive(Debug)]
enum Search {
    Repeated,
    Due,
    Done(NamespacePaths),
}

/// Limits this thread to one search for namespaces, and one list of the netkit devices of each, until dropped: without
/// it, each hook or link repeats them. New paths are missing in a shared result: change nothing because of it.
#[derive(Debug)]
pub struct SearchOnce {
    is_outermost: bool,
    _thread: PhantomData<*const ()>,
}

impl SearchOnce {
    /// Begins the limit; no effect within another one.
    #[must_use]
    pub fn begin() -> Self {
        let is_outermost = SEARCH.with_borrow_mut(|search| match search {
            Search::Repeated => {
                *search = Search::Due;
                true
            }
            Search::Due | Search::Done(_) => false,
        });
        Self { is_outermost, _thread: PhantomData }
    }
}

impl Drop for SearchOnce {
    fn drop(&mut self) {
        if self.is_outermost {
            SEARCH.set(Search::Repeated);
            NETKIT.take();
        }
    }
}

pub(crate) fn found() -> Option<NamespacePaths> {
    SEARCH.with_borrow(|search| match search {
        Search::Done(found) => Some(found.clone()),
        Search::Repeated | Search::Due => None,
    })
}

pub(crate) fn keep(found: &NamespacePaths) {
    SEARCH.with_borrow_mut(|search| {
        if !matches!(search, Search::Repeated) {
            *search = Search::Done(found.clone());
        }
    });
}

pub(crate) fn netkit_devices(home: NetnsId) -> Option<NetkitDevices> {
    NETKIT.with_borrow(|known| known.get(&home).cloned())
}

pub(crate) fn keep_netkit_devices(home: NetnsId, devices: NetkitDevices) {
    let is_shared = SEARCH.with_borrow(|search| !matches!(search, Search::Repeated));
    if is_shared {
        NETKIT.with_borrow_mut(|known| known.insert(home, devices));
    }
}
