//! The receiver: turns calls of the command into requests, without any right.
//!
//! It has the command's own user, no capability, and no descriptor but its sockets and the listener. It is the parent of the
//! command, since a kernel with Yama lets only ancestors read the memory of a process.

mod bpf;
mod broker_link;
mod call;
mod client_link;
mod info;
mod life;
mod perf;
mod route;
mod sandbox;

use std::os::unix::net::UnixListener;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bpfmand_calls::{CallAnswer, CallMessage, CallRequest, Channel, Errno, command};
use bpfmand_notify::{Listener, Notification, PendingSlot};

use crate::filter;

use self::broker_link::BrokerLink;
use self::call::WaitingCall;
use self::client_link::ClientLink;

pub use self::sandbox::enter as enter_sandbox;

/// Maximum number of calls at a time. Others wait: a verification can take seconds.
pub const MAX_CALLS: usize = 16;
const STACK: usize = 256 << 10;

/// Connections of a session.
#[derive(Debug)]
pub struct SessionSockets {
    /// Connection to the client, for signals and the exit status.
    pub client: Channel,
    /// Connection to the daemon.
    pub daemon: Channel,
    /// Socket on which a daemon that was started again connects.
    pub returns: UnixListener,
}

impl SessionSockets {
    pub fn new(client: Channel, daemon: &Channel, returns: UnixListener) -> std::io::Result<Self> {
        Ok(Self { client, daemon: daemon.stream().try_clone()?.into(), returns })
    }
}

/// Receiver of one session.
#[derive(Debug)]
pub struct Receiver {
    listener: Listener,
    link: BrokerLink,
    process: u32,
    client: ClientLink,
    /// Free slots, one for each thread that can still be started.
    slots: Mutex<Vec<PendingSlot>>,
    /// Number of threads that wait for a call.
    waiting: AtomicUsize,
    /// Counter from which sockets for routes get their numbers.
    route_numbers: AtomicUsize,
}

impl Receiver {
    /// Creates the receiver of the command `process`. Slots may have calls of an earlier receiver.
    pub fn new(
        listener: Listener,
        process: u32,
        sockets: SessionSockets,
        slots: Vec<PendingSlot>,
    ) -> Arc<Self> {
        let SessionSockets { client, daemon, returns } = sockets;
        listener.wake_up_here();
        let link = BrokerLink::new(daemon, returns, process);
        let [waiting, route_numbers] = [(); 2].map(|()| AtomicUsize::new(0));
        let (client, slots) = (ClientLink::new(client), Mutex::new(slots));
        Arc::new(Self { listener, link, process, client, slots, waiting, route_numbers })
    }

    /// Serves until no process of the session is left, and returns the exit status of this process.
    pub fn run(self: Arc<Self>) -> anyhow::Result<i32> {
        let (left, free) =
            std::mem::take(&mut *self.lock_slots()).into_iter().partition(|slot| slot.left().is_some());
        *self.lock_slots() = free;
        for slot in left {
            self.start_thread(slot)?;
        }
        self.start_another()?;
        let forwarder = Arc::clone(&self);
        std::thread::Builder::new()
            .stack_size(STACK)
            .spawn(move || life::forward_signals(forwarder.client.channel(), forwarder.process))?;
        let link = Arc::clone(&self);
        std::thread::Builder::new().stack_size(STACK).spawn(move || link.link.accept_daemons())?;
        life::reap(&self.client, self.process)
    }

    fn lock_slots(&self) -> std::sync::MutexGuard<'_, Vec<PendingSlot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a thread, unless the maximum runs.
    fn start_another(self: &Arc<Self>) -> std::io::Result<()> {
        let slot = self.lock_slots().pop();
        slot.map_or(Ok(()), |slot| self.start_thread(slot))
    }

    fn start_thread(self: &Arc<Self>, slot: PendingSlot) -> std::io::Result<()> {
        let receiver = Arc::clone(self);
        std::thread::Builder::new().stack_size(STACK).spawn(move || receiver.receive_calls(slot)).map(drop)
    }

    fn receive_calls(self: Arc<Self>, mut slot: PendingSlot) {
        if let Some(notification) = slot.left() {
            self.serve(&mut slot, notification, true);
        }
        loop {
            self.waiting.fetch_add(1, Ordering::SeqCst);
            let received = self.listener.receive(&mut slot);
            let others = self.waiting.fetch_sub(1, Ordering::SeqCst) - 1;
            let notification = match received {
                Ok(notification) => notification,
                // The caller is gone, or the filter has no process any more: the reaper ends this process.
                Err(_) => {
                    std::thread::sleep(std::time::Duration::from_millis(1));
                    continue;
                }
            };
            if others == 0 {
                // If no further thread starts, the next call waits until this one is served.
                let _full = self.start_another();
            }
            self.serve(&mut slot, notification, false);
            slot.clear();
        }
    }

    /// Serves a call. If an earlier receiver began it (`was_begun`), the kernel may have executed it already.
    fn serve(&self, slot: &mut PendingSlot, notification: Notification, was_begun: bool) {
        let mut call = WaitingCall::new(&self.listener, slot, notification);
        if let Some(number) = call.given() {
            return call.finish(Ok(number));
        }
        let mut ask = DaemonAccess { receiver: self, was_begun };
        let result = match notification.call {
            libc::SYS_bpf => bpf::serve(&mut call, &mut ask),
            libc::SYS_perf_event_open => perf::serve(&mut call, &mut ask),
            libc::SYS_socket => route::open(&mut call, &mut ask),
            libc::SYS_sendmsg => route::send(&mut call, &mut ask, true),
            libc::SYS_sendto => route::send(&mut call, &mut ask, false),
            libc::SYS_capget => call.answer_capabilities(),
            _ => Err(Errno::NOSYS),
        };
        match result {
            Ok(call::CallOutcome::Answered) => {}
            Ok(call::CallOutcome::Value(value)) => call.finish(Ok(value)),
            Err(error) => call.finish(Err(error)),
        }
    }
}

/// Access to the daemon for one call.
struct DaemonAccess<'a> {
    receiver: &'a Receiver,
    was_begun: bool,
}

impl DaemonAccess<'_> {
    /// Returns a number for a socket for routes that the caller does not use.
    fn free_route_number(&self, call: &mut WaitingCall<'_>) -> Result<u32, Errno> {
        let numbers = filter::ROUTE_SOCKETS;
        for _ in numbers.clone() {
            // Two threads must not get the same number at a time.
            let turn = self.receiver.route_numbers.fetch_add(1, Ordering::Relaxed) % numbers.len();
            let number = numbers.start + turn as u32;
            if !call.find_descriptor(number.cast_signed())? {
                return Ok(number);
            }
        }
        Err(Errno(libc::EMFILE))
    }

    /// Sends a request with the caller's descriptors, and shows the client the reason of a refusal.
    fn ask(
        &mut self,
        call: &WaitingCall<'_>,
        request: &CallRequest,
        may_repeat: bool,
        buffers: &[Vec<u8>],
    ) -> Result<CallMessage<CallAnswer>, Errno> {
        if self.was_begun && !may_repeat {
            return Err(Errno::AGAIN);
        }
        let mut answer = self.receiver.link.ask((request, may_repeat), buffers, call.passed())?;
        if let Some(line) = answer.head.loaded.take() {
            self.receiver.client.send_loaded(line);
        }
        if let Some(reason) = &answer.head.reason {
            let of_load = matches!(request, CallRequest::Bpf { command: command::PROG_LOAD, .. });
            self.receiver.client.show_refusal(reason, of_load);
        }
        Ok(answer)
    }
}
