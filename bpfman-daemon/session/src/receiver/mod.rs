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
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bpfmand_calls::{CallAnswer, CallMessage, CallRequest, Channel, Errno, command};
use bpfmand_notify::{Listener, Notification};

use crate::filter;

use self::broker_link::BrokerLink;
use self::call::WaitingCall;
use self::client_link::ClientLink;

/// Maximum number of calls at a time. Others wait: a verification can take seconds.
const MAX_CALLS: usize = 16;
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

/// Receiver of one session.
#[derive(Debug)]
pub struct Receiver {
    listener: Listener,
    link: BrokerLink,
    process: u32,
    client: ClientLink,
    /// Number of threads, and of those that wait for a call.
    threads: AtomicUsize,
    waiting: AtomicUsize,
    /// Counter from which sockets for routes get their numbers.
    route_numbers: AtomicUsize,
}

impl Receiver {
    /// Creates it for a command with this process.
    pub fn new(listener: Listener, process: u32, sockets: SessionSockets) -> Arc<Self> {
        let SessionSockets { client, daemon, returns } = sockets;
        listener.wake_up_here();
        let link = BrokerLink::new(daemon, returns, process);
        let [threads, waiting, route_numbers] = [(); 3].map(|()| AtomicUsize::new(0));
        let client = ClientLink::new(client);
        Arc::new(Self { listener, link, process, client, threads, waiting, route_numbers })
    }

    /// Serves until no process of the session is left, and returns the exit status of this process.
    pub fn run(self: Arc<Self>) -> anyhow::Result<i32> {
        sandbox::enter()?;
        self.start_thread()?;
        let forwarder = Arc::clone(&self);
        std::thread::Builder::new()
            .stack_size(STACK)
            .spawn(move || life::forward_signals(forwarder.client.channel(), forwarder.process))?;
        let link = Arc::clone(&self);
        std::thread::Builder::new().stack_size(STACK).spawn(move || link.link.accept_daemons())?;
        life::reap(&self.client, self.process)
    }

    fn start_thread(self: &Arc<Self>) -> std::io::Result<()> {
        self.threads.fetch_add(1, Ordering::Relaxed);
        let receiver = Arc::clone(self);
        let started = std::thread::Builder::new().stack_size(STACK).spawn(move || receiver.receive_calls());
        started.map(drop).inspect_err(|_| {
            self.threads.fetch_sub(1, Ordering::Relaxed);
        })
    }

    fn receive_calls(self: Arc<Self>) {
        let mut channel = None;
        loop {
            self.waiting.fetch_add(1, Ordering::SeqCst);
            let received = self.listener.receive();
            let others = self.waiting.fetch_sub(1, Ordering::SeqCst) - 1;
            let notification = match received {
                Ok(notification) => notification,
                // The caller is gone, or the filter has no process any more: the reaper ends this process.
                Err(_) => {
                    std::thread::sleep(std::time::Duration::from_millis(1));
                    continue;
                }
            };
            if others == 0 && self.threads.load(Ordering::Relaxed) < MAX_CALLS {
                // Without another thread, the next call waits for this one.
                let _full = self.start_thread();
            }
            self.serve(notification, &mut channel);
        }
    }

    fn serve(&self, notification: Notification, channel: &mut Option<Channel>) {
        let mut call = WaitingCall::new(&self.listener, notification);
        let mut ask = Asking { receiver: self, channel };
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

/// The daemon, as one thread asks it.
struct Asking<'a> {
    receiver: &'a Receiver,
    channel: &'a mut Option<Channel>,
}

impl Asking<'_> {
    /// Returns a number of a socket for routes that the caller does not use.
    fn free_route_number(&self, call: &mut WaitingCall<'_>) -> Result<u32, Errno> {
        let numbers = filter::ROUTE_SOCKETS;
        for _ in numbers.clone() {
            // Not the same number for two threads at a time.
            let turn = self.receiver.route_numbers.fetch_add(1, Ordering::Relaxed) % numbers.len();
            let number = numbers.start + turn as u32;
            if !call.find_descriptor(number.cast_signed())? {
                return Ok(number);
            }
        }
        Err(Errno(libc::EMFILE))
    }

    /// Sends a request with what the caller passes on. The client is shown the reason of a refusal.
    fn ask(
        &mut self,
        call: &WaitingCall<'_>,
        request: &CallRequest,
        may_repeat: bool,
        buffers: &[Vec<u8>],
    ) -> Result<CallMessage<CallAnswer>, Errno> {
        let answer = self.receiver.link.ask(self.channel, (request, may_repeat), buffers, call.passed())?;
        if let Some(reason) = &answer.head.reason {
            let of_load = matches!(request, CallRequest::Bpf { command: command::PROG_LOAD, .. });
            self.receiver.client.show_refusal(reason, of_load);
        }
        Ok(answer)
    }
}
