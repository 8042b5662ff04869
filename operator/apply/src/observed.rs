use std::collections::BTreeMap;

use bpfman_proto::ext::v1 as ext;
use bpfman_proto::{WirePoint, v1};

use crate::content::{CONTENT_KEY, LINK_KEY, UUID_KEY, is_pinned_form};
use crate::daemon::Daemon;
use crate::desired::{AttachmentKey, Desired, Load};
use crate::failure::{CallRefusal, Unreachable, refusal};
use crate::place::HookPlace;

#[derive(Clone, Debug, Default, PartialEq)]
pub struct ObservedPrograms {
    pub programs: Vec<ObservedProgram>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct ObservedProgram {
    pub id: u32,
    pub uid: u64,
    pub name: String,
    pub declared: String,
    pub content: String,
    pub image: String,
    pub digest: String,
    pub object_sha256: String,
    pub inherited: bool,
    /// False after a reboot if the kernel rejected the program: the daemon then has only its record.
    pub runs: bool,
    /// Parts that its load left out.
    pub warnings: Vec<String>,
    pub links: Vec<ObservedLink>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct ObservedLink {
    pub id: u32,
    pub key: AttachmentKey,
    pub uuid: String,
    pub place: HookPlace,
    pub netns: Option<String>,
    /// Attach point as requested, with its metadata.
    pub point: Option<WirePoint>,
    /// True if the attachment is as requested.
    pub runs: bool,
    /// True if the path leads to another namespace now, or the interface was moved.
    pub elsewhere: bool,
    pub state: String,
    pub attachment: String,
}

impl ObservedProgram {
    /// Returns whether the program runs in the version of this load, loaded by the same owner rather than a
    /// predecessor. `digest` is the image's current digest, if known.
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

    pub fn identity(&self) -> (&str, &str) {
        (&self.name, &self.declared)
    }
}

impl ObservedLink {
    /// Returns whether the attachment works, even if its path is outdated: its key identifies a pod's
    /// network, not the path.
    #[must_use]
    pub fn is_in_force(&self, wanted: &WirePoint) -> bool {
        self.runs || self.elsewhere && self.netns != wanted.netns()
    }
}

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

/// Returns the declared type of a manifest's name (`CgroupSkb`) or the daemon's (`cgroup_skb`).
pub fn declared(program_type: &str) -> String {
    let plain = program_type.replace('_', "").to_ascii_lowercase();
    match plain.as_str() {
        "kretprobe" => "kprobe".to_owned(),
        "uretprobe" => "uprobe".to_owned(),
        _ => plain,
    }
}

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
                warnings: program.warnings,
                links: of(kernel.id).collect(),
            })
        })
        .collect();
    programs.sort_by_key(|program| program.uid);
    ObservedPrograms { programs }
}

fn link(link: &ext::Link) -> Option<ObservedLink> {
    let key = link.metadata.get(LINK_KEY)?;
    let point = WirePoint::of_link(link);
    Some(ObservedLink {
        id: link.id,
        key: AttachmentKey(key.clone()),
        uuid: link.metadata.get(UUID_KEY).cloned().unwrap_or_default(),
        place: HookPlace::of_link(link),
        netns: point.as_ref().and_then(WirePoint::netns),
        state: link.state.clone(),
        runs: matches!(link.standing(), ext::Standing::Running | ext::Standing::Changing),
        // The daemon itself moves a probe to its path's current file: a new attachment would be a second one.
        elsewhere: link.standing() == ext::Standing::Elsewhere
            && !point.as_ref().is_some_and(WirePoint::is_in_binary),
        attachment: link.attachment.clone(),
        point,
    })
}

#[cfg(test)]
mod tests {
    use bpfman_model::ProgramType;

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
        for name in ProgramType::MANIFEST_NAMES {
            let kind = ProgramType::of_manifest(name).unwrap();
            assert_eq!(declared(name), declared(kind.name()), "{kind:?}");
            seen.insert(declared(name));
        }
        assert_eq!(
            seen.len(),
            ProgramType::MANIFEST_NAMES.len() - 2,
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

        let both = ObservedPrograms { programs: vec![running(1, true), running(2, false)] };
        assert_eq!(load_step(&load, &both, None), None);
        let versions = BTreeMap::from([("guard".to_owned(), &both.programs[1])]);
        let gone = ApplyStep::Unload { program: "guard".to_owned(), id: 1, uid: 1, instead: vec![] };
        assert_eq!(link_steps(&load, &versions, &both, true), [gone]);
    }
}
