//! Search for network namespaces by identity: the path of the attachment is only a hint.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

use bpfman_model::{NetnsId, NetnsNumber};

use super::held_namespaces::HeldNamespaces;
use super::{mounts, netns, netns_numbers, network_watch, processes};
use crate::search_once::{self, NamespacePaths, SearchOnce};
use crate::{FoundNamespace, KernelError};

/// Maximum number of searches: a search is repeated if a found path leads to another namespace when it is used.
const SEARCHES: usize = 3;
const OWN: &str = "/proc/self/ns/net";

#[derive(Debug)]
pub struct NamespaceFinder {
    known: Mutex<Known>,
    held: HeldNamespaces,
    pub has_cookies: bool,
}

/// Paths of namespaces by inode number, which is unique among existing namespaces.
#[derive(Clone, Debug, Default)]
struct Known(NamespacePaths);

enum Visit<T> {
    There(T),
    Elsewhere,
    /// Another namespace has the inode: the wanted one has ended.
    Ended,
}

type Visited<T> = (Option<PathBuf>, Visit<T>);

impl NamespaceFinder {
    pub fn new(has_cookies: bool) -> Self {
        Self { known: Mutex::default(), held: HeldNamespaces::default(), has_cookies }
    }

    pub const fn identity(&self, netns: NetnsId) -> NetnsId {
        if self.has_cookies { netns } else { NetnsId { cookie: 0, ..netns } }
    }

    /// Holds the recorded namespaces that have a path. Releases all others, since a held namespace never ends.
    pub fn hold(&self, recorded: &BTreeMap<NetnsId, Option<NetnsNumber>>) -> Result<(), KernelError> {
        let without_cookie = recorded.iter().filter(|(netns, _)| netns.cookie == 0);
        let wanted: BTreeMap<u64, Option<NetnsNumber>> =
            without_cookie.map(|(netns, number)| (netns.inode, *number)).collect();
        self.held.retain(|inode| wanted.contains_key(&inode));
        if wanted.is_empty() {
            return Ok(());
        }
        let (own, here) = (inode(Path::new(OWN)), self.identity(netns::here()?));
        let _search = SearchOnce::begin();
        let mut first_error = None;
        for (wanted, number) in wanted {
            let number = number.filter(|number| is(here, number.table)).map(|number| number.number);
            let let_go = self.held.number_of_let_go(NetnsId { inode: wanted, cookie: 0 });
            // Without its number, a released namespace may be confused with a later one that has the same inode.
            if Some(wanted) == own || self.held.is_let_go(wanted) && let_go.is_none() {
                continue;
            }
            let number = let_go.or(number);
            let known = self.known().0.get(&wanted).filter(|path| inode(path) == Some(wanted)).cloned();
            // Do not examine all processes to find a released namespace again.
            match known.or_else(|| let_go.is_none().then(|| self.search_once().0.remove(&wanted)).flatten()) {
                Some(_) if self.held.is_open(wanted) => {}
                Some(path) => match self.held.open(wanted, &path, number) {
                    Ok(()) | Err(KernelError::NoNamespace { .. }) => {}
                    Err(error) => first_error = first_error.or(Some(error)),
                },
                None => self.held.let_go(wanted, number),
            }
        }
        first_error.map_or(Ok(()), Err)
    }

    pub fn leads_to(&self, path: Option<&Path>, netns: NetnsId) -> bool {
        let is_same = |path| self.held.presence_at(path, netns).is_ok_and(|is_there| is_there == Some(true));
        leads_to(path, netns) && path.is_none_or(is_same)
    }

    pub fn note(&self, netns: NetnsId, path: &Path) {
        self.known().0.insert(netns.inode, path.to_owned());
    }

    pub fn enter<T: Send>(
        &self,
        home: NetnsId,
        hint: Option<&Path>,
        subject: impl FnOnce() -> String,
        work: impl FnOnce() -> Result<T, KernelError> + Send,
    ) -> Result<T, KernelError> {
        let mut work = Some(work);
        let found = self.visit_any(home, hint, |path| {
            self.visit(path, home, || match work.take() {
                Some(work) => work().map(Some),
                None => Ok(None),
            })
        })?;
        match found {
            Some((_, Visit::There(Some(result)))) => Ok(result),
            _ => Err(KernelError::NamespaceNotFound { subject: subject(), netns: home }),
        }
    }

    pub fn enter_known<T: Send>(
        &self,
        home: Option<NetnsId>,
        hint: Option<&Path>,
        work: impl FnOnce() -> Result<T, KernelError> + Send,
    ) -> Result<T, KernelError> {
        match home {
            Some(home) => self.enter(home, hint, || "a network namespace".to_owned(), work),
            None => netns::enter(hint, work),
        }
    }

    pub fn find(
        &self,
        home: NetnsId,
        hint: Option<&Path>,
        number: Option<NetnsNumber>,
    ) -> Result<FoundNamespace, KernelError> {
        let number = match self.held.number_of_let_go(home) {
            Some(number) => Some(NetnsNumber { table: self.identity(netns::here()?), number }),
            None => number,
        };
        match self.visit_any(home, hint, |path| self.visit(path, home, || Ok(())))? {
            Some((None, Visit::There(()))) => Ok(FoundNamespace::Own),
            Some((Some(path), Visit::There(()))) => Ok(FoundNamespace::At(path)),
            Some((_, Visit::Ended)) => Ok(FoundNamespace::Ended),
            _ if number.map_or(Ok(false), |number| self.is_number_free(home, number))? => {
                Ok(FoundNamespace::Ended)
            }
            _ => Ok(FoundNamespace::NotFound),
        }
    }

    pub fn number(&self, home: NetnsId, hint: Option<&Path>) -> Result<Option<u32>, KernelError> {
        let failed = |source| {
            KernelError::call("give a number to", format!("network namespace {}", home.inode), source)
        };
        // Open the namespace inside, but use it outside: a request changes the table of the sender's namespace.
        let file = self.enter(
            home,
            hint,
            || "a network namespace".to_owned(),
            || netns::open(Path::new("/proc/thread-self/ns/net")),
        )?;
        match netns_numbers::number_of(&file, home) {
            Ok(number) => Ok(Some(number)),
            // The daemon lacks CAP_NET_ADMIN there, or no number is free. The namespace can still be found.
            Err(error) if matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::AlreadyExists) => {
                Ok(None)
            }
            Err(error) => Err(failed(error)),
        }
    }

    pub fn all(&self) -> Vec<PathBuf> {
        Self::others(&self.search())
    }

    fn others(found: &Known) -> Vec<PathBuf> {
        let own = inode(Path::new(OWN));
        let others = found.0.iter().filter(|(inode, _)| Some(**inode) != own);
        let mut paths: Vec<PathBuf> = others.map(|(_, path)| path.clone()).collect();
        paths.sort_by_key(|path| (path.starts_with("/proc"), path.clone()));
        paths
    }

    fn visit_any<T>(
        &self,
        home: NetnsId,
        hint: Option<&Path>,
        mut visit: impl FnMut(Option<&Path>) -> Result<Visit<T>, KernelError>,
    ) -> Result<Option<Visited<T>>, KernelError> {
        if let Some(path) = hint {
            match visit(Some(path))? {
                Visit::Elsewhere => {}
                found => return Ok(Some((Some(path.to_owned()), found))),
            }
        }
        match visit(None)? {
            Visit::Elsewhere => {}
            found => return Ok(Some((None, found))),
        }
        let mut path = self.known().0.get(&home.inode).cloned();
        for search in 0..=SEARCHES {
            if let Some(known) = path {
                match visit(Some(&known))? {
                    Visit::Elsewhere => {}
                    found => return Ok(Some((Some(known), found))),
                }
            }
            let found = if search == 0 { self.search_once() } else { self.search() };
            path = found.0.get(&home.inode).cloned();
            if path.is_none() {
                break;
            }
        }
        Ok(None)
    }

    fn is_number_free(&self, home: NetnsId, number: NetnsNumber) -> Result<bool, KernelError> {
        let failed = |source| KernelError::call("list", "the numbers of network namespaces", source);
        if !is(self.identity(netns::here()?), number.table) {
            // The daemon runs in another namespace than before, with another table.
            return Ok(false);
        }
        if !netns_numbers::all().map_err(failed)?.contains(&number.number) {
            return Ok(true);
        }
        for path in Self::others(&self.search_once()) {
            let Ok(file) = netns::open(&path) else { continue };
            let found = rustix::fs::fstat(&file);
            if found.map_err(|error| failed(error.into()))?.st_ino == home.inode {
                return Ok(false);
            }
            if netns_numbers::lookup(&file).map_err(failed)? == Some(number.number) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn visit<T: Send>(
        &self,
        path: Option<&Path>,
        home: NetnsId,
        work: impl FnOnce() -> Result<T, KernelError> + Send,
    ) -> Result<Visit<T>, KernelError> {
        // Avoid starting a thread for another namespace; an unreadable hint is ignored.
        if !leads_to(path, home) {
            return Ok(Visit::Elsewhere);
        }
        if let Some(path) = path {
            match self.held.presence_at(path, home) {
                Ok(Some(true)) => {}
                Ok(Some(false)) => return Ok(Visit::Ended),
                Ok(None) | Err(KernelError::NoNamespace { .. }) => return Ok(Visit::Elsewhere),
                Err(error) => return Err(error),
            }
        }
        let visited = netns::enter(path, || {
            let here = self.identity(netns::here()?);
            if here.inode == home.inode && here.cookie == 0 && home.cookie != 0 {
                // Without a cookie, another namespace cannot be excluded.
                let source = std::io::Error::other("the kernel reports no cookie");
                return Err(KernelError::call("identify", "a network namespace", source));
            }
            match here.inode == home.inode {
                true if is(here, home) => work().map(Visit::There),
                true => Ok(Visit::Ended),
                false => Ok(Visit::Elsewhere),
            }
        });
        match visited {
            Err(KernelError::NoNamespace { .. }) => Ok(Visit::Elsewhere),
            visited => visited,
        }
    }

    /// Searches without the lock, since a path may lead to a hanging file system: other threads do not wait.
    fn search(&self) -> Known {
        let before = self.known().clone();
        let found = before.search();
        self.known().clone_from(&found);
        search_once::keep(&found.0);
        found
    }

    fn search_once(&self) -> Known {
        search_once::found().map_or_else(|| self.search(), Known)
    }

    /// A panic cannot leave the cache inconsistent.
    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub fn leads_to(path: Option<&Path>, netns: NetnsId) -> bool {
    inode(path.unwrap_or_else(|| Path::new(OWN))) == Some(netns.inode)
}

/// Returns the inode of a namespace; `None` for files of other file systems, which may have the same inode.
fn inode(path: &Path) -> Option<u64> {
    static NAMESPACES: OnceLock<Option<u64>> = OnceLock::new();
    let namespaces = NAMESPACES.get_or_init(|| std::fs::metadata(OWN).ok().map(|file| file.dev()));
    let file = std::fs::metadata(path).ok()?;
    (Some(file.dev()) == *namespaces).then(|| file.ino())
}

/// Wanted cookies are 0 in records before Linux 5.14, and in interrupted operations recorded by earlier versions.
const fn is(found: NetnsId, wanted: NetnsId) -> bool {
    found.inode == wanted.inode && (wanted.cookie == 0 || found.cookie == wanted.cookie)
}

impl Known {
    /// Searches all namespaces. If several paths lead to one, keeps the most durable one.
    fn search(self) -> Self {
        let mut found = BTreeMap::new();
        let mut add = |path: PathBuf| {
            if let Some(inode) = inode(&path) {
                found.entry(inode).or_insert(path);
            }
        };
        network_watch::names().into_iter().for_each(&mut add);
        mounts::of_namespaces().into_iter().for_each(&mut add);
        // Paths of earlier attachments, such as a symbolic link to another path.
        self.0.into_values().filter(|path| !path.starts_with("/proc")).for_each(&mut add);
        let root = processes::root();
        for pid in processes::all(&root).unwrap_or_default() {
            let process = root.join(pid.to_string());
            let file = process.join("ns/net");
            let own = inode(&file);
            add(file);
            for thread in processes::all(&process.join("task")).unwrap_or_default() {
                let file = process.join("task").join(thread.to_string()).join("ns/net");
                if thread != pid && inode(&file) != own {
                    add(file);
                }
            }
        }
        Self(found)
    }
}
