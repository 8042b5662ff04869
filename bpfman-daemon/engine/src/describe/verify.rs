//! Verification of a running chain: it is built again from its members' bytecode and compared with the kernel.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use bpfman_model::{
    HookKind, Interface, LinkId, MapId, ProgramFacts, ProgramId, ProgramUid, hexadecimal, map_type,
};
use bpfmand_kernel::Kernel;
use bpfmand_object::kernel_tags;
use bpfmand_splice::{Bindings, Splice, Timing, compile, plan};
use bpfmand_store::FileError;

use crate::chain::build::{Joined, Wanted, held_texts};
use crate::chain::empty;
use crate::chain::load::program_name;
use crate::engine::locks::Subject;
use crate::engine::members::MemberText;
use crate::state::Standing;
use crate::state::chain_record::ChainRecord;
use crate::state::records::{HookRecord, ProgramRecord, SourceRecord};
use crate::{Engine, EngineError, paths};

/// Result of the verification of a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainVerification {
    /// Hook, as commands name it.
    pub hook: String,
    pub parts: Vec<VerifiedPart>,
}

impl ChainVerification {
    #[must_use]
    pub fn matches(&self) -> bool {
        self.parts.iter().all(|part| part.matches)
    }
}

/// Comparison of one part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedPart {
    /// Name of the part, for example "program 2 of 3" or "member firewall".
    pub part: String,
    /// Value built from the members' bytecode, or recorded.
    pub expected: String,
    /// Value in the kernel.
    pub found: String,
    /// True if both are equal.
    pub matches: bool,
    /// Image digest with rule and signer, or the file; empty if the part has no bytecode.
    pub provenance: String,
}

impl VerifiedPart {
    fn of(part: impl Into<String>, expected: impl Into<String>, found: impl Into<String>) -> Self {
        let (expected, found) = (expected.into(), found.into());
        Self { part: part.into(), matches: expected == found, expected, found, provenance: String::new() }
    }
}

struct Code {
    tags: Vec<[u8; 8]>,
    maps: Vec<MapId>,
}

const ROUNDS: usize = 4;

type Made = Result<MemberText, FileError>;

/// Members' texts, made again from their bytecode before the hook was locked.
#[derive(Default)]
struct Fresh(BTreeMap<ProgramUid, (Arc<ProgramRecord>, Made)>);

impl Fresh {
    fn has(&self, program: &Arc<ProgramRecord>) -> bool {
        self.0.get(&program.uid).is_some_and(|(of, _)| Arc::ptr_eq(of, program))
    }

    fn of(&self, program: &ProgramRecord) -> Result<&Made, EngineError> {
        let found = self.0.get(&program.uid).map(|(_, made)| made);
        found.ok_or_else(|| EngineError::Fault(format!("the text of program {} was not made", program.id)))
    }
}

impl<K: Kernel> Engine<K> {
    /// Builds a hook's chain from its members' bytecode and compares tags and maps with the kernel's. Nothing is
    /// loaded; a difference is not an error. The tag is 64 bits of a hash: it proves the members, unless someone
    /// searched for a collision, and does not cover the contents of maps.
    pub fn verify_chain(
        &self,
        interface: &Interface,
        kind: HookKind,
        seen: Option<&[LinkId]>,
    ) -> Result<ChainVerification, EngineError> {
        let key = self.hook_by_name(interface, kind)?;
        let text = key.kind.at(interface);
        let mut fresh = Fresh::default();
        let mut rounds = 0..ROUNDS;
        let (_lock, links, hook, members) = loop {
            if rounds.next().is_none() {
                return Err(EngineError::MembersChange { hook: text });
            }
            // Read bytecode without the lock, so that a slow reader does not block others.
            for member in self.joined(&self.running_members(&key))? {
                if !fresh.has(&member.program) {
                    let made = self.made_again(&member.program)?;
                    fresh.0.insert(member.program.uid, (member.program, made));
                }
            }
            let lock = self.lock(Subject::Hook(key));
            self.ensure_members(&key, seen)?;
            let (links, hook) = self.hook_of(&key);
            let members = self.joined(&self.running_members(&key))?;
            if members.iter().all(|member| fresh.has(&member.program)) {
                break (lock, links, hook, members);
            }
        };
        let mut parts = Vec::new();
        for member in &members {
            parts.extend(self.verify_member(&member.program, fresh.of(&member.program)?)?);
        }
        let Some(hook) = hook else {
            if links.is_empty() {
                return Err(EngineError::NoChain { hook: text });
            }
            for link in &links {
                let standing = self.held_link(link.id)?.standing;
                let expected = Standing::Running.to_string();
                parts.push(VerifiedPart::of(format!("link {}", link.id), expected, standing.to_string()));
            }
            return Ok(ChainVerification { hook: text, parts });
        };
        parts.push(self.verify_entry(&hook)?);
        if let Some(chain) = &hook.chain {
            self.verify_programs(&hook, chain, (&members, &fresh), &mut parts)?;
            self.verify_maps(chain, &mut parts)?;
        }
        Ok(ChainVerification { hook: text, parts })
    }

    fn made_again(&self, program: &ProgramRecord) -> Result<Made, EngineError> {
        if !program.is_adopted()
            && let Err(changed) = self.blobs.get(&program.blob)
        {
            return Ok(Err(changed));
        }
        self.fresh_member(program).map(Ok)
    }

    fn verify_member(&self, program: &ProgramRecord, made: &Made) -> Result<Vec<VerifiedPart>, EngineError> {
        let provenance = provenance(&program.source);
        if program.is_adopted() {
            // No bytecode is available: compare with the values that were recorded at adoption.
            let text = |id: ProgramId, tag: &[u8; 8]| format!("program {id}, tag {}", hexadecimal(tag));
            let found = self.kernel.program(program.id)?;
            let found = found.map_or("it is not loaded any more".to_owned(), |f| text(f.id, &f.tag));
            let wanted = text(program.id, &program.tag);
            let part = VerifiedPart::of(format!("member {}", program.name), wanted, found);
            return Ok(vec![VerifiedPart { provenance, ..part }]);
        }
        let expected = format!("sha256:{}", program.blob.as_str());
        let found = made.as_ref().map_or_else(ToString::to_string, |_| expected.clone());
        let bytecode = VerifiedPart::of(format!("bytecode of {}", program.name), expected, found);
        let mut parts = vec![VerifiedPart { provenance: provenance.clone(), ..bytecode }];
        if let Ok(text) = made {
            let wanted = Code { tags: kernel_tags(&text.text).to_vec(), maps: text.text.map_ids() };
            let mut found = self.kernel.program(program.id)?;
            if let Some(found) = found.as_mut().filter(|_| !text.text.0.jump_tables.is_empty()) {
                self.leave_out_jump_tables(found)?;
            }
            // A load also binds maps that no instruction uses: they are no difference.
            let is_bound = |id: &MapId| program.maps.iter().any(|map| map.public && map.id == Some(*id));
            if let Some(found) = &mut found {
                found.map_ids.retain(|id| wanted.maps.contains(id) || !is_bound(id));
            }
            let part = compare(format!("member {}", program.name), &wanted, found.as_ref());
            parts.push(VerifiedPart { provenance, ..part });
        }
        Ok(parts)
    }

    /// Removes maps made from jump tables: no record names them.
    fn leave_out_jump_tables(&self, found: &mut ProgramFacts) -> Result<(), EngineError> {
        let mut rest = Vec::with_capacity(found.map_ids.len());
        for id in &found.map_ids {
            let is_table = self.kernel.map(*id)?.is_some_and(|facts| facts.map_type == map_type::INSN_ARRAY);
            rest.extend((!is_table).then_some(*id));
        }
        found.map_ids = rest;
        Ok(())
    }

    fn verify_entry(&self, hook: &HookRecord) -> Result<VerifiedPart, EngineError> {
        let running = self.running_chain(hook)?;
        let found =
            running.program.map_or(running.standing.to_string(), |program| format!("program {program}"));
        Ok(VerifiedPart::of("what the hook runs", format!("program {}", hook.program), found))
    }

    fn verify_programs(
        &self,
        hook: &HookRecord,
        chain: &ChainRecord,
        members: (&[Joined], &Fresh),
        parts: &mut Vec<VerifiedPart>,
    ) -> Result<(), EngineError> {
        let (codes, twins) = self.built_again(hook, chain, members)?;
        if codes.len() != chain.segments.len() {
            let count = |number: usize| format!("{number} programs, joined by version {}", chain.made_by);
            parts.push(VerifiedPart::of("programs", count(codes.len()), count(chain.segments.len())));
        }
        for (number, (code, segment)) in codes.iter().zip(&chain.segments).enumerate() {
            let found = self.kernel.program(segment.program)?;
            let name = format!("program {} of {}", number + 1, chain.segments.len());
            parts.push(compare(name, code, found.as_ref()));
        }
        let recorded = chain.twin.iter().flat_map(|twin| &twin.programs);
        for (number, (code, twin)) in twins.iter().zip(recorded).enumerate() {
            let found = self.kernel.program(twin.program)?;
            let name = format!("timed twin {} of {}", number + 1, twins.len());
            parts.push(compare(name, code, found.as_ref()));
        }
        Ok(())
    }

    fn verify_maps(&self, chain: &ChainRecord, parts: &mut Vec<VerifiedPart>) -> Result<(), EngineError> {
        let folder = self.chain_folder(chain.id)?.unwrap_or_else(|| paths::chain(chain.id));
        let pinned = |path: PathBuf| -> Result<String, EngineError> {
            Ok(match self.pinned_map(&path)? {
                Some(id) => format!("map {id}"),
                None => "its pin was removed: the kernel empties an array that no process holds".to_owned(),
            })
        };
        for (number, id) in chain.arrays.iter().enumerate() {
            let found = pinned(folder.join(paths::array(number)))?;
            parts.push(VerifiedPart::of(format!("array {}", number + 1), format!("map {id}"), found));
        }
        Ok(())
    }

    fn built_again(
        &self,
        hook: &HookRecord,
        chain: &ChainRecord,
        (members, fresh): (&[Joined], &Fresh),
    ) -> Result<(Vec<Code>, Vec<Code>), EngineError> {
        let kind = self.splice_hook(hook.key.kind, Some(hook.entry), self.is_open(&hook.key, members));
        let name = program_name(hook.key.kind);
        let code =
            |text: &bpfman_model::BoundText| Code { tags: kernel_tags(text).to_vec(), maps: text.map_ids() };
        if members.is_empty() {
            return Ok((vec![code(&empty::text(name, kind))], Vec::new()));
        }
        let texts = members
            .iter()
            .map(|member| match fresh.of(&member.program)? {
                Ok(text) => Ok(text.clone()),
                Err(_) => self.fresh_member(&member.program),
            })
            .collect::<Result<Vec<_>, EngineError>>()?;
        let texts = held_texts(members, &texts);
        let wanted = Wanted {
            hook: kind,
            counters: chain.counters.is_some(),
            timing: chain.twin.is_some(),
            as_subprograms: chain.as_subprograms,
            optimisation: chain.optimisation(),
        };
        let special = self.special_of(members, &texts)?;
        let specialised = if chain.specialised { self.specialised(&texts)? } else { None };
        let texts = specialised.unwrap_or(texts);
        let mut options = self.splice_options(&wanted, &special, members);
        options.shares_headers = chain.savings.shared > 0;
        options.attempt = chain.attempt;
        let joined = self.parts(members, &texts)?;
        let cannot =
            |source| EngineError::Chain { hook: hook.key.kind.at(&hook.interface), source: Box::new(source) };
        let planned = plan(&joined, &options).map_err(cannot)?;
        let timing = chain.twin.as_ref();
        let timing = timing.map(|twin| Timing { ticks: twin.ticks, samples: twin.times, phase: twin.phase });
        let bindings = Bindings { arrays: &chain.arrays, counters: chain.counters, timing };
        let compiled = compile(name, &joined, &planned, &options, &bindings).map_err(cannot)?;
        let codes =
            |programs: &[Splice]| programs.iter().map(|program| code(&program.text)).collect::<Vec<_>>();
        Ok((codes(&compiled.programs), codes(&compiled.twins)))
    }
}

fn compare(part: String, wanted: &Code, found: Option<&ProgramFacts>) -> VerifiedPart {
    let text = |tag: &[u8; 8], maps: &[MapId]| {
        let tag = hexadecimal(tag);
        let maps: Vec<String> = maps.iter().map(ToString::to_string).collect();
        format!("tag {tag}, maps {}", if maps.is_empty() { "none".to_owned() } else { maps.join(" ") })
    };
    let Some(found) = found else {
        let newest = wanted.tags.first().copied().unwrap_or_default();
        return VerifiedPart::of(part, text(&newest, &wanted.maps), "it is not loaded any more");
    };
    let mut maps = found.map_ids.clone();
    maps.sort_unstable();
    maps.dedup();
    // The kernel decides which of the two hashes is the tag.
    let tag = wanted.tags.iter().find(|tag| **tag == found.tag).or(wanted.tags.first());
    VerifiedPart::of(part, text(&tag.copied().unwrap_or_default(), &wanted.maps), text(&found.tag, &maps))
}

fn provenance(source: &SourceRecord) -> String {
    match source {
        SourceRecord::File { path } => format!("file {path}"),
        SourceRecord::Adopted { link, .. } => format!("adopted by link {link}, bytecode not known"),
        SourceRecord::Image { url, digest, verified_by, .. } => {
            format!("image {url}, {digest}, {verified_by}")
        }
    }
}
