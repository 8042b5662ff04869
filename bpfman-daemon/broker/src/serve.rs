//! SessionCalls of one channel: decided, made, answered.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::sync::Arc;
use std::time::Duration;

use bpfman_model::IfIndex;
use bpfman_model::uapi::{attach_type, prog_type};
use bpfmand_access::AccessPolicy;
use bpfmand_calls::{
    AttrLayout, CallAnswer, CallAttr, CallMessage, CallRequest, Channel, Errno, FieldKind, FieldValue,
    ObjectKind, PerfCall, PerfProbe, Returned, command, is_of_interface, layout,
};
use bpfmand_journal::{EntryActor, EntryFailure, EntryResult, HistoryEntry, Journal};
use bpfmand_kernel::linux::brokered::{self, CallResult, CallValue, ProbeEvents};

use crate::decide::{self, NamedThings, RawObject};
use crate::event_source::{self, EventSource};
use crate::large_calls::LargeCalls;
use crate::lasting::LastingAttachment;
use crate::route::RouteMessage;
use crate::session::{BrokeredSession, RawProgram};
use crate::trivial::is_trivial;

/// Source of the grants in force.
pub type CurrentPolicy = Arc<dyn Fn() -> Arc<AccessPolicy> + Send + Sync>;

/// SessionCalls that change something, and have entries of their own in the journal.
const RECORDED: [u32; 5] = [
    command::PROG_LOAD,
    command::LINK_CREATE,
    command::RAW_TRACEPOINT_OPEN,
    command::PROG_ATTACH,
    command::PROG_DETACH,
];

/// Time after which a closed program is freed, in milliseconds: a few grace periods.
const FREED_WITHIN: u32 = 100;
/// Maximum number of runs of one test: the kernel ends them for no one but the thread that makes the call.
const MAX_TEST_RUNS: u32 = 100_000;
/// `BPF_F_TEST_XDP_LIVE_FRAMES`: the packets are sent on.
const LIVE_FRAMES: u32 = 1 << 1;
/// Flags with which a map may be opened: for reading or writing alone.
const MAP_FLAGS: u32 = 1 << 3 | 1 << 4;

/// Serves calls of one session.
pub struct SessionCalls {
    pub session: Arc<BrokeredSession>,
    pub policy: CurrentPolicy,
    pub journal: Arc<Journal>,
    pub probes: ProbeEvents,
    /// Returns the number of objects of a kind that other sessions of the owner have.
    pub others: Box<dyn Fn(ObjectKind) -> usize + Send + Sync>,
    /// Large calls of the user.
    pub large: Arc<LargeCalls>,
}

/// A call that is not made.
struct Refusal {
    error: Errno,
    /// Reason, if somebody can change it.
    reason: Option<String>,
}

impl From<Errno> for Refusal {
    fn from(error: Errno) -> Self {
        Self { error, reason: None }
    }
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        Errno::from(error).into()
    }
}

/// Answer to a caller, with buffers and a descriptor.
struct Given {
    answer: CallAnswer,
    buffers: Vec<Vec<u8>>,
    descriptor: Option<OwnedFd>,
}

impl Given {
    const fn number(value: i64) -> Self {
        Self { answer: CallAnswer::number(value), buffers: Vec::new(), descriptor: None }
    }

    fn object(descriptor: OwnedFd) -> Self {
        Self { descriptor: Some(descriptor), ..Self::number(0) }
    }
}

impl SessionCalls {
    /// Serves until the channel closes.
    pub fn serve(&self, channel: &Channel) -> io::Result<()> {
        loop {
            let mut place = self.large.begin();
            let Some(message) = channel.receive_admitted::<CallRequest>(|bytes| place.take(bytes))? else {
                return Ok(());
            };
            place.take(room_of(&message));
            let Given { answer, buffers, descriptor } = self.answer(message);
            let descriptors: Vec<_> = descriptor.iter().map(|one| one.as_fd()).collect();
            channel.send(&answer, &buffers, &descriptors)?;
        }
    }

    fn answer(&self, message: CallMessage<CallRequest>) -> Given {
        let what = describe(&message.head);
        let recorded = is_recorded(&message);
        match self.make(message) {
            Ok(given) => {
                if recorded && given.answer.result.is_ok() {
                    self.record(what, None);
                }
                given
            }
            Err(Refusal { error, reason }) => {
                if let Some(reason) = &reason {
                    self.record(what, Some(reason));
                }
                Given {
                    answer: CallAnswer { reason, ..CallAnswer::refused(error) },
                    buffers: Vec::new(),
                    descriptor: None,
                }
            }
        }
    }

    fn record(&self, what: String, denied: Option<&str>) {
        let message = denied.map(str::to_owned);
        let result = message.map_or(EntryResult::Done, |message| {
            EntryResult::Denied(EntryFailure {
                code: "PermissionDenied".to_owned(),
                message,
                ..EntryFailure::default()
            })
        });
        let entry = HistoryEntry {
            by: EntryActor::of(&self.session.facts.peer),
            verb: "RunAs".to_owned(),
            object: format!("{what} in session {}", self.session.facts.name),
            owners: vec![self.session.facts.owner.to_string()],
            result,
            ..HistoryEntry::default()
        };
        if denied.is_some() {
            self.journal.record_failed_read(entry, None);
        } else {
            self.journal.record_access(entry, None);
        }
    }

    fn make(&self, message: CallMessage<CallRequest>) -> Result<Given, Refusal> {
        let CallMessage { head, buffers, descriptors } = message;
        match head {
            CallRequest::Bpf { command, fields, netns } => {
                let layout = layout(command).ok_or(Errno::INVAL)?;
                let attr = CallAttr::copy(buffers.first().ok_or(Errno::INVAL)?, layout.known)?;
                self.bpf(layout, attr, &fields, (&buffers, &descriptors), netns)
            }
            CallRequest::ProgramInfo { parts } => {
                let program = descriptors.first().ok_or(Errno::BADF)?;
                let info = buffers.first().ok_or(Errno::INVAL)?;
                let (info, outputs) = brokered::program_info(program, info, &parts)?;
                let mut written = vec![true];
                written.extend(outputs.iter().map(Option::is_some));
                let buffers = std::iter::once(info).chain(outputs.into_iter().flatten()).collect();
                Ok(Given {
                    answer: CallAnswer { written, ..CallAnswer::number(0) },
                    buffers,
                    descriptor: None,
                })
            }
            CallRequest::PerfEvent(event) => self.perf_event(&event, &buffers, &descriptors),
            CallRequest::RouteSocket { socket_type } => {
                self.permit(&[])?;
                let namespace = descriptors.first().ok_or(Errno::BADF)?;
                Ok(Given::object(brokered::open_route_socket(namespace, socket_type)?))
            }
            CallRequest::RouteMessage => {
                let message = buffers.first().ok_or(Errno::INVAL)?;
                let message = RouteMessage::read(&self.session, message, &descriptors)?;
                self.permit(&message.objects)?;
                let sent = message.send()?;
                message.attached.into_iter().for_each(|one| self.session.keep(one));
                Ok(Given::number(sent))
            }
        }
    }

    fn permit(&self, objects: &[RawObject]) -> Result<(), Refusal> {
        let denied = |denial: bpfmand_access::Denial| {
            let hint = match denial.hint {
                bpfmand_access::DenialHint::Text(text) => text,
                bpfmand_access::DenialHint::Command(words) => format!("have root run `{}`", words.join(" ")),
            };
            Refusal { error: Errno::PERM, reason: Some(format!("{}; {hint}", denial.message)) }
        };
        decide::decide(&self.session, &(self.policy)(), objects).map_err(denied)
    }

    fn bpf(
        &self,
        layout: &AttrLayout,
        attr: CallAttr,
        fields: &[FieldValue],
        passed: (&[Vec<u8>], &[OwnedFd]),
        netns: Option<usize>,
    ) -> Result<Given, Refusal> {
        if let Some((kind, is_next)) = decide::kind_by_id(layout.command) {
            self.permit(&[])?;
            return if is_next { self.next_id(kind, attr) } else { self.open_by_id(kind, &attr) };
        }
        check_bounds(layout.command, &attr, &self.session)?;
        let namespace = netns.map(|index| passed.1.get(index).ok_or(Errno::BADF)).transpose()?;
        if bpfmand_calls::needs_namespace(layout.command, &attr) && namespace.is_none() {
            return Err(Errno::INVAL.into());
        }
        let program = self.loaded_program(layout.command, &attr, fields, passed.1);
        if layout.command == command::PROG_DETACH && program.is_none() {
            // Whatever is attached there would go.
            return Err(Errno::PERM.into());
        }
        self.permit_call(layout, &attr, fields, passed, (namespace, program))?;
        let lasting = matches!(layout.command, command::PROG_ATTACH | command::PROG_DETACH)
            .then(|| LastingAttachment::of(&attr, fields, passed.1, namespace))
            .flatten();
        if layout.command == command::PROG_DETACH
            && !lasting.as_ref().is_some_and(|attachment| self.session.holds(attachment))
        {
            // A cgroup that takes one program only lets any go, whichever is named.
            self.permit(&[RawObject::AnyPlace])?;
        }
        // Libraries load programs that can do nothing, and close them at once.
        if layout.command != command::PROG_LOAD || !is_trivial(fields, passed.0) {
            self.check_room(layout)?;
        }
        let loads = (layout.command == command::PROG_LOAD)
            .then(|| RawProgram { program_type: attr.word(0), attach_type: attr.word(68) });
        let CallResult { result, attr, mut outputs } =
            brokered::call_by_layout(layout, attr, fields, passed, namespace)?;
        if matches!(layout.command, command::PROG_LOAD | command::BTF_LOAD) {
            outputs.iter_mut().flatten().for_each(cut_log);
        }
        let mut written = vec![true];
        written.extend(outputs.iter().map(Option::is_some));
        let buffers = std::iter::once(attr.bytes().to_vec()).chain(outputs.into_iter().flatten()).collect();
        let (result, descriptor) = match result {
            Ok(CallValue::Number(value)) => {
                match (layout.command, lasting) {
                    (command::PROG_ATTACH, Some(attachment)) => self.session.keep(attachment),
                    (_, Some(attachment)) => self.session.release(&attachment),
                    (_, None) => {}
                }
                (Ok(value), None)
            }
            Ok(CallValue::Descriptor(descriptor)) => {
                if let Some(Returned::New(_)) = layout.returns
                    && let Some(object) = brokered::object_id(&descriptor)
                {
                    self.session.remember(object.kind, object.id, loads);
                }
                (Ok(0), Some(descriptor))
            }
            Err(error) => (Err(error), None),
        };
        Ok(Given { answer: CallAnswer { result, written, reason: None }, buffers, descriptor })
    }

    /// Asks for each object that the call names, unless its grant restricts nothing.
    fn permit_call(
        &self,
        layout: &AttrLayout,
        attr: &CallAttr,
        fields: &[FieldValue],
        (buffers, descriptors): (&[Vec<u8>], &[OwnedFd]),
        (namespace, program): (Option<&OwnedFd>, Option<RawProgram>),
    ) -> Result<(), Refusal> {
        let mut fields_of = attr.clone();
        let layout_fields = layout.fields(&mut fields_of)?;
        let mut texts = Vec::new();
        for (field, value) in layout_fields.iter().zip(fields) {
            if let (FieldKind::TextList(_), FieldValue::Buffer(at)) = (field.kind, value) {
                let joined = buffers.get(*at).ok_or(Errno::INVAL)?;
                texts.extend(
                    joined.split(|byte| *byte == 0).map(|name| String::from_utf8_lossy(name).into_owned()),
                );
            } else if let (FieldKind::Text(_), FieldValue::Buffer(at), command::RAW_TRACEPOINT_OPEN) =
                (field.kind, value, layout.command)
            {
                texts.push(String::from_utf8_lossy(buffers.get(*at).ok_or(Errno::INVAL)?).into_owned());
            }
        }
        let target_at = if layout.command == command::LINK_CREATE { [4, 16] } else { [0, 0] };
        let target = layout_fields.iter().zip(fields).find_map(|(field, value)| match value {
            FieldValue::Descriptor(at) if target_at.contains(&field.at) => descriptors.get(*at),
            _ => None,
        });
        let attach_type = attr.word(8);
        let names_interface =
            matches!(layout.command, command::LINK_CREATE | command::PROG_ATTACH | command::PROG_DETACH)
                && is_of_interface(attach_type);
        let index = attr.word(if layout.command == command::LINK_CREATE { 4 } else { 0 });
        let interface = if names_interface {
            let namespace = namespace.ok_or(Errno::INVAL)?;
            Some(brokered::interface_name(namespace, IfIndex(index)).ok_or(Errno::NODEV)?)
        } else {
            None
        };
        if layout.command == command::PROG_LOAD {
            if is_trivial(fields, buffers) {
                return self.permit(&[]);
            }
            // Its helpers make calls of bpf(2) as the process that runs it.
            if attr.word(0) == prog_type::SYSCALL {
                return Err(Errno::PERM.into());
            }
        }
        check_attachment(layout.command, attr, program)?;
        let named = NamedThings { attr, texts, program, interface, target };
        self.permit(&decide::objects_of(layout.command, &named))
    }

    /// Returns the program that the call attaches, as its session loaded it, or as the kernel describes it.
    fn loaded_program(
        &self,
        number: u32,
        attr: &CallAttr,
        fields: &[FieldValue],
        descriptors: &[OwnedFd],
    ) -> Option<RawProgram> {
        let at = match number {
            command::LINK_CREATE => 0,
            command::RAW_TRACEPOINT_OPEN => 8,
            command::PROG_ATTACH | command::PROG_DETACH => 4,
            _ => return None,
        };
        let layout_fields = layout(number)?.fields(&mut attr.clone()).ok()?;
        let index = layout_fields.iter().zip(fields).find_map(|(field, value)| match value {
            FieldValue::Descriptor(index) if field.at == at => Some(*index),
            _ => None,
        })?;
        let brief = brokered::program_brief(descriptors.get(index)?).ok()?;
        let known = self.session.program(brief.id);
        Some(known.unwrap_or(RawProgram { program_type: brief.program_type, attach_type: 0 }))
    }

    fn check_room(&self, layout: &AttrLayout) -> Result<(), Refusal> {
        let Some(Returned::New(kind)) = layout.returns else { return Ok(()) };
        // The kernel frees what was closed a moment later.
        for _ in 0..FREED_WITHIN {
            if self.session.make_room(kind, (self.others)(kind), |id| exists(kind, id)) {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        let reason = format!(
            "session {} has as many objects of kind {} as it may; end some, or have root raise the limits of the grant",
            self.session.facts.name,
            kind.name()
        );
        Err(Refusal { error: Errno::TOO_BIG, reason: Some(reason) })
    }

    fn is_visible(&self, kind: ObjectKind, id: u32) -> bool {
        self.session.has(kind, id)
            || kind == ObjectKind::Btf
                && brokered::open_object(kind, id, 0).is_ok_and(|btf| brokered::btf_is_of_kernel(&btf))
    }

    fn next_id(&self, kind: ObjectKind, mut attr: CallAttr) -> Result<Given, Refusal> {
        let mut after = attr.word(0);
        let next = if kind == ObjectKind::Btf {
            loop {
                after = brokered::next_id(kind, after)?;
                if self.is_visible(kind, after) {
                    break after;
                }
            }
        } else {
            self.session.next_id(kind, after, |id| exists(kind, id)).ok_or(Errno::NOENT)?
        };
        attr.set_word(4, next);
        let answer = CallAnswer { written: vec![true], ..CallAnswer::number(0) };
        Ok(Given { answer, buffers: vec![attr.bytes().to_vec()], descriptor: None })
    }

    /// Opens an object of the session, or types of the kernel. Objects of others do not exist here.
    fn open_by_id(&self, kind: ObjectKind, attr: &CallAttr) -> Result<Given, Refusal> {
        let (id, flags) = (attr.word(0), attr.word(8));
        if flags & !MAP_FLAGS != 0 || flags != 0 && kind != ObjectKind::Map {
            return Err(Errno::INVAL.into());
        }
        if !self.is_visible(kind, id) {
            return Err(Errno::NOENT.into());
        }
        Ok(Given::object(brokered::open_object(kind, id, flags)?))
    }

    fn perf_event(
        &self,
        event: &PerfCall,
        buffers: &[Vec<u8>],
        descriptors: &[OwnedFd],
    ) -> Result<Given, Refusal> {
        let attribute = buffers.first().ok_or(Errno::INVAL)?;
        if event_source::is_refused(attribute) {
            return Err(Errno::PERM.into());
        }
        let object = match EventSource::of(attribute, &self.probes) {
            EventSource::ProgramOutput => None,
            EventSource::Counter => Some(RawObject::AnyTarget("perf_event")),
            EventSource::Tracepoint(number) => Some(match brokered::tracepoint_name(number) {
                Some(name) => RawObject::Target("tracepoint", name),
                None => RawObject::AnyTarget("tracepoint"),
            }),
            EventSource::Kprobe => Some(match &event.probe {
                Some(PerfProbe::Function(name)) if event_source::is_at_begin(attribute) => {
                    RawObject::Target("kprobe", name.clone())
                }
                _ => RawObject::AnyTarget("kprobe"),
            }),
            EventSource::Uprobe => Some(match &event.probe {
                Some(PerfProbe::File(index)) => {
                    let file = decide::file_name(descriptors.get(*index).ok_or(Errno::BADF)?);
                    file.map_or(RawObject::AnyTarget("uprobe"), |file| RawObject::Target("uprobe", file))
                }
                _ => RawObject::AnyTarget("uprobe"),
            }),
            EventSource::Other => return Err(Errno::PERM.into()),
        };
        let side = event_source::has_side_records(attribute).then_some(RawObject::AnyTarget("perf_event"));
        self.permit(&object.into_iter().chain(side).collect::<Vec<_>>())?;
        Ok(Given::object(brokered::open_perf_event(attribute, event, descriptors, &self.probes)?))
    }
}

/// Returns the size of the buffers that the kernel will write, in bytes.
fn room_of(message: &CallMessage<CallRequest>) -> usize {
    let CallRequest::Bpf { command, .. } = &message.head else { return 0 };
    let attr = || CallAttr::copy(message.buffers.first()?, layout(*command)?.known).ok();
    let fields = || layout(*command)?.fields(&mut attr()?).ok();
    let room = |field: bpfmand_calls::Field| match field.kind {
        FieldKind::Output(length) => usize::try_from(length).unwrap_or(usize::MAX),
        _ => 0,
    };
    fields().map_or(0, |fields| fields.into_iter().map(room).fold(0, usize::saturating_add))
}

fn exists(kind: ObjectKind, id: u32) -> bool {
    brokered::open_object(kind, id, 0).is_ok()
}

/// Keeps a log up to its zero: its buffer is often thousands of times longer.
fn cut_log(log: &mut Vec<u8>) {
    if let Some(end) = log.iter().position(|byte| *byte == 0) {
        log.truncate(end + 1);
    }
}

/// Refuses a program whose type reads the attribute otherwise than its type of attachment does.
fn check_attachment(number: u32, attr: &CallAttr, program: Option<RawProgram>) -> Result<(), Refusal> {
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

fn check_bounds(number: u32, attr: &CallAttr, session: &BrokeredSession) -> Result<(), Refusal> {
    match number {
        command::PROG_TEST_RUN if attr.word(32) > MAX_TEST_RUNS => Err(Errno::TOO_BIG.into()),
        command::PROG_TEST_RUN if attr.word(64) & LIVE_FRAMES != 0 => Err(Errno::PERM.into()),
        command::TASK_FD_QUERY => {
            // The number may be another process's by the time of the call, which then shows that one's probes.
            let owner = File::open(format!("/proc/{}", attr.word(0))).and_then(|folder| folder.metadata());
            if owner?.uid() == session.facts.peer.uid { Ok(()) } else { Err(Errno::PERM.into()) }
        }
        _ => Ok(()),
    }
}

fn is_recorded(message: &CallMessage<CallRequest>) -> bool {
    match &message.head {
        CallRequest::Bpf { command: command::PROG_LOAD, fields, .. } => !is_trivial(fields, &message.buffers),
        CallRequest::Bpf { command, .. } => RECORDED.contains(command),
        CallRequest::PerfEvent(event) => event.probe.is_some(),
        CallRequest::RouteMessage => true,
        CallRequest::ProgramInfo { .. } | CallRequest::RouteSocket { .. } => false,
    }
}

fn describe(request: &CallRequest) -> String {
    match request {
        CallRequest::Bpf { command, .. } => layout(*command).map_or("BPF", |layout| layout.name).to_owned(),
        CallRequest::ProgramInfo { .. } => "OBJ_GET_INFO_BY_FD".to_owned(),
        CallRequest::PerfEvent(_) => "perf_event_open".to_owned(),
        CallRequest::RouteSocket { .. } => "socket".to_owned(),
        CallRequest::RouteMessage => "netlink".to_owned(),
    }
}
