//! Probes whose target changed: a file was replaced, a process ended, a module was loaded again.

use std::io;
use std::path::Path;
use std::sync::Arc;

use bpfman_model::{AttachPoint, FileIdentity, FileReader, LinkId, Owner, ProbeReader, TargetIdentity};
use bpfmand_kernel::{FoundFile, Kernel, KernelError, ProbeTargetError};

use super::{HookCheck, Loss, Observed, Standing};
use crate::engine::file_checks::{CheckedFile, FileCheck, FoundFiles};
use crate::state::records::{LinkRecord, ProgramRecord};
use crate::state::{Changes, MapGroup, with_application};
use crate::{Engine, EngineError, paths};

impl<K: Kernel> Engine<K> {
    /// Looks up a probe's file, if it is followed. The caller holds no lock: the file system may not respond.
    pub(super) fn look_at_binary(&self, id: LinkId, found: &mut FoundFiles) -> Option<FileCheck> {
        let link = self.state().links.get(&id).cloned()?;
        let path = link.point.followed_binary()?;
        let reader = self.reader_of_checks(&link)?;
        let owner = self.group_of_link(&link)?;
        let recorded = file_of(&link);
        let file = CheckedFile { owner: &owner, target: path, reader: reader.as_ref(), recorded };
        Some(self.file_looks.look_in_check(&self.kernel, file, found))
    }

    /// Returns the owner against whose limit the checks of a link count.
    fn group_of_link(&self, link: &LinkRecord) -> Option<MapGroup> {
        let program = self.record(link.program)?;
        Some(MapGroup::of(&link.owner(&program), &with_application(&link.metadata, &program.metadata)))
    }

    /// Returns the user with whose rights the file of a link is looked for; the inner `None` stands for root. A record
    /// of an earlier version has no user: only files that everybody may read count for it, unless it is root's.
    fn reader_of_checks(&self, link: &LinkRecord) -> Option<Option<FileReader>> {
        match &link.reader {
            ProbeReader::Caller(reader) => return Some(Some(reader.clone())),
            ProbeReader::Root => return Some(None),
            ProbeReader::Unknown => {}
        }
        let program = self.record(link.program)?;
        let everybody = || FileReader { uid: NOBODY, gid: NOBODY, ..FileReader::default() };
        Some((link.owner(&program) != Owner::Root).then(everybody))
    }

    /// Moves a probe to the file that its path leads to now, then ends it in the old file. The caller holds the link.
    pub(super) fn check_binary(
        &self,
        link: &Arc<LinkRecord>,
        look: Option<FileCheck>,
    ) -> Result<HookCheck, EngineError> {
        let (Some(look), Some(path)) = (look, link.point.followed_binary()) else {
            return Ok(HookCheck::Right);
        };
        let left = |is_there| Standing::OldFile { path: path.to_owned(), is_there, why: None };
        let as_before = || {
            let state = self.state();
            let known = state.drifted_links.get(&link.id);
            let known = known.filter(|known| matches!(known, Standing::OldFile { .. }));
            known.cloned().map_or(HookCheck::Right, HookCheck::Lost)
        };
        let (now, is_local) = match look {
            FileCheck::Unanswered | FileCheck::NotLooked => return Ok(as_before()),
            // This user must not learn whether another file is there, or none.
            FileCheck::Absent(KernelError::CannotProbe {
                reason: ProbeTargetError::Unreadable { uid, .. },
                ..
            }) => {
                let why = self.check_reader_is_known(link).err().unwrap_or_else(|| not_readable(uid, path));
                return Ok(HookCheck::Lost(left(true).because(&why)));
            }
            FileCheck::Absent(error) if self.file_looks.note_absence(link.id) => {
                return Ok(HookCheck::Lost(left(false).because(&error.into())));
            }
            FileCheck::Absent(_) => return Ok(as_before()),
            FileCheck::Found(FoundFile { identity, is_local }) => {
                self.file_looks.forget_absence(link.id);
                match file_of(link) {
                    Some(then) if *then == identity => return Ok(HookCheck::Right),
                    Some(_) => (identity, is_local),
                    None => {
                        self.learn_file(link, identity)?;
                        return Ok(HookCheck::Right);
                    }
                }
            }
        };
        if self.file_looks.has_failed(link.id, &now) {
            return Ok(as_before());
        }
        self.step("check", "attach to new file");
        let moved = self
            .check_reader_is_known(link)
            .and_then(|()| check_is_local(path, is_local))
            .and_then(|()| self.reattach(link));
        Ok(match moved {
            Ok(()) => HookCheck::Mended(left(true)),
            Err(error) => {
                // Only another file can change these results.
                if matches!(
                    error,
                    EngineError::Denied(_) | EngineError::Kernel(KernelError::CannotProbe { .. })
                ) {
                    self.file_looks.note_failure(link.id, now);
                }
                HookCheck::Lost(left(true).because(&error))
            }
        })
    }

    /// Moves the link into place: while it is below `pending`, the link that it replaces runs too.
    pub(crate) fn finish_reattach(&self, link: &LinkRecord) -> Result<(), EngineError> {
        let operation = link.operation.to_string();
        let is_left = link.targets.iter().any(|target| !matches!(target, TargetIdentity::Group { .. }))
            && self.kernel.list_folder(Path::new(paths::PENDING))?.contains(&operation);
        if is_left { self.place_link(link) } else { Ok(()) }
    }

    /// Adds the file to the record of an earlier version, so that it is followed.
    fn learn_file(&self, link: &LinkRecord, file: FileIdentity) -> Result<(), EngineError> {
        let mut targets = link.targets.clone();
        targets.push(TargetIdentity::File(file));
        let mut changes = Changes::default();
        changes.put_link(Arc::new(LinkRecord { targets, ..link.clone() }));
        self.commit(changes).map(drop)
    }

    /// Returns the probe's user; `None` for root. Fails if an older record lacks it and the owner is not root.
    pub(crate) fn reader_of<'l>(
        &self,
        program: &ProgramRecord,
        link: &'l LinkRecord,
    ) -> Result<Option<&'l FileReader>, EngineError> {
        match (&link.reader, link.owner(program)) {
            (ProbeReader::Caller(reader), _) => Ok(Some(reader)),
            (ProbeReader::Root, _) | (ProbeReader::Unknown, Owner::Root) => Ok(None),
            (ProbeReader::Unknown, owner) => Err(EngineError::Denied(format!(
                "the record of an earlier version does not have the rights of {owner} to files: detach link {}, and \
                 attach its program again",
                link.id
            ))),
        }
    }

    fn check_reader_is_known(&self, link: &LinkRecord) -> Result<(), EngineError> {
        if link.point.binary().is_none() {
            return Ok(());
        }
        let program = self.record(link.program).ok_or(EngineError::NoLink(link.id))?;
        self.reader_of(&program, link).map(drop)
    }

    /// Refuses a process that the record of an earlier version identifies only by its number.
    pub(crate) fn check_processes_are_known(&self, link: &LinkRecord) -> Result<(), EngineError> {
        let is_known = |pid: &u32| {
            let is_it = |target: &TargetIdentity| matches!(target, TargetIdentity::Process(known) if known.pid == *pid);
            link.targets.iter().any(is_it)
        };
        // In a record of an earlier version, the guard has verified the process.
        match link.guard.is_some() || link.point.processes().iter().all(is_known) {
            true => Ok(()),
            false => Err(EngineError::EarlierProcess { link: link.id, point: link.point.to_string() }),
        }
    }

    /// Refuses to attach a probe again if its process has ended, its file system does not respond, its offset is of
    /// another file, or its user may not read the file now. Every function that attaches a recorded link again calls
    /// this first.
    pub(crate) fn check_probe_again(&self, link: &LinkRecord) -> Result<(), EngineError> {
        self.check_reader_is_known(link)?;
        if self.ended_process(link).is_some() {
            return Err(EngineError::EarlierProcess { link: link.id, point: link.point.to_string() });
        }
        if let Some((target, scope)) = link.point.binary() {
            let reader = self.reader_of_checks(link).ok_or(EngineError::NoLink(link.id))?;
            let owner = self.group_of_link(link).ok_or(EngineError::NoLink(link.id))?;
            let file =
                CheckedFile { owner: &owner, target, reader: reader.as_ref(), recorded: file_of(link) };
            match self.file_looks.look(&self.kernel, file, scope) {
                // A file system that does not respond, such as a container's, must not block a start or the check of
                // others.
                FileCheck::Unanswered => {
                    let source = io::Error::new(io::ErrorKind::TimedOut, "its file system does not answer");
                    return Err(
                        KernelError::Call { action: "look at", subject: target.to_owned(), source }.into()
                    );
                }
                FileCheck::Found(found) if file_of(link).is_some_and(|then| *then != found.identity) => {
                    check_is_by_name(link, target)?;
                }
                FileCheck::Found(_) | FileCheck::Absent(_) | FileCheck::NotLooked => {}
            }
        }
        let (Some(path), ProbeReader::Caller(reader)) = (link.point.followed_binary(), &link.reader) else {
            return Ok(());
        };
        // A library is looked for among files that this user may read.
        if !path.starts_with('/') {
            return Ok(());
        }
        match self.kernel.first_hidden(reader, &[path.into()], true)? {
            None => Ok(()),
            Some(_) => Err(not_readable(reader.uid, path)),
        }
    }

    fn ended_process(&self, link: &LinkRecord) -> Option<u32> {
        if link.boot != self.boot {
            return link.point.processes().first().copied();
        }
        link.targets.iter().find_map(|target| match target {
            TargetIdentity::Process(process)
                if self.kernel.process_began(process.pid) != Some(process.began) =>
            {
                Some(process.pid)
            }
            _ => None,
        })
    }

    pub(super) fn with_target(
        &self,
        link: &LinkRecord,
        observed: Observed<K::Handle>,
    ) -> Observed<K::Handle> {
        if !matches!(observed.standing, Standing::Running | Standing::Unpinned) {
            return observed;
        }
        match self.gone_target(link) {
            Some(standing) => Observed { standing, program: None, ..observed },
            None => observed,
        }
    }

    fn gone_target(&self, link: &LinkRecord) -> Option<Standing> {
        if let Some(pid) = self.ended_process(link) {
            return Some(Standing::Ended { pid });
        }
        if link.boot != self.boot {
            return None;
        }
        link.targets.iter().find_map(|target| {
            let TargetIdentity::Module(module) = target else { return None };
            let name = module.name.clone();
            match self.kernel.module_inode(&module.name) {
                Some(inode) if inode == module.inode => None,
                Some(_) => Some(Standing::lost(Loss::ModuleReloaded { name })),
                None => Some(Standing::ModuleGone { name }),
            }
        })
    }
}

const NOBODY: u32 = 65_534;

fn not_readable(uid: u32, path: &str) -> EngineError {
    EngineError::Denied(format!("user {uid} attached it, and may not read {path} as it is now"))
}

/// Refuses a remote file system, which may stop responding during the lookup of functions.
fn check_is_local(path: &str, is_local: bool) -> Result<(), EngineError> {
    match is_local {
        true => Ok(()),
        false => Err(EngineError::Denied(format!(
            "{path} is on a file system of another machine or of a process (NFS, FUSE), which may stop answering: detach the \
             link, and attach its program again"
        ))),
    }
}

/// Refuses an offset in another file: inside an instruction, it would crash each process that reaches it.
fn check_is_by_name(link: &LinkRecord, path: &str) -> Result<(), EngineError> {
    match &link.point {
        AttachPoint::Uprobe { function: None, .. } => {}
        AttachPoint::Uprobe { offset, .. } if *offset != 0 => {}
        _ => return Ok(()),
    }
    Err(EngineError::Denied(format!(
        "its offset is of the file that was at {path} when it was attached: detach link {}, and attach its program with an offset \
         of the new file",
        link.id
    )))
}

fn file_of(link: &LinkRecord) -> Option<&FileIdentity> {
    link.targets.iter().find_map(|target| match target {
        TargetIdentity::File(file) => Some(file),
        _ => None,
    })
}
