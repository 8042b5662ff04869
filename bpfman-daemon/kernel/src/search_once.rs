//! Search of all paths to network namespaces, shared by the observations of one list.
#![cfg_attr(not(feature = "linux"), allow(dead_code, reason = "a simulated kernel does not search"))]

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::path::PathBuf;

thread_local! {
    static SEARCH: RefCell<Search> = const { RefCell::new(Search::Repeated) };
}

pub(crate) type NamespacePaths = BTreeMap<u64, PathBuf>;

#[derive(Debug)]
enum Search {
    Repeated,
    Due,
    Done(NamespacePaths),
}

/// Limits this thread to one search for namespaces until dropped: each hook in a namespace without a path would repeat
/// it. Do not change anything because of a shared result, in which new paths are missing.
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
