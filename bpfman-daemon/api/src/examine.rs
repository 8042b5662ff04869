//! Health findings that only the daemon can detect, for `bpfman doctor`.

use bpfman_model::{Hint, ProgramId};
use bpfman_proto::ext::v1::{HealthFinding, HealthNote};
use bpfmand_kernel::Kernel;

use crate::authorize::PolicyHealth;
use crate::examine_machine::{clock, disk, kernel};
use crate::server::Api;

pub(crate) fn finding(class: &str, subject: &str, what: String, why: &str, fix: &Hint) -> HealthFinding {
    HealthFinding {
        class: class.to_owned(),
        subject: subject.to_owned(),
        what,
        why: why.to_owned(),
        fix: fix.command().unwrap_or_default(),
    }
}

impl<K: Kernel> Api<K> {
    pub(crate) fn examined(&self) -> Vec<HealthFinding> {
        let mut found = Vec::new();
        if let Some(why) = self.gate.closed() {
            found.push(finding(
                "detached",
                "break-glass",
                why,
                "nothing of bpfman is attached, and nothing may be changed",
                &Hint::EndBreakGlass,
            ));
        }
        if !self.engine.takes_changes() {
            found.push(finding(
                "store",
                &self.paths.state.join("store").display().to_string(),
                "it is unknown whether the last change is on disk".to_owned(),
                "changes are refused until the records are read again",
                &Hint::RestartDaemon,
            ));
        }
        if let Some(left) = self.engine.few_numbers_left() {
            found.push(finding(
                "store",
                &self.paths.state.join("store").display().to_string(),
                left,
                "nothing can be loaded or attached once they are used up; only an empty state folder begins at 1 again",
                &Hint::ListLinks,
            ));
        }
        for folder in [&self.paths.state, &self.paths.runtime] {
            found.extend(disk(folder));
        }
        if let Err(error) = self.engine.check_pins() {
            found.push(finding(
                "kernel",
                "bpffs",
                error.to_string(),
                "programs run on; who looks for their pins does not find them",
                &Hint::RestartDaemon,
            ));
        }
        if self.worker_check.as_ref().is_some_and(|are_able| !are_able()) {
            found.push(finding(
                "kernel",
                "helpers",
                "the process that starts others has ended, and there is none without the daemon's next start"
                    .to_owned(),
                "every load is refused, and a program whose text is not kept joins no chain",
                &Hint::RestartDaemon,
            ));
        }
        found.extend(kernel());
        found.extend(self.engine.unfinished().into_iter().map(|what| {
            let why = "it is tried again with each change";
            finding("unfinished", "operation", what, why, &Hint::RestartDaemon)
        }));
        found.extend(self.engine.hidden_concerns().into_iter().map(|concern| {
            let fix = Hint::Explain { hook: concern.hook.clone() };
            let why = "it is tried again with each check of all hooks";
            finding("drift", &concern.hook, concern.what, why, &fix)
        }));
        found.extend(self.engine.links_that_send_copies().into_iter().map(|(link, concern)| {
            let why = "no chain holds its copies back: load it as type tc, or without bpf_clone_redirect";
            finding("drift", &concern.hook, concern.what, why, &Hint::Detach(link))
        }));
        found.extend(self.engine.broken_orders().into_iter().map(|(link, concern)| {
            let why = "bpfman moves no link while others change: detach and attach it again, or leave it";
            finding("drift", &format!("link {link}"), concern.what, why, &Hint::GetLink(link))
        }));
        found.extend(self.engine.chains_without_barriers().into_iter().map(|concern| {
            let fix = Hint::ShowChain { hook: concern.hook.clone() };
            let why = "a program of a tenant there may read memory of the kernel by speculation";
            finding("kernel", &concern.hook, concern.what, why, &fix)
        }));
        found.extend(self.engine.slot_concerns().into_iter().map(|concern| {
            let why = "a slot of an array of programs has no program once the one that filled it is unloaded: load its object \
                       again, with all programs";
            let subject = format!("program {}", concern.program);
            finding("drift", &subject, concern.what, why, &Hint::Unload(concern.program))
        }));
        let health = self.access.health();
        examine_policy(&health, &mut found);
        find_users_fault(&health, &mut found);
        if let Some(why) = self.load_gate.why_open() {
            found.push(finding(
                "policy",
                "gate",
                format!("it stands open: {why}"),
                "others than the daemon load eBPF programs, though [gate] of bpfman.toml forbids it",
                &Hint::ReadLog,
            ));
        }
        self.examine_journal(&mut found);
        found
    }

    fn examine_journal(&self, found: &mut Vec<HealthFinding>) {
        let (Some(standing), Some(reader)) = (self.journal.standing(), self.journal.reader()) else { return };
        let folder = self.paths.state.join("journal").display().to_string();
        if !standing.failure.is_empty() {
            found.push(finding(
                "history",
                &folder,
                format!("entries cannot be written: {}; {} are lost", standing.failure, standing.lost),
                "changes go on, and it will be unknown who made them",
                &Hint::FreeSpace(folder.clone().into()),
            ));
        }
        // The active file may be new while the others are full.
        if standing.bytes > standing.most_bytes.saturating_mul(2) {
            found.push(finding(
                "history",
                &folder,
                format!("it has {} bytes, and is to have {} at most", standing.bytes, standing.most_bytes),
                "the disk fills up",
                &Hint::RestartDaemon,
            ));
        }
        match reader.page(None, "", 1, |_| true) {
            Ok(page) => {
                found.extend(page.entries.first().and_then(|last| clock(&last.time)));
            }
            Err(error) => found.push(finding(
                "history",
                &folder,
                error.to_string(),
                "who changed what cannot be shown",
                &Hint::FileOwners(folder.clone().into()),
            )),
        }
    }
}

fn examine_policy(health: &PolicyHealth, found: &mut Vec<HealthFinding>) {
    let file = health.file.display().to_string();
    if let Some(mistakes) = &health.mistakes {
        let fix = Hint::CheckPolicy(Some(health.file.clone()));
        found.push(finding("policy", &file, mistakes.clone(), &health.in_force, &fix));
    }
    if let Some(failure) = &health.copy_failure {
        found.push(finding(
            "policy",
            &file,
            format!("the policy in force is not kept on the disk: {failure}"),
            "after a mistake in the file and a restart it does not hold",
            &Hint::Doctor,
        ));
    }
}

pub(crate) fn find_users_fault(health: &PolicyHealth, found: &mut Vec<HealthFinding>) {
    let Some(failure) = &health.users_failure else { return };
    found.push(finding(
        "policy",
        "/etc/subuid",
        format!("ranges of subordinate users are not read: {failure}"),
        "connections of their users count by the ranges that were read before",
        &Hint::Doctor,
    ));
}

pub(crate) fn notes(health: &PolicyHealth, unbounded: Vec<(ProgramId, String)>) -> Vec<HealthNote> {
    let unbounded = unbounded.into_iter().map(|(program, why)| HealthNote {
        subject: format!("program {program}"),
        what: format!("it runs as an earlier version accepted it, and could not be loaded now: {why}"),
    });
    let removed = health.removed.as_ref().map(|removed| HealthNote {
        subject: health.file.display().to_string(),
        what: format!(
            "it was removed ({removed}), and the default policy is in force: no grants, and no images"
        ),
    });
    removed.into_iter().chain(unbounded).collect()
}
