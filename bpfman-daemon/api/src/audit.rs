//! The audit log: one line for each change that a caller asked for, whatever became of it, and for each refusal.
//!
//! Lines have the target `audit`. They hold no credentials, no values of global variables and no metadata. Texts are
//! given to the log as values, which it quotes and escapes: none of them ends a line or passes for another field.

use std::fmt::Display;
use std::sync::{Arc, Mutex, PoisonError};

use bpfman_proto::Method;
use bpfmand_access::By;
use bpfmand_core::{
    AttachPoint, AttachRequest, BytecodeSource, HookKind, Interface, LinkId, LoadRequest, Peer, ProgramId,
    audit_text as text,
};
use bpfmand_engine::{ProgramDetails, SourceRecord, WantedMap};
use tonic::{Code, Status};

use crate::calls::is_audited;

tokio::task_local! {
    static CALL: Arc<Call>;
}

/// A call while it is worked on.
#[derive(Debug)]
pub(crate) struct Call {
    peer: Peer,
    method: Option<Method>,
    verb: String,
    about: Mutex<About>,
}

/// What is known of a call besides who makes it.
#[derive(Debug, Default)]
struct About {
    object: String,
    made: String,
    digest: String,
    rule: String,
    grant: String,
    failed: Option<(Code, String)>,
    /// The line is written by who works on, after the answer began.
    goes_on: bool,
}

impl Call {
    /// A call of a peer, by its path: `/bpfman.v1.Bpfman/Load`.
    pub fn new(peer: Peer, path: &str) -> Arc<Self> {
        let method = Method::from_path(path);
        let verb = match method {
            Some(method) => method.name(),
            None => path.rsplit('/').next().unwrap_or_default(),
        };
        Arc::new(Self { peer, method, verb: verb.to_owned(), about: Mutex::default() })
    }

    /// Works for this call, without a line.
    pub fn scope<T>(self: Arc<Self>, work: impl Future<Output = T>) -> impl Future<Output = T> {
        CALL.scope(self, work)
    }

    /// Works for this call. Its line is written when the answer begins, unless the work goes on.
    pub async fn follow<B>(
        self: Arc<Self>,
        work: impl Future<Output = http::Response<B>>,
    ) -> http::Response<B> {
        let response = Arc::clone(&self).scope(work).await;
        if !self.about().goes_on {
            let status = Status::from_header_map(response.headers());
            self.end(status.filter(|status| status.code() != Code::Ok).as_ref());
        }
        response
    }

    /// Writes the line.
    pub fn end(&self, failed: Option<&Status>) {
        let about = self.about();
        let failed = failed
            .map(|status| (status.code(), status.message()))
            .or_else(|| about.failed.as_ref().map(|(code, message)| (*code, message.as_str())));
        if failed.is_none() && !self.method.is_some_and(is_audited) {
            return;
        }
        let (result, reason) =
            failed.map_or(("done".to_owned(), ""), |(code, why)| (format!("{code:?}"), why));
        let Peer { uid, gid, pid, cgroup, .. } = &self.peer;
        tracing::info!(
            target: "audit",
            uid,
            gid,
            pid,
            cgroup = text(cgroup.as_deref().unwrap_or_default()),
            unit = text(self.peer.unit().unwrap_or_default()),
            pod = text(self.peer.pod().unwrap_or_default()),
            verb = text(&self.verb),
            object = text(&about.object),
            made = text(&about.made),
            digest = text(&about.digest),
            rule = text(&about.rule),
            grant = text(&about.grant),
            result,
            reason = text(reason),
        );
    }

    /// Which bytes it is about, and the rule that let them in.
    pub fn of_origin(&self, digest: &str, rule: &str) {
        let mut about = self.about();
        (about.digest, about.rule) = (digest.to_owned(), rule.to_owned());
    }

    fn about(&self) -> std::sync::MutexGuard<'_, About> {
        self.about.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn note(note: impl FnOnce(&mut About)) {
    // Calls that no socket brought have nobody to write about.
    let _by_nobody = CALL.try_with(|call| note(&mut call.about()));
}

/// The call that this task works for, whose line is written by who takes it: the work goes on after the answer began.
pub(crate) fn goes_on() -> Option<Arc<Call>> {
    note(|about| about.goes_on = true);
    CALL.try_with(Arc::clone).ok()
}

/// Which call it is, if this daemon knows it.
pub(crate) fn method() -> Option<Method> {
    CALL.try_with(|call| call.method).ok().flatten()
}

/// What allows it.
pub(crate) fn allowed_by(by: &By) {
    note(|about| about.grant = by.to_string());
}

/// Who makes the call.
pub(crate) fn peer() -> Option<Peer> {
    CALL.try_with(|call| call.peer.clone()).ok()
}

/// What the call is about.
pub(crate) fn object(what: impl Display) {
    note(|about| about.object = what.to_string());
}

/// A load, by its source and its programs.
pub(crate) fn load(request: &LoadRequest) {
    let names: Vec<&str> = request.programs.iter().map(|program| program.name.as_str()).collect();
    object(format_args!("{} {}", named(&request.source), names.join(" ")));
}

/// Programs, and what is to take their place.
pub(crate) fn replacement(programs: &[ProgramId], source: &BytecodeSource) {
    let ids: Vec<String> = programs.iter().map(ToString::to_string).collect();
    object(format_args!("program {} by {}", ids.join(" "), named(source)));
}

/// Where bytecode comes from.
pub(crate) fn source(source: &BytecodeSource) {
    object(named(source));
}

fn named(source: &BytecodeSource) -> String {
    match source {
        BytecodeSource::File(path) => format!("file {}", path.display()),
        BytecodeSource::Image { url, .. } => format!("image {url}"),
    }
}

/// An attachment, by its program and its place.
pub(crate) fn attach(request: &AttachRequest) {
    object(format_args!("program {} at {}", request.program, place(&request.point)));
}

fn place(point: &AttachPoint) -> String {
    let kind = point.type_name();
    let mut text = match point {
        // Named after what the program was loaded for.
        AttachPoint::Fentry | AttachPoint::Fexit | AttachPoint::Lsm => kind.to_owned(),
        _ => format!("{kind} {point}"),
    };
    if let Some((interface, _)) = point.hook() {
        text.extend(interface.netns.as_ref().map(|netns| format!(" in {}", netns.display())));
    }
    if let AttachPoint::Uprobe { offset, scope, .. } = point {
        text.push_str(&format!(" offset {offset}"));
        text.extend(scope.pid.map(|pid| format!(" pid {pid}")));
        text.extend(scope.container_pid.map(|pid| format!(" as process {pid} sees it")));
    }
    text
}

/// A map.
pub(crate) fn map(wanted: &WantedMap) {
    match wanted {
        WantedMap::Id(id) => object(format_args!("map {id}")),
        WantedMap::OfProgram { program, name } => object(format_args!("map {name} of program {program}")),
    }
}

/// A hook.
pub(crate) fn hook(interface: &Interface, kind: HookKind) {
    let netns = interface.netns.as_ref().map(|netns| format!(" in {}", netns.display()));
    object(format_args!("{} {}{}", kind.name(), interface.name, netns.unwrap_or_default()));
}

/// Which bytes it is about, and the rule that let them in.
pub(crate) fn origin(digest: String, rule: String) {
    note(|about| (about.digest, about.rule) = (digest, rule));
}

/// What it made.
pub(crate) fn made(what: impl Display) {
    note(|about| about.made = what.to_string());
}

/// It failed, though its answer is one.
pub(crate) fn failed(code: i32, why: &str) {
    note(|about| about.failed = Some((Code::from_i32(code), why.to_owned())));
}

/// Programs that came of it, and which bytecode they have by which rule.
pub(crate) fn programs<'p>(programs: impl IntoIterator<Item = &'p ProgramDetails>) {
    let (mut names, mut origin) = (Vec::new(), None);
    for program in programs {
        if let Some(managed) = &program.managed {
            names.push(format!("program {} {}", program.id, managed.record.name));
            origin = Some(match &managed.record.source {
                SourceRecord::Image { digest, verified_by, .. } => (digest.clone(), verified_by.clone()),
                _ => (format!("sha256:{}", managed.record.bytecode_sha256()), String::new()),
            });
        }
    }
    let (digest, rule) = origin.unwrap_or_default();
    note(|about| (about.made, about.digest, about.rule) = (names.join(", "), digest, rule));
}

/// A link that the daemon ends by itself, because of root's policy.
pub(crate) fn by_policy(link: &LinkId, program: &ProgramDetails, why: &str, failed: Option<&Status>) {
    let (result, reason) =
        failed.map_or(("done".to_owned(), ""), |status| (format!("{:?}", status.code()), status.message()));
    let object = format!("link {link} of program {}", program.id);
    let digest =
        program.managed.as_ref().map(|managed| format!("sha256:{}", managed.record.bytecode_sha256()));
    tracing::info!(
        target: "audit",
        by = "policy",
        verb = "Detach",
        object,
        digest = digest.unwrap_or_default(),
        rule = text(why),
        result,
        reason = text(reason),
    );
}
