//! State of an application in the daemon.

use std::collections::BTreeMap;

use bpfman_proto::ext::v1 as ext;
use bpfman_proto::v1;

use crate::content::{CONTENT_KEY, LINK_KEY, UUID_KEY, is_pinned_form};
use crate::daemon::Daemon;
use crate::desired::{AttachmentKey, Desired, Load};
use crate::failure::{CallRefusal, Unreachable, refusal};
use crate::place::HookPlace;
use crate::wanted_point::WantedPoint;

/// All programs of one owner and of its predecessors, in the order in which they were loaded.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ObservedPrograms {
    pub programs: Vec<ObservedProgram>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct ObservedProgram {
    pub id: u32,
    /// Uid in the daemon: later programs have greater ones.
    pub uid: u64,
    pub name: String,
    /// Declared type: `kprobe` also for a return probe.
    pub declared: String,
    pub content: String,
    /// Name by which its image was loaded; empty if it came from a file.
    pub image: String,
    /// Digest of its image; empty if it came from a file.
    pub digest: String,
    pub object_sha256: String,
    /// True if it was loaded for a predecessor of the owner.
    pub inherited: bool,
    /// True if the kernel has it. After a reboot, the daemon has only the record of programs that the kernel
    /// rejected.
    pub runs: bool,
    pub links: Vec<ObservedLink>,
}

/// Attachment that this crate made.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ObservedLink {
    pub id: u32,
    pub key: AttachmentKey,
    pub uuid: String,
    pub place: HookPlace,
    pub netns: Option<String>,
    /// Attach point as requested, with its metadata.
    pub point: Option<WantedPoint>,
    /// True if the attachment is as requested.
    pub runs: bool,
    /// True if it runs where its attach point no longer leads: the path leads to another namespace now, or the
    /// interface was moved.
    pub elsewhere: bool,
    /// Other difference from the request, for people.
    pub state: String,
    /// Description of the attachment in one line, for people.
    pub attachment: String,
}

impl ObservedProgram {
    /// Returns whether it is the wanted version and runs under its own owner; a program loaded for a predecessor
    /// would be looked up under the predecessor's uid. `digest` is the one that the image's tag currently resolves
    /// to, if known.
    pub fn is_current(&self, load: &Load, digest: Option<&str>) -> bool {
        let pinned = || {
            is_pinned_form(
                (&load.request, load.values.as_ref()),
                load.pull_policy,
                &self.content,
                (&self.image, &self.digest),
            )
        };
        self.runs
            && !self.inherited
            && (self.content == load.content || pinned())
            && digest.is_none_or(|digest| digest == self.digest)
            && load.object_sha256.as_ref().is_none_or(|sha256| *sha256 == self.object_sha256)
    }

    /// Returns name and declared type, which stay the same over versions.
    pub fn identity(&self) -> (&str, &str) {
        (&self.name, &self.declared)
    }
}

impl ObservedLink {
    /// Returns whether it is in force where it is wanted. The key of a pod's link contains the identity of the pod's
    /// network. If the network has another path now, the link's old path is no evidence: its process id may have been
    /// reused.
    #[must_use]
    pub fn is_in_force(&self, wanted: &WantedPoint) -> bool {
        self.runs || self.elsewhere && self.netns != wanted.netns()
    }
}

/// Returns the latest program of each name and type.
pub fn latest<'a>(
    programs: impl IntoIterator<Item = &'a ObservedProgram>,
) -> BTreeMap<(&'a str, &'a str), &'a ObservedProgram> {
    let mut latest = BTreeMap::new();
    for program in programs {
        let there = latest.entry(program.identity()).or_insert(program);
        if there.uid < program.uid {
            *there = program;
        }
    }
    latest
}

/// Returns the declared type for a name in a manifest (`CgroupSkb`) or the daemon's name (`cgroup_skb`).
pub fn declared(program_type: &str) -> String {
    let plain = program_type.replace('_', "").to_ascii_lowercase();
    match plain.as_str() {
        "kretprobe" => "kprobe".to_owned(),
        "uretprobe" => "uprobe".to_owned(),
        _ => plain,
    }
}

/// Queries the daemon, with two calls for the owner and for each predecessor.
pub async fn observe(
    daemon: &Daemon,
    desired: &Desired,
) -> Result<Result<ObservedPrograms, CallRefusal>, Unreachable> {
    let mut all = match of_owner(daemon, &desired.owner.uid).await? {
        Ok(seen) => seen,
        Err(refusal) => return Ok(Err(refusal)),
    };
    for uid in &desired.predecessors {
        match of_owner(daemon, uid).await? {
            Ok(seen) => all.programs.extend(
                seen.programs.into_iter().map(|program| ObservedProgram { inherited: true, ..program }),
            ),
            Err(refusal) => return Ok(Err(refusal)),
        }
    }
    all.programs.sort_by_key(|program| program.uid);
    Ok(Ok(all))
}

async fn of_owner(daemon: &Daemon, uid: &str) -> Result<Result<ObservedPrograms, CallRefusal>, Unreachable> {
    let pair = || std::collections::HashMap::from([(UUID_KEY.to_owned(), uid.to_owned())]);
    let select = v1::ListRequest { match_metadata: pair(), ..Default::default() };
    let request = ext::ListProgramsRequest { select: Some(select), ..Default::default() };
    let programs = match daemon.ext().list_programs(request).await {
        Ok(answer) => answer.into_inner().programs,
        Err(status) => return refusal(daemon, &status).map(Err),
    };
    if programs.is_empty() {
        return Ok(Ok(ObservedPrograms::default()));
    }
    let request = ext::ListLinksRequest { match_metadata: pair(), ..Default::default() };
    let links = match daemon.ext().list_links(request).await {
        Ok(answer) => answer.into_inner().links,
        Err(status) => return refusal(daemon, &status).map(Err),
    };
    Ok(Ok(gather(programs, &links)))
}

/// Joins programs with the links that this crate made for them. Links that others made to these programs are ignored.
fn gather(programs: Vec<ext::Program>, links: &[ext::Link]) -> ObservedPrograms {
    let of = |id| links.iter().filter(move |link| link.program_id == id).filter_map(link);
    let mut programs: Vec<ObservedProgram> = programs
        .into_iter()
        .filter_map(|program| {
            let runs = program.standing() == ext::Standing::Running;
            let (info, kernel) = (program.info?, program.kernel_info?);
            Some(ObservedProgram {
                id: kernel.id,
                uid: program.uid,
                name: info.name,
                declared: declared(&program.program_type),
                content: info.metadata.get(CONTENT_KEY).cloned().unwrap_or_default(),
                image: match info.bytecode.and_then(|bytecode| bytecode.location) {
                    Some(v1::bytecode_location::Location::Image(image)) => image.url,
                    _ => String::new(),
                },
                digest: program.image_digest,
                object_sha256: program.bytecode_sha256,
                inherited: false,
                runs,
                links: of(kernel.id).collect(),
            })
        })
        .collect();
    programs.sort_by_key(|program| program.uid);
    ObservedPrograms { programs }
}

fn link(link: &ext::Link) -> Option<ObservedLink> {
    let key = link.metadata.get(LINK_KEY)?;
    let point = WantedPoint::of_link(link);
    Some(ObservedLink {
        id: link.id,
        key: AttachmentKey(key.clone()),
        uuid: link.metadata.get(UUID_KEY).cloned().unwrap_or_default(),
        place: HookPlace::of_link(link),
        netns: point.as_ref().and_then(WantedPoint::netns),
        state: link.state.clone(),
        runs: link.standing() == ext::Standing::Running,
        // The daemon itself moves a probe to the file that its path leads to now: a new attachment would be a second
        // one.
        elsewhere: link.standing() == ext::Standing::Elsewhere
            && !point.as_ref().is_some_and(WantedPoint::is_in_binary),
        attachment: link.attachment.clone(),
        point,
    })
}

#[cfg(test)]
mod tests {
    use bpfman_application::program_type::ClusterProgramType;

    use super::*;
    use crate::desired::Program;
    use crate::step::{ApplyStep, link_steps, load_step};

    #[test]
    fn a_probe_in_an_old_file_is_left_to_the_daemon() {
        use v1::attach_info::Info;
        let elsewhere = |info| {
            let attach_info = Some(v1::AttachInfo { info: Some(info) });
            let metadata = [(LINK_KEY.to_owned(), "key".to_owned())].into();
            let standing = ext::Standing::Elsewhere.into();
            link(&ext::Link { attach_info, metadata, standing, ..ext::Link::default() }).unwrap().elsewhere
        };
        assert!(!elsewhere(Info::UprobeAttachInfo(v1::UprobeAttachInfo::default())));
        assert!(elsewhere(Info::XdpAttachInfo(v1::XdpAttachInfo::default())));
    }

    #[test]
    fn a_manifest_and_the_daemon_mean_the_same_type() {
        let mut seen = std::collections::BTreeSet::new();
        for kind in ClusterProgramType::ALL {
            assert_eq!(declared(kind.name()), declared(kind.exact()), "{kind:?}");
            seen.insert(declared(kind.exact()));
        }
        assert_eq!(
            seen.len(),
            ClusterProgramType::ALL.len() - 2,
            "return probes are declared as their entry probes"
        );
    }

    #[test]
    fn program_loaded_for_another_owner_is_replaced_even_if_equal() {
        let program = Program {
            name: "guard".to_owned(),
            program_type: "XDP",
            links: BTreeMap::new(),
            problems: Vec::new(),
            unmatched: Vec::new(),
            unknown: Default::default(),
        };
        let load = Load { content: "v1".to_owned(), programs: vec![program], ..Load::default() };
        let running = |id, inherited| ObservedProgram {
            id,
            uid: id.into(),
            name: "guard".to_owned(),
            declared: "xdp".to_owned(),
            content: "v1".to_owned(),
            runs: true,
            inherited,
            ..ObservedProgram::default()
        };
        let before = ObservedPrograms { programs: vec![running(1, true)] };
        let step = load_step(&load, &before, None);
        assert!(
            matches!(&step, Some(ApplyStep::Replace { old, why }) if old == &[1] && why.contains("another object"))
        );

        // The remaining old program is unloaded beside the new one.
        let both = ObservedPrograms { programs: vec![running(1, true), running(2, false)] };
        assert_eq!(load_step(&load, &both, None), None);
        let versions = BTreeMap::from([("guard".to_owned(), &both.programs[1])]);
        let gone = ApplyStep::Unload { program: "guard".to_owned(), id: 1, uid: 1, instead: vec![] };
        assert_eq!(link_steps(&load, &versions, &both, true), [gone]);
    }
}
