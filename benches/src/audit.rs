use std::sync::mpsc::channel;
use std::time::Instant;

use bpfman_model::{GroupPath, HookKind, Interface, Owner, Peer, ProgramId};
use bpfmand_access::{AccessObject, AccessPolicy, AccessVerb, Grant, GrantCallers, HookPattern, OwnedObject};
use bpfmand_journal::{EntryActor, HistoryEntry, Journal, JournalSettings, JournalSync};

use crate::samples::{Results, ms};

const ROUNDS: usize = 2000;
const GRANTS: u32 = 50;

pub fn run() -> anyhow::Result<()> {
    let mut results = Results::new("audit")?;
    results.add("decide, 50 grants, the last allows", "ms", decisions(true)?)?;
    results.add("decide, 50 grants, denied with its reason", "ms", decisions(false)?)?;
    let disk = tempfile::tempdir_in(crate::samples::folder()?)?;
    for (name, sync) in [
        ("journal an entry, until it is in its file", JournalSync::Kernel),
        ("journal an entry, until it is on the disk", JournalSync::Disk),
    ] {
        let folder = disk.path().join(format!("journal-{sync:?}"));
        results.add(name, "ms", entries(JournalSettings { sync, ..JournalSettings::new(folder) })?)?;
    }
    Ok(())
}

fn peer() -> Peer {
    let cgroup = Some(GroupPath::new("/system.slice/netops.service", 2, None));
    Peer { uid: 1000, gid: 1000, pid: Some(4711), cgroup, ..Peer::default() }
}

fn policy() -> anyhow::Result<AccessPolicy> {
    let grant = |number: u32| -> anyhow::Result<Grant> {
        Ok(Grant {
            name: format!("team-{number}"),
            callers: GrantCallers { users: [1000].into(), ..GrantCallers::default() },
            verbs: [AccessVerb::Attach].into(),
            hooks: Some(vec![format!("xdp:eth{number}").parse::<HookPattern>()?]),
            over_all: true,
            ..Grant::default()
        })
    };
    let grants = (1..=GRANTS).map(grant).collect::<anyhow::Result<_>>()?;
    Ok(AccessPolicy { grants, ..AccessPolicy::default() })
}

fn decisions(allowed: bool) -> anyhow::Result<Vec<f64>> {
    let (policy, peer) = (policy()?, peer());
    let name = if allowed { format!("eth{GRANTS}") } else { "other0".to_owned() };
    let interface = Interface { name, netns: None };
    let objects = [
        AccessObject::Hook { kind: HookKind::Xdp, interface: &interface, in_callers_netns: false },
        AccessObject::Priority(200),
        AccessObject::Owned { thing: OwnedObject::Program(ProgramId(7)), owner: &Owner::Root },
    ];
    let mut samples = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        let start = Instant::now();
        let decided = policy.decide(&peer, AccessVerb::Attach, &objects);
        samples.push(ms(start));
        anyhow::ensure!(decided.is_ok() == allowed, "the case measures something else: {decided:?}");
    }
    Ok(samples)
}

fn entries(settings: JournalSettings) -> anyhow::Result<Vec<f64>> {
    let journal = Journal::open(settings)?;
    let mut samples = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        let (told, written) = channel();
        let start = Instant::now();
        let entry = HistoryEntry {
            by: EntryActor::of(&peer()),
            verb: "Attach".to_owned(),
            object: "program 7 at xdp eth0".to_owned(),
            programs: vec![7],
            links: vec![12],
            hooks: vec!["xdp:eth0".to_owned()],
            made: "link 12".to_owned(),
            grant: "team-50".to_owned(),
            owners: vec!["grant:team-50".to_owned()],
            after: "program 7 wall of sha256:0123456789abcdef at xdp eth0, priority 200".to_owned(),
            ..HistoryEntry::default()
        };
        journal.record(
            entry,
            Some(Box::new(move || {
                let _nobody_waits = told.send(());
            })),
        );
        written.recv()?;
        samples.push(ms(start));
    }
    Ok(samples)
}
