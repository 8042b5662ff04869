//! Messages for routes (netlink) that attach programs.

use std::os::fd::OwnedFd;

use bpfman_model::{Direction, HookKind, IfIndex, Interface};
use bpfmand_calls::{Errno, ObjectKind, RouteKind, RouteRequest, route_requests};
use bpfmand_kernel::linux::brokered;

use crate::decide::RawObject;
use crate::lasting::LastingAttachment;
use crate::session::BrokeredSession;

/// Maximum size of a message, in bytes.
const MAX_MESSAGE: usize = 64 << 10;

/// Returns whether all programs are the session's; `None` is another kind of filter.
fn is_own(session: &BrokeredSession, programs: &[Option<u32>]) -> bool {
    programs.iter().all(|id| id.is_some_and(|id| session.has(ObjectKind::Program, id)))
}

/// A parsed message, and the socket to send it on.
pub struct RouteMessage<'a> {
    socket: &'a OwnedFd,
    message: Vec<u8>,
    /// Objects that a grant has to cover.
    pub objects: Vec<RawObject>,
    /// Attachments that exist once the kernel has accepted the message.
    attached: Vec<LastingAttachment>,
    /// Hooks that the message may change, in this namespace.
    changed: Vec<(IfIndex, HookKind)>,
    namespace: OwnedFd,
}

impl<'a> RouteMessage<'a> {
    /// Parses a message, fills in its descriptors, and finds its hooks in the namespace of the socket.
    pub fn read(
        session: &BrokeredSession,
        message: &[u8],
        descriptors: &'a [OwnedFd],
    ) -> Result<Self, Errno> {
        if message.len() > MAX_MESSAGE {
            return Err(Errno::TOO_BIG);
        }
        let socket =
            descriptors.first().filter(|socket| brokered::is_route_socket(socket)).ok_or(Errno::INVAL)?;
        let namespace = brokered::socket_namespace(socket)?;
        let mut this = Self {
            socket,
            message: message.to_vec(),
            objects: Vec::new(),
            attached: Vec::new(),
            changed: Vec::new(),
            namespace,
        };
        for request in route_requests(message)? {
            this.add(session, &request, descriptors)?;
        }
        Ok(this)
    }

    fn add(
        &mut self,
        session: &BrokeredSession,
        request: &RouteRequest,
        descriptors: &[OwnedFd],
    ) -> Result<(), Errno> {
        let namespace = &self.namespace;
        let mut program = None;
        for place in &request.descriptors {
            let slot = self.message.get_mut(*place..place + 4).ok_or(Errno::INVAL)?;
            let index = u32::from_ne_bytes([slot[0], slot[1], slot[2], slot[3]]) as usize;
            let descriptor = descriptors.get(index).ok_or(Errno::BADF)?;
            let number = std::os::fd::AsRawFd::as_raw_fd(descriptor);
            slot.copy_from_slice(&number.to_ne_bytes());
            if request.attaches == Some(*place) {
                program = brokered::object_id(descriptor);
            }
        }
        let (index, kind, removes) = match &request.kind {
            RouteKind::Question => return Ok(()),
            RouteKind::Xdp { index, name, removes } => {
                let index = match (index, name) {
                    (0, Some(name)) => brokered::interface_index(namespace, name).ok_or(Errno::NODEV)?.0,
                    (index, None) => *index,
                    // The kernel would rename the interface.
                    (_, Some(_)) => return Err(Errno::PERM),
                };
                (index, HookKind::Xdp, *removes)
            }
            RouteKind::Clsact { index, removes } => (*index, HookKind::Tc(Direction::Ingress), *removes),
            RouteKind::Filter { index, egress, removes } => {
                let direction = if *egress { Direction::Egress } else { Direction::Ingress };
                (*index, HookKind::Tc(direction), *removes)
            }
        };
        if let RouteKind::Filter { .. } = request.kind {
            self.objects.push(RawObject::Position);
        }
        let name = brokered::interface_name(namespace, IfIndex(index)).ok_or(Errno::NODEV)?;
        self.objects.push(RawObject::Hook(kind, Interface { name, netns: None }));
        // A change or removal affects programs of others, unless all at the hook are the session's.
        let changes = removes || kind == HookKind::Xdp;
        if changes
            && !brokered::programs_at(namespace, IfIndex(index), kind)
                .is_some_and(|all| is_own(session, &all))
        {
            self.objects.push(RawObject::AnyPlace);
        }
        self.changed.push((IfIndex(index), kind));
        if let RouteKind::Xdp { removes: true, .. } = request.kind {
            return Ok(());
        }
        if let Some(program) = program.filter(|object| object.kind == ObjectKind::Program) {
            self.objects.extend(brokered::program_type_of(program.id).map(RawObject::Type));
            self.attached.push(LastingAttachment::unlinked(namespace, IfIndex(index), kind, program.id)?);
        }
        Ok(())
    }

    /// Sends the message, and remembers the attachments that it makes.
    pub fn send(self, session: &BrokeredSession) -> Result<i64, Errno> {
        if !self.attached.is_empty() {
            session.check_lasting()?;
        }
        let sent = brokered::send_route_message(self.socket, &self.message)?;
        self.attached.into_iter().for_each(|one| session.keep(one));
        // Forget attachments that are not at the hooks any more: refused, removed or replaced ones.
        self.changed.iter().for_each(|(index, kind)| session.forget_detached(&self.namespace, *index, *kind));
        Ok(sent)
    }
}
