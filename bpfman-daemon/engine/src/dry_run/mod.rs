//! Dry runs: a load and its attachments up to the kernel's verdict. All kernel objects are held by descriptors only:
//! nothing is pinned, recorded, attached or stored.

mod trial;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bpfman_model::{
    AttachPoint, CallerGroup, HookKey, Interface, LoadRequest, OrderIntent, ProbeReader, ProgramId,
    ProgramUid, Sharing,
};
use bpfmand_kernel::{Kernel, KernelError, LogRequest};

use crate::dry_run::trial::DryRunMember;
use crate::engine::locks::Subject;
use crate::engine::members::MemberText;
use crate::guard::rules_of;
use crate::load::Bytecode;
use crate::load::plan::LoadPlan;
use crate::load::record::LoadRecorder;
use crate::load::struct_ops::check_own;
use crate::state::budget_record::ProgramBudget;
use crate::state::records::{LinkRecord, ProgramRecord, SourceRecord};
use crate::{CallersNetwork, Engine, EngineError};

/// Maximum number of attachments in a dry run: a node has a few hundred interfaces.
const MAX_ATTACHMENTS: usize = 1024;

#[derive(Clone, Debug)]
pub struct DryRunRequest {
    pub load: LoadRequest,
    /// Attachments of the loaded programs.
    pub attachments: Vec<DryRunAttachment>,
    /// Managed programs that the load would replace: the chains are tried without them.
    pub replaces: BTreeSet<ProgramId>,
    /// Cgroup (version 2) of the caller's tasks.
    pub group: Option<CallerGroup>,
}

#[derive(Clone, Debug)]
pub struct DryRunAttachment {
    /// A program of the load.
    pub program: String,
    pub point: AttachPoint,
    /// Position among the other members of its hook.
    pub order: OrderIntent,
    pub sharing: Sharing,
    /// Metadata of the user, which determines the owner.
    pub metadata: BTreeMap<String, String>,
    /// Caller with whose rights a probed file is opened.
    pub reader: ProbeReader,
}

/// Result of a dry run.
#[derive(Debug, Default)]
pub struct DryRunOutcome {
    /// Results of the programs, in the order of the request.
    pub programs: Vec<DryRunPart>,
    /// Results of the hooks or other points, in the order of their first attachment.
    pub chains: Vec<DryRunPart>,
    /// Digest of the image; empty for a file.
    pub image_digest: String,
    /// Rule and signer by which the image was verified; empty for a file.
    pub verified_by: String,
    /// Failure before any program was tried.
    pub failure: Option<EngineError>,
    /// Hash over the tags of the programs that share the hooks; empty if none do.
    pub composition: String,
}

impl DryRunOutcome {
    /// Returns whether every program and every chain was accepted.
    #[must_use]
    pub fn accepted(&self) -> bool {
        self.failure.is_none() && self.programs.iter().chain(&self.chains).all(|part| part.failure.is_none())
    }
}

/// Verdict of the kernel on one program or chain.
#[derive(Debug, Default)]
pub struct DryRunPart {
    /// Function name, or the hook as commands name it.
    pub name: String,
    /// Refusal; `None` if it was accepted.
    pub failure: Option<EngineError>,
    /// Instructions that the verifier processed (Linux 5.16 and later, otherwise 0).
    pub verified_insns: u32,
    /// Time that the kernel took to load it.
    pub load_time: Duration,
    /// Bytes of machine code.
    pub jited_bytes: u32,
    /// Number of programs in the chain; 0 for a program.
    pub members: usize,
    /// Strategy of the chain; empty for a program.
    pub strategy: &'static str,
}

impl DryRunPart {
    pub(crate) fn refused(name: impl Into<String>, error: EngineError) -> Self {
        Self { name: name.into(), failure: Some(error), ..Self::default() }
    }

    /// Returns the verifier's message, if it refused the program or chain.
    #[must_use]
    pub fn verifier_line(&self) -> &str {
        fn of_kernel(error: &KernelError) -> &str {
            error.rejection().map_or("", |rejection| rejection.message.as_str())
        }
        fn of(error: &EngineError) -> &str {
            match error {
                EngineError::Kernel(error) => of_kernel(error),
                EngineError::ChainRefused { source, .. } => of_kernel(source),
                EngineError::NotUndone { cause, .. } => of(cause),
                _ => "",
            }
        }
        self.failure.as_ref().map_or("", of)
    }
}

struct Tried<H> {
    record: Arc<ProgramRecord>,
    text: Option<MemberText>,
    _program: H,
}

impl<K: Kernel> Engine<K> {
    /// Loads the programs, tries the attachments, and discards everything. Refusals are in the result.
    pub fn dry_run(&self, request: &DryRunRequest) -> Result<DryRunOutcome, EngineError> {
        crate::load::check(&request.load)?;
        check(request)?;
        let mut outcome = DryRunOutcome::default();
        let bytecode = match self.fetch(&request.load) {
            Ok(bytecode) => bytecode,
            Err(error) => return Ok(DryRunOutcome { failure: Some(error), ..outcome }),
        };
        if let SourceRecord::Image { digest, verified_by, .. } = &bytecode.source {
            outcome.image_digest.clone_from(digest);
            outcome.verified_by.clone_from(verified_by);
        }
        if let Err(error) = self.try_bytecode(request, &bytecode, &mut outcome) {
            outcome.failure = Some(error.of(&crate::load::origin(&request.load.source)));
        }
        Ok(outcome)
    }

    fn try_bytecode(
        &self,
        request: &DryRunRequest,
        bytecode: &Bytecode,
        outcome: &mut DryRunOutcome,
    ) -> Result<(), EngineError> {
        let sizes = self.map_sizes(&request.load);
        let object = self.link_load(Arc::clone(bytecode.blob.bytes()), &request.load.programs, &sizes)?;
        let object = object.without_reader();
        check_own(&object, &request.load.programs, request.load.map_owner)?;
        let _shared = object.holds_several().then(|| self.lock(Subject::SharedMaps));
        let owner = request.load.map_owner.map(|id| self.lock_owner(id)).transpose()?;
        let held = owner.as_ref().map(|(_, owner)| owner.uid);
        let tenant = rules_of(&request.load.owner, request.load.tenant.as_ref()).is_some();
        let of = (&request.load.owner, tenant);
        let _extended = self.lock_extended(&object.programs, (held, &[]), of)?;
        let owner = owner.as_ref().map(|(_, record)| Arc::clone(record));
        let plan = LoadPlan { log: LogRequest::OnFailure, ..LoadPlan::new(&object, &request.load, owner)? };
        let tried = self.try_programs(request, bytecode, &plan, outcome)?;
        let began = self.now()?.since_boot;
        self.try_attachments(request, &tried, outcome);
        self.charge_since(&plan.group, began);
        Ok(())
    }

    /// Loads the programs, and continues after a refusal. The programs keep their maps alive.
    fn try_programs(
        &self,
        request: &DryRunRequest,
        bytecode: &Bytecode,
        plan: &LoadPlan<'_>,
        outcome: &mut DryRunOutcome,
    ) -> Result<BTreeMap<String, Tried<K::Handle>>, EngineError> {
        let recorder = LoadRecorder {
            operation: self.operation(),
            load: &request.load,
            bytecode,
            plan,
            budget: ProgramBudget::default(),
            boot: &self.boot,
        };
        let mut tried = BTreeMap::new();
        for (name, loaded) in self.load_programs(plan, None)? {
            match loaded {
                Ok(program) => {
                    outcome.programs.push(DryRunPart {
                        name: name.clone(),
                        verified_insns: program.facts.verified_insns,
                        load_time: program.load_time,
                        jited_bytes: program.facts.bytes_jited,
                        ..DryRunPart::default()
                    });
                    let record = Arc::new(recorder.record(ProgramUid(self.number()), &program, None));
                    tried.insert(name, Tried { record, text: program.member, _program: program.handle });
                }
                Err(error) => outcome.programs.push(DryRunPart::refused(name, error)),
            }
        }
        for program in request.load.programs.iter().skip(outcome.programs.len()) {
            let why = "it was not tried: the programs before it are over the limit of verified instructions";
            let refused = DryRunPart::refused(&program.name, EngineError::Invalid(why.to_owned()));
            outcome.programs.push(refused);
        }
        Ok(tried)
    }

    fn try_attachments(
        &self,
        request: &DryRunRequest,
        tried: &BTreeMap<String, Tried<K::Handle>>,
        outcome: &mut DryRunOutcome,
    ) {
        let mut hooks: Vec<(HookKey, Interface, Vec<DryRunMember>)> = Vec::new();
        for attachment in &request.attachments {
            let Some(program) = tried.get(&attachment.program) else { continue };
            let name = || match attachment.point.hook() {
                Some((interface, kind)) => kind.at(interface),
                None => format!("{} {}", attachment.point.type_name(), attachment.point),
            };
            let found = self.find_point(attachment, program, request.group.as_ref()).and_then(|found| {
                let Some((key, interface)) = found else { return Ok(None) };
                Ok(Some((key, interface, self.trial_link(attachment, &program.record, Some(key))?)))
            });
            match found {
                Ok(Some((key, interface, link))) => {
                    let member = DryRunMember {
                        link: link.into(),
                        program: Arc::clone(&program.record),
                        text: program.text.clone(),
                    };
                    match hooks.iter_mut().find(|(other, ..)| *other == key) {
                        Some((_, _, members)) => members.push(member),
                        None => hooks.push((key, interface, vec![member])),
                    }
                }
                Ok(None) => outcome.chains.push(DryRunPart { name: name(), ..DryRunPart::default() }),
                Err(error) => outcome.chains.push(DryRunPart::refused(name(), error)),
            }
        }
        let mut neighbours = BTreeSet::new();
        for (key, interface, members) in hooks {
            let _hook_lock = self.lock(Subject::Hook(key));
            let part = self
                .neighbours(&key, &interface, &request.replaces)
                .and_then(|tags| {
                    neighbours.extend(tags);
                    self.try_chain(&key, &interface, &members, &request.replaces)
                })
                .unwrap_or_else(|error| DryRunPart::refused(key.kind.at(&interface), error));
            outcome.chains.push(part);
        }
        outcome.composition = crate::dry_run::trial::hash_of_neighbours(&neighbours);
    }

    fn find_point(
        &self,
        attachment: &DryRunAttachment,
        program: &Tried<K::Handle>,
        group: Option<&CallerGroup>,
    ) -> Result<Option<(HookKey, Interface)>, EngineError> {
        let record = &program.record;
        if !attachment.point.admits(record.program_type) {
            return Err(EngineError::Invalid(format!(
                "program \"{}\" is of type {}; it cannot be attached to a point of type {}",
                record.name,
                record.program_type,
                attachment.point.type_name()
            )));
        }
        if let Some((interface, kind)) = attachment.point.hook() {
            let key = self.kernel.find_hook(interface, kind)?;
            CallersNetwork::ensure(key.netns.id())?;
            return Ok(Some((key, interface.clone())));
        }
        // The lookup of a target makes the same calls as an attachment.
        let guard = self.guard_of_link(record, &attachment.point, group)?;
        let link = LinkRecord { guard, ..self.trial_link(attachment, record, None)? };
        self.kernel.find_target(&self.link_target(record, &link)?)?;
        Ok(None)
    }

    fn trial_link(
        &self,
        attachment: &DryRunAttachment,
        program: &ProgramRecord,
        hook: Option<HookKey>,
    ) -> Result<LinkRecord, EngineError> {
        Ok(LinkRecord {
            hook,
            order: attachment.order.clone(),
            sharing: attachment.sharing,
            metadata: crate::state::with_application(&attachment.metadata, &program.metadata),
            reader: attachment.reader.clone(),
            ..LinkRecord::new(self.number(), program, &self.boot, attachment.point.clone())?
        })
    }
}

fn check(request: &DryRunRequest) -> Result<(), EngineError> {
    let count = request.attachments.len();
    if count > MAX_ATTACHMENTS {
        return Err(EngineError::Invalid(format!(
            "the trial names {count} attachments; one trial takes at most {MAX_ATTACHMENTS}"
        )));
    }
    for attachment in &request.attachments {
        if !request.load.programs.iter().any(|program| program.name == attachment.program) {
            return Err(EngineError::Invalid(format!(
                "an attachment of the trial names program \"{}\", which its load does not",
                attachment.program
            )));
        }
        crate::attach::check_place(&attachment.point, &attachment.order, attachment.sharing)?;
    }
    Ok(())
}
