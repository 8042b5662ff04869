//! Attacks by callers and tenants through released interfaces, one test per attack. The tests check effects:
//! packets, contents of maps, processes and objects.

mod dodges;
mod identity;
mod names;
mod odd_requests;
mod others;
mod packets;
mod races;
mod rights;
mod shares;
mod swaps;

use std::path::Path;

use bpfman_proto::v1;
use bpfman_proto::v1::BpfmanProgramType as Type;
use bpfman_tests::requests::{attach, load, number, tracepoint};
use bpfman_tests::target::Target;
use bpfman_tests::{Wire, compile, kernel};
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

use crate::equipment::Program;
use crate::rights::as_user::as_user;

/// Connects in the calling thread, so that the daemon sees the thread's user, and makes calls.
fn connected<T, F: Future<Output = T>>(socket: &Path, work: impl FnOnce(Channel) -> F) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let endpoint = Endpoint::try_from(format!("unix:{}", socket.display())).unwrap();
        work(endpoint.connect().await.unwrap()).await
    })
}

fn calls_as<T: Send>(user: u32, socket: &Path, calls: impl FnOnce(&Wire) -> T + Send) -> T {
    as_user(user, || calls(&Wire::new(socket)))
}

/// Program that counts what one process does, at a tracepoint or by a uprobe.
struct Watching {
    program: Program,
    place: u32,
}

impl Watching {
    const TRACEPOINT: &str = "syscalls/sys_enter_getpriority";

    fn request(path: &Path, name: &str, kind: Type, process: &Target) -> v1::LoadRequest {
        let mut request = load(path, &[(name, kind)]);
        let pid = number(process.pid().cast_signed());
        request.global_data.insert("only_process".to_owned(), pid);
        request
    }

    fn of_root(wire: &Wire, process: &Target) -> Self {
        let request = Self::request(&compile::object("probes"), "on_tracepoint", Type::Tracepoint, process);
        Self { program: Program::of(&wire.load(request).unwrap().programs[0]), place: 0 }
    }

    fn fired(&self) -> u64 {
        kernel::array_value(kernel::map_named(&self.program.maps, "fired"), self.place)
    }

    fn attach(&self, wire: &Wire, name: &str) -> Result<u32, Status> {
        wire.attach(attach(self.program.id, tracepoint(name))).map(|made| made.link_id)
    }
}
