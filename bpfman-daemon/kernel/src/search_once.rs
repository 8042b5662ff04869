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
    /// Each observation that finds nothing by known paths searches.
    Repeated,
    /// The first observation that finds nothing searches.
    Due,
    /// Observations of this thread share the result of the search.
    Done(NamespacePaths),
}

/// Limits the observations of this thread to one search for namespaces, until it is dropped.
///
/// A search reads the processes and threads of the machine, and does not find a namespace without a path: each
/// observation of each hook there would repeat the search. A namespace that gets its first path meanwhile is found by
/// the next observation. So do not change anything because of a shared result.
#[derive(Debug)]
pub struct SearchOnce {
    is_outermost: bool,
    /// Binds the value to this thread.
    _thread: PhantomData<*const ()>,
}

impl SearchOnce {
    /// Begins the limit. It has no effect within another one.
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

/// Returns the result of an earlier search, if it may be used.
pub(crate) fn found() -> Option<NamespacePaths> {
    SEARCH.with_borrow(|search| match search {
        Search::Done(found) => Some(found.clone()),
        Search::Repeated | Search::Due => None,
    })
}

/// Keeps the result of a search, if later observations may use it.
pub(crate) fn keep(found: &NamespacePaths) {
    SEARCH.with_borrow_mut(|search| {
        if !matches!(search, Search::Repeated) {
            *search = Search::Done(found.clone());
        }
    });
}
