//! Calls of bpf(2).

use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::sync::Arc;
use std::time::Duration;

use bpfman_model::MapSpec;
use bpfman_model::uapi::{attach_type, prog_type};
use bpfmand_calls::{
    AttrLayout, CallAnswer, CallAttr, CallRequest, Errno, ObjectKind, Returned, command, is_of_interface,
    needs_namespace,
};
use bpfmand_kernel::linux::brokered::{self, CallResult, CallValue};

use crate::bpf_call::BpfCall;
use crate::broad_effect::{BroadEffect, broad_effects};
use crate::decide::{self, GrantedObjects, NamedThings, RawObject};
use crate::ids::exists;
use crate::instructions::LoadInstructions;
use crate::lasting::LastingAttachment;
use crate::serve::{Given, SessionCalls, SessionRefusal};
use crate::session::{BrokeredSession, RawProgram};
use crate::stand_in;
use crate::usage::{ObjectPlace, WantedObject};

/// Pauses after which a closed program is freed, in milliseconds: a few grace periods.
const FREED_WITHIN: [u64; 4] = [0, 5, 20, 80];
/// Maximum number of runs of one test: only a signal to the calling thread interrupts it.
const MAX_TEST_RUNS: u32 = 100_000;
/// `BPF_F_TEST_XDP_LIVE_FRAMES`: the packets are sent on.
const LIVE_FRAMES: u32 = 1 << 1;

impl SessionCalls {
    /// Decides about a call of bpf(2), and makes it.
    pub fn bpf(&self, call: BpfCall<'_>) -> Result<Given, SessionRefusal> {
        let (layout, number) = (call.layout, call.layout.command);
        if let Some((kind, is_next)) = decide::kind_by_id(number) {
            self.permit(&[])?;
            return if is_next { self.next_id(kind, call.attr) } else { self.open_by_id(kind, &call.attr) };
        }
        check_bounds(number, &call.attr, &self.session)?;
        if needs_namespace(number, &call.attr) && call.namespace.is_none() {
            return Err(Errno::INVAL.into());
        }
        let program = self.loaded_program(&call);
        if number == command::PROG_DETACH && program.is_none() {
            // Without a program, the kernel would detach whatever is attached there.
            return Err(Errno::PERM.into());
        }
        let text = match number {
            command::PROG_LOAD => Some(LoadInstructions::of(&call.attr, call.code()?)),
            _ => None,
        };
        let (stands_in, objects) = self.permit_call(&call, program, text.as_ref())?;
        let about = GrantedObjects { objects, program: text.as_ref().map(LoadInstructions::name) };
        let lasting = matches!(number, command::PROG_ATTACH | command::PROG_DETACH)
            .then(|| LastingAttachment::of(&call))
            .flatten();
        if number == command::PROG_ATTACH {
            self.session.check_lasting()?;
        }
        if number == command::PROG_DETACH
            && !lasting.as_ref().is_some_and(|attachment| self.session.holds(attachment))
        {
            // A cgroup without `BPF_F_ALLOW_MULTI` detaches its program, whichever one is named.
            self.permit(&[RawObject::AnyPlace])?;
        }
        // Libraries load programs without effect, and close them at once: they need no place.
        let is_trivial = number == command::PROG_LOAD && call.is_trivial();
        let bytes = match number {
            command::MAP_CREATE => map_bytes(&call.attr),
            command::BTF_LOAD => call.attr.word(16).into(),
            _ => 0,
        };
        let is_limited = number == command::PROG_LOAD && !is_trivial;
        let most_instructions = self.session.limits().verified_instructions.filter(|_| is_limited);
        check_instructions(u64::from(call.attr.word(4)), most_instructions)?;
        let _place = if is_trivial { None } else { self.reserve(layout, bytes)? };
        let loads = (number == command::PROG_LOAD)
            .then(|| RawProgram { program_type: call.attr.word(0), attach_type: call.attr.word(68) });
        // A syscall program's helpers call bpf(2) as the process that runs it: only its log is given out.
        let is_withheld = loads.is_some_and(|one| one.program_type == prog_type::SYSCALL) && !is_trivial;
        let loaded = text.filter(|_| self.session.records()).map(|text| text.line());
        let CallResult { result, attr, mut outputs } = self.make_call(call)?;
        if matches!(number, command::PROG_LOAD | command::BTF_LOAD) {
            outputs.iter_mut().flatten().for_each(cut_log);
        }
        let mut written = vec![true];
        written.extend(outputs.iter().map(Option::is_some));
        let buffers = std::iter::once(attr.bytes().to_vec()).chain(outputs.into_iter().flatten()).collect();
        let (result, descriptor) = match result {
            Ok(CallValue::Number(value)) => {
                match (number, lasting) {
                    (command::PROG_ATTACH, Some(attachment)) => self.session.keep(attachment),
                    (_, Some(attachment)) => self.session.release(&attachment),
                    (_, None) => {}
                }
                (Ok(value), None)
            }
            Ok(CallValue::Descriptor(_)) if is_withheld => (Err(Errno::PERM), None),
            Ok(CallValue::Descriptor(descriptor)) => {
                if most_instructions.is_some() {
                    let verified = brokered::program_brief(&descriptor)?.verified_instructions;
                    check_instructions(u64::from(verified), most_instructions)?;
                }
                let descriptor = if stands_in { stand_in::load()? } else { descriptor };
                let loads = loads.filter(|_| !stands_in);
                if let Some(Returned::New(kind)) = layout.returns
                    && let Some(id) = brokered::id_of(kind, &descriptor)
                {
                    self.session.remember(kind, id, loads, bytes);
                }
                (Ok(0), Some(descriptor))
            }
            Err(error) => (Err(error), None),
        };
        let loaded = loaded.filter(|_| result.is_ok());
        Ok(Given { answer: CallAnswer { result, written, reason: None, loaded }, buffers, descriptor, about })
    }

    /// Makes a permitted call. Memory of maps is charged to the cgroup of the session's client.
    fn make_call(&self, call: BpfCall<'_>) -> Result<CallResult, Errno> {
        let BpfCall { layout, attr, values, buffers, descriptors, namespace, .. } = call;
        if let (command::MAP_CREATE, Some(maker)) = (layout.command, &self.session.map_maker) {
            let request = CallRequest::Bpf { command: layout.command, fields: values.to_vec(), netns: None };
            if let Some(made) = maker.make(&request, attr.bytes(), descriptors) {
                let result = made.map(CallValue::Descriptor);
                return Ok(CallResult { result, attr, outputs: Vec::new() });
            }
        }
        brokered::call_by_layout(layout, attr, values, (buffers, descriptors), namespace)
    }

    /// Checks each object's permission, and returns the objects, none for a program without effect. True if the caller may
    /// only learn whether the load succeeds.
    fn permit_call(
        &self,
        call: &BpfCall<'_>,
        program: Option<RawProgram>,
        text: Option<&LoadInstructions<'_>>,
    ) -> Result<(bool, Vec<RawObject>), SessionRefusal> {
        let (number, attr) = (call.layout.command, &call.attr);
        if let Some(text) = text {
            if call.is_trivial() {
                let stands_in = match self.permit_load(&[RawObject::Type(attr.word(0))], Some(text)) {
                    Ok(()) => false,
                    Err(_) => self.permit(&[]).map(|()| true)?,
                };
                return Ok((stands_in, Vec::new()));
            }
            broad_effects(text.code()).into_iter().try_for_each(|one| self.permit_broad(one))?;
        }
        let (texts, interface) = (call.texts()?, call.interface()?);
        check_attachment(number, attr, program)?;
        let target = if number == command::LINK_CREATE {
            call.descriptor(4).or_else(|| call.descriptor(16))
        } else {
            call.descriptor(0)
        };
        let named = NamedThings { attr, texts, program, interface, target };
        let mut objects = decide::objects_of(number, &named);
        if number == command::PROG_ATTACH && !self.leaves_others(attr, target)
            || matches!(number, command::LINK_UPDATE | command::LINK_DETACH) && !self.has_link(target)
        {
            objects.push(RawObject::AnyPlace);
        }
        self.permit_load(&objects, text).map(|()| (false, objects))
    }

    fn permit_broad(&self, effect: BroadEffect) -> Result<(), SessionRefusal> {
        // Objects that no grant can name: only a grant without limits of types and targets covers them.
        let everything = [RawObject::Type(u32::MAX), RawObject::AnyTarget("process"), RawObject::AnyPlace];
        let (objects, name, restricts) = match effect {
            BroadEffect::Processes(name) => (&everything[..], name, "types, hooks or targets"),
            BroadEffect::Interfaces(name) => (&[RawObject::AnyPlace][..], name, "hooks"),
        };
        self.permit(objects).map_err(|refusal| {
            let reason = format!(
                "the program calls {name}, which reaches beyond what a grant with {restricts} restricts; have root give a \
                 grant without them"
            );
            SessionRefusal { reason: refusal.reason.map(|_| reason), ..refusal }
        })
    }

    /// Returns whether PROG_ATTACH keeps programs of others attached. A cgroup without `BPF_F_ALLOW_MULTI`
    /// has one program, and a network namespace one flow dissector: the next one replaces it.
    fn leaves_others(&self, attr: &CallAttr, target: Option<&OwnedFd>) -> bool {
        const ALLOW_MULTI: u32 = 1 << 1;
        let attach_type = attr.word(8);
        if is_of_interface(attach_type) || is_of_sockets(attach_type) || attr.word(12) & ALLOW_MULTI != 0 {
            return true;
        }
        let there = target.map(|target| brokered::programs_of(target, attach_type));
        let is_own = |id: &u32| self.session.has(ObjectKind::Program, *id);
        there.is_some_and(|there| there.is_ok_and(|there| there.iter().all(is_own)))
    }

    fn has_link(&self, link: Option<&OwnedFd>) -> bool {
        let id = link.and_then(|link| brokered::id_of(ObjectKind::Link, link));
        id.is_none_or(|id| self.session.has(ObjectKind::Link, id))
    }

    /// Returns the program that the call attaches, as its session loaded it, or as the kernel describes it.
    fn loaded_program(&self, call: &BpfCall<'_>) -> Option<RawProgram> {
        let at = match call.layout.command {
            command::LINK_CREATE => 0,
            command::RAW_TRACEPOINT_OPEN => 8,
            command::PROG_ATTACH | command::PROG_DETACH => 4,
            _ => return None,
        };
        let brief = brokered::program_brief(call.descriptor(at)?).ok()?;
        let known = self.session.program(brief.id);
        Some(known.unwrap_or(RawProgram { program_type: brief.program_type, attach_type: 0 }))
    }

    fn reserve(&self, layout: &AttrLayout, bytes: u64) -> Result<Option<ObjectPlace<'_>>, SessionRefusal> {
        let Some(Returned::New(kind)) = layout.returns else { return Ok(None) };
        let (object, limits) = (WantedObject { kind, bytes }, self.session.limits());
        let mut sessions = vec![Arc::clone(&self.session)];
        if kind == ObjectKind::Btf || limits.programs.or(limits.links).or(limits.map_memory).is_some() {
            sessions.extend((self.others)());
        }
        // The kernel frees closed objects with a short delay: retry.
        let mut pauses = FREED_WITHIN.into_iter();
        loop {
            let limit = match self.owner.reserve(object, limits, &sessions) {
                Ok(place) => return Ok(Some(place)),
                Err(limit) => limit,
            };
            let Some(pause) = pauses.next().filter(|_| !limit.is_lasting()) else {
                let reason = Some(format!("session {}: {limit}", self.session.facts.name));
                return Err(SessionRefusal { error: Errno::TOO_BIG, reason });
            };
            sessions.iter().for_each(|one| one.forget_gone(kind, |id| exists(kind, id)));
            std::thread::sleep(Duration::from_millis(pause));
        }
    }
}

/// Returns whether a type of attachment is to a sockmap, which is the session's.
const fn is_of_sockets(number: u32) -> bool {
    use attach_type::{SK_MSG_VERDICT, SK_SKB_STREAM_PARSER, SK_SKB_STREAM_VERDICT, SK_SKB_VERDICT};
    matches!(number, SK_SKB_STREAM_PARSER | SK_SKB_STREAM_VERDICT | SK_MSG_VERDICT | SK_SKB_VERDICT)
}

/// Returns the memory of a map that is full, in bytes.
fn map_bytes(attr: &CallAttr) -> u64 {
    let [map_type, key, value, entries] = [0, 4, 8, 12].map(|at| attr.word(at));
    MapSpec::sized("", map_type, key, value, entries).memory(brokered::possible_cpus())
}

/// Refuses a program of too many instructions, before the verifier reads them and after it followed each path.
fn check_instructions(count: u64, limit: Option<u64>) -> Result<(), SessionRefusal> {
    let Some(limit) = limit.filter(|limit| count > *limit) else { return Ok(()) };
    let reason = format!(
        "a program of {count} instructions: limits.verified_instructions of the grant is {limit}; make it smaller, or \
         have root raise the limit"
    );
    Err(SessionRefusal { error: Errno::TOO_BIG, reason: Some(reason) })
}

/// Keeps a log up to its zero: its buffer is often thousands of times longer.
fn cut_log(log: &mut Vec<u8>) {
    if let Some(end) = log.iter().position(|byte| *byte == 0) {
        log.truncate(end + 1);
    }
}

/// Refuses an attach type that does not belong to the program type: the kernel would read other fields of the attribute.
fn check_attachment(number: u32, attr: &CallAttr, program: Option<RawProgram>) -> Result<(), SessionRefusal> {
    if number != command::LINK_CREATE || attr.word(8) == attach_type::STRUCT_OPS {
        return Ok(());
    }
    let RawProgram { program_type, .. } = program.ok_or(Errno::INVAL)?;
    let given = attr.word(8);
    let fits = match program_type {
        prog_type::EXT => given == attach_type::NONE,
        prog_type::LSM => matches!(given, attach_type::LSM_MAC | attach_type::LSM_CGROUP),
        prog_type::TRACING => {
            matches!(given, attach_type::TRACE_RAW_TP..=attach_type::MODIFY_RETURN | attach_type::TRACE_ITER)
        }
        _ => !matches!(given, attach_type::TRACE_RAW_TP..=attach_type::TRACE_ITER | attach_type::LSM_CGROUP),
    };
    if fits { Ok(()) } else { Err(Errno::INVAL.into()) }
}

fn check_bounds(number: u32, attr: &CallAttr, session: &BrokeredSession) -> Result<(), SessionRefusal> {
    match number {
        command::PROG_TEST_RUN if attr.word(32) > MAX_TEST_RUNS => Err(Errno::TOO_BIG.into()),
        command::PROG_TEST_RUN if attr.word(64) & LIVE_FRAMES != 0 => Err(Errno::PERM.into()),
        command::TASK_FD_QUERY => {
            // The number may be reused before the call, which then shows the probes of another process.
            let owner = File::open(format!("/proc/{}", attr.word(0))).and_then(|folder| folder.metadata());
            if owner?.uid() == session.facts.peer.uid { Ok(()) } else { Err(Errno::PERM.into()) }
        }
        _ => Ok(()),
    }
}
