use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::{Component, Path, PathBuf};

use super::errno::{EACCES, EEXIST, EINVAL, EISDIR, ENOENT, ENOTDIR, ENOTEMPTY, EPERM};
use super::objects::Key;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Node {
    Folder,
    Pin(Key),
}

#[derive(Debug, Default)]
pub(super) struct SimPins {
    pub nodes: BTreeMap<PathBuf, Node>,
}

type Answer<T> = Result<T, i32>;

/// Returns the path in normal form. Refuses names with a dot, which bpffs reserves.
fn clean(path: &Path) -> Answer<PathBuf> {
    let mut clean = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(name) if name.to_string_lossy().contains('.') => return Err(EPERM),
            Component::Normal(name) => clean.push(name),
            Component::CurDir | Component::RootDir => {}
            Component::ParentDir | Component::Prefix(_) => return Err(EINVAL),
        }
    }
    Ok(clean)
}

impl SimPins {
    fn node(&self, path: &Path) -> Option<Node> {
        if path.as_os_str().is_empty() { Some(Node::Folder) } else { self.nodes.get(path).copied() }
    }

    fn vacant(&self, path: &Path) -> Answer<PathBuf> {
        let path = clean(path)?;
        match path.parent().and_then(|parent| self.node(parent)) {
            Some(Node::Folder) => {}
            Some(Node::Pin(_)) => return Err(ENOTDIR),
            None => return Err(ENOENT),
        }
        if self.node(&path).is_some() { Err(EEXIST) } else { Ok(path) }
    }

    pub fn is_folder(&self, path: &Path) -> bool {
        clean(path).is_ok_and(|path| self.node(&path) == Some(Node::Folder))
    }

    pub fn make_folder(&mut self, path: &Path) -> Answer<()> {
        let path = clean(path)?;
        let mut at = PathBuf::new();
        for part in path.components() {
            at.push(part);
            match self.nodes.get(&at) {
                Some(Node::Folder) => {}
                Some(Node::Pin(_)) => return Err(EEXIST),
                None => {
                    self.nodes.insert(at.clone(), Node::Folder);
                }
            }
        }
        Ok(())
    }

    pub fn remove_folder(&mut self, path: &Path) -> Answer<()> {
        let path = clean(path)?;
        match self.nodes.get(&path) {
            None => Ok(()),
            Some(Node::Pin(_)) => Err(ENOTDIR),
            Some(Node::Folder) if self.children(&path).next().is_some() => Err(ENOTEMPTY),
            Some(Node::Folder) => {
                self.nodes.remove(&path);
                Ok(())
            }
        }
    }

    /// Returns all paths below a folder, which follow it directly in the order of paths.
    fn below<'a>(&'a self, folder: &'a Path) -> impl Iterator<Item = &'a PathBuf> {
        let behind = (Bound::Excluded(folder), Bound::Unbounded);
        self.nodes
            .range::<Path, _>(behind)
            .map(|(path, _)| path)
            .take_while(move |path| path.starts_with(folder))
    }

    fn children<'a>(&'a self, folder: &'a Path) -> impl Iterator<Item = &'a PathBuf> {
        self.below(folder).filter(move |path| path.parent() == Some(folder))
    }

    pub fn list(&self, path: &Path) -> Answer<Vec<String>> {
        let path = clean(path)?;
        let mut names: Vec<String> = self
            .children(&path)
            .filter_map(|child| Some(child.file_name()?.to_string_lossy().into_owned()))
            .collect();
        names.sort();
        Ok(names)
    }

    pub fn pin(&mut self, key: Key, path: &Path) -> Answer<()> {
        let path = self.vacant(path)?;
        self.nodes.insert(path, Node::Pin(key));
        Ok(())
    }

    pub fn get(&self, path: &Path) -> Answer<Option<Key>> {
        match self.node(&clean(path)?) {
            None => Ok(None),
            Some(Node::Pin(key)) => Ok(Some(key)),
            Some(Node::Folder) => Err(EACCES),
        }
    }

    pub fn unpin(&mut self, path: &Path) -> Answer<Option<Key>> {
        let path = clean(path)?;
        match self.node(&path) {
            None => Ok(None),
            Some(Node::Folder) => Err(EISDIR),
            Some(Node::Pin(key)) => {
                self.nodes.remove(&path);
                Ok(Some(key))
            }
        }
    }

    pub fn rename(&mut self, from: &Path, to: &Path) -> Answer<()> {
        let from = clean(from)?;
        if !self.nodes.contains_key(&from) {
            return Err(ENOENT);
        }
        let to = self.vacant(to)?;
        if to.starts_with(&from) {
            return Err(EINVAL);
        }
        let moved: Vec<PathBuf> = std::iter::once(&from).chain(self.below(&from)).cloned().collect();
        for path in moved {
            if let (Some(node), Ok(rest)) = (self.nodes.remove(&path), path.strip_prefix(&from)) {
                let path = if rest.as_os_str().is_empty() { to.clone() } else { to.join(rest) };
                self.nodes.insert(path, node);
            }
        }
        Ok(())
    }
}
