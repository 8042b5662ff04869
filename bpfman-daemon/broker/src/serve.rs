//! Serves the calls of one channel: decides, makes and answers them.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bpfmand_access::AccessPolicy;
use bpfmand_calls::{
    CallAnswer, CallAttr, CallMessage, CallRequest, Channel, Errno, FieldKind, INFO_PARTS, command, layout,
};
use bpfmand_journal::{EntryActor, EntryFailure, EntryResult, HistoryEntry, Journal};
use bpfmand_kernel::linux::brokered::{self, ProbeEvents};

use crate::bpf_call::BpfCall;
use crate::decide::{self, GrantedObjects, RawObject};
use crate::instructions::LoadInstructions;
use crate::route::RouteMessage;
use crate::session::BrokeredSession;
use crate::trivial::is_trivial;
use crate::usage::OwnerUse;
use crate::user_calls::UserCalls;
use crate::waiting_entries::WaitingEntries;

/// Time in which a library usually makes its next call.
const NEXT_CALL: Duration = Duration::from_micros(100);
/// Time within which a receiver takes an answer.
const TAKES_ANSWER: Duration = Duration::from_secs(10);

/// Source of the grants in force.
pub type CurrentPolicy = Arc<dyn Fn() -> Arc<AccessPolicy> + Send + Sync>;

/// Calls that change own objects alone, and have entries in the journal as calls do whose objects a grant covers.
const RECORDED: [u32; 2] = [command::LINK_UPDATE, command::LINK_DETACH];

pub struct SessionCalls {
    pub session: Arc<BrokeredSession>,
    pub policy: CurrentPolicy,
    pub journal: Arc<Journal>,
    pub probes: ProbeEvents,
    pub others: Box<dyn Fn() -> Vec<Arc<BrokeredSession>> + Send + Sync>,
    pub owner: Arc<OwnerUse>,
    pub user: Arc<UserCalls>,
    /// True while a thread polls for messages: polling occupies a CPU, so only one thread may do it.
    pub looks: Arc<AtomicBool>,
}

/// A call that is not made.
pub struct SessionRefusal {
    pub error: Errno,
    /// Reason of a refusal that a user or root can avoid.
    pub reason: Option<String>,
}

impl From<Errno> for SessionRefusal {
    fn from(error: Errno) -> Self {
        Self { error, reason: None }
    }
}

impl From<io::Error> for SessionRefusal {
    fn from(error: io::Error) -> Self {
        Errno::from(error).into()
    }
}

/// A journal entry about a call, with the reason if the call was not made.
struct CallEntry {
    what: String,
    about: GrantedObjects,
    denied: Option<String>,
}

/// Answer to a caller, with buffers and a descriptor.
pub struct Given {
    pub answer: CallAnswer,
    pub buffers: Vec<Vec<u8>>,
    pub descriptor: Option<OwnedFd>,
    pub about: GrantedObjects,
}

impl Given {
    pub fn number(value: i64) -> Self {
        Self {
            answer: CallAnswer::number(value),
            buffers: Vec::new(),
            descriptor: None,
            about: GrantedObjects::default(),
        }
    }

    pub fn object(descriptor: OwnedFd) -> Self {
        Self { descriptor: Some(descriptor), ..Self::number(0) }
    }
}

impl SessionCalls {
    /// Serves until the channel closes.
    pub fn serve(&self, channel: &Channel) -> io::Result<()> {
        // A receiver that was stopped takes no answer.
        channel.stream().set_write_timeout(Some(TAKES_ANSWER))?;
        let mut waiting = WaitingEntries::new(|CallEntry { what, about, denied }| {
            let what = if about.objects.is_empty() { what } else { format!("{what} ({about})") };
            record(&self.journal, &self.session, what, denied.as_deref());
        });
        loop {
            if !self.look_for_next(channel) {
                waiting.write();
                if !channel.wait_for_message()? {
                    return Ok(());
                }
            }
            let mut place = self.user.begin();
            let Some(message) = channel.receive_admitted::<CallRequest>(|bytes| place.take(bytes))? else {
                return Ok(());
            };
            place.take(room_of(&message));
            self.keep_rate(&message.head);
            if is_long(&message) {
                waiting.write();
                place.begin_long();
            }
            let (Given { answer, buffers, descriptor, .. }, entry) = self.answer(message);
            let descriptors: Vec<_> = descriptor.iter().map(|one| one.as_fd()).collect();
            let sent = channel.send(&answer, &buffers, &descriptors);
            waiting.add(entry);
            match sent {
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                    channel.send(CallAnswer::refused(Errno::TOO_BIG), &[], &[])?;
                }
                sent => sent?,
            }
        }
    }

    /// Polls for the next call for a short time, since calls come in series. Returns whether there is one.
    fn look_for_next(&self, channel: &Channel) -> bool {
        if self.looks.swap(true, Ordering::Acquire) {
            return false;
        }
        let is_there = channel.look_for_message(NEXT_CALL);
        self.looks.store(false, Ordering::Release);
        is_there
    }

    /// Waits if the owner exceeds its limit of calls per second. Records the first wait of a session in the journal.
    fn keep_rate(&self, request: &CallRequest) {
        let Some(limit) = self.session.limits().calls else { return };
        let wait = self.owner.count_call(limit, Instant::now());
        if wait.is_zero() {
            return;
        }
        if self.session.waits_first() {
            let why = format!("calls wait: limits.calls of the grant is {limit} a second");
            record(&self.journal, &self.session, describe(request), Some(&why));
        }
        std::thread::sleep(wait);
    }

    /// Makes a call, and returns its answer and its journal entry.
    fn answer(&self, message: CallMessage<CallRequest>) -> (Given, Option<CallEntry>) {
        let what = describe(&message.head);
        let is_recorded =
            matches!(&message.head, CallRequest::Bpf { command, .. } if RECORDED.contains(command));
        let made = self.make(message);
        self.session.count_call(made.as_ref().is_err_and(|refusal| refusal.reason.is_some()));
        match made {
            Ok(mut given) => {
                let about = std::mem::take(&mut given.about);
                let is_made = given.answer.result.is_ok() && (is_recorded || !about.objects.is_empty());
                (given, is_made.then_some(CallEntry { what, about, denied: None }))
            }
            Err(SessionRefusal { error, reason }) => {
                let about = GrantedObjects::default();
                let entry = reason.is_some().then(|| CallEntry { what, about, denied: reason.clone() });
                let answer = CallAnswer { reason, ..CallAnswer::refused(error) };
                (Given { answer, ..Given::number(0) }, entry)
            }
        }
    }

    fn make(&self, message: CallMessage<CallRequest>) -> Result<Given, SessionRefusal> {
        let CallMessage { head, buffers, descriptors } = message;
        match head {
            CallRequest::Bpf { command, fields, netns } => {
                let layout = layout(command).ok_or(Errno::INVAL)?;
                let attr = CallAttr::copy(buffers.first().ok_or(Errno::INVAL)?, layout.known)?;
                self.bpf(BpfCall::new(layout, attr, &fields, (&buffers, &descriptors), netns)?)
            }
            CallRequest::ProgramInfo { parts } => {
                self.permit(&[])?;
                let program = descriptors.first().ok_or(Errno::BADF)?;
                let info = buffers.first().ok_or(Errno::INVAL)?;
                let (info, outputs) = brokered::program_info(program, info, &parts)?;
                let mut written = vec![true];
                written.extend(outputs.iter().map(Option::is_some));
                let buffers = std::iter::once(info).chain(outputs.into_iter().flatten()).collect();
                let answer = CallAnswer { written, ..CallAnswer::number(0) };
                Ok(Given { answer, buffers, ..Given::number(0) })
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
                let about = GrantedObjects { objects: message.objects.clone(), program: None };
                Ok(Given { about, ..Given::number(message.send(&self.session)?) })
            }
        }
    }

    pub fn permit(&self, objects: &[RawObject]) -> Result<(), SessionRefusal> {
        self.permit_load(objects, None)
    }

    pub fn permit_load(
        &self,
        objects: &[RawObject],
        loads: Option<&LoadInstructions<'_>>,
    ) -> Result<(), SessionRefusal> {
        let denied = |denial: bpfmand_access::Denial| SessionRefusal {
            error: Errno::PERM,
            reason: Some(denial.one_line()),
        };
        decide::decide(&self.session, &(self.policy)(), objects, loads).map_err(denied)
    }
}

/// Returns whether a call takes a CPU for as long as its caller wishes.
fn is_long(message: &CallMessage<CallRequest>) -> bool {
    match &message.head {
        CallRequest::Bpf { command: command::PROG_LOAD, fields, .. } => !is_trivial(fields, &message.buffers),
        CallRequest::Bpf { command, .. } => *command == command::PROG_TEST_RUN,
        _ => false,
    }
}

/// Adds an entry about a call, or a command, of a session.
pub fn record(journal: &Journal, session: &BrokeredSession, what: String, denied: Option<&str>) {
    let message = denied.map(str::to_owned);
    let result = message.map_or(EntryResult::Done, |message| {
        EntryResult::Denied(EntryFailure {
            code: "PermissionDenied".to_owned(),
            message,
            ..EntryFailure::default()
        })
    });
    let entry = HistoryEntry {
        by: EntryActor::of(&session.facts.peer),
        verb: "RunAs".to_owned(),
        object: format!("{what} in session {}", session.facts.name),
        owners: vec![session.owner().to_string()],
        result,
        ..HistoryEntry::default()
    };
    if denied.is_some() {
        journal.record_failed_read(entry, None);
    } else {
        journal.record_access(entry, None);
    }
}

/// Returns the size of the buffers that the kernel will write, in bytes.
fn room_of(message: &CallMessage<CallRequest>) -> usize {
    let command = match &message.head {
        CallRequest::Bpf { command, .. } => command,
        CallRequest::ProgramInfo { .. } => {
            let lengths =
                |info: &Vec<u8>| INFO_PARTS.iter().filter_map(|part| part.length(info)).sum::<u64>();
            return message
                .buffers
                .first()
                .map_or(0, |info| usize::try_from(lengths(info)).unwrap_or(usize::MAX));
        }
        _ => return 0,
    };
    let attr = || CallAttr::copy(message.buffers.first()?, layout(*command)?.known).ok();
    let fields = || layout(*command)?.fields(&mut attr()?).ok();
    let room = |field: bpfmand_calls::Field| match field.kind {
        FieldKind::Output(length) => usize::try_from(length).unwrap_or(usize::MAX),
        _ => 0,
    };
    fields().map_or(0, |fields| fields.into_iter().map(room).fold(0, usize::saturating_add))
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
