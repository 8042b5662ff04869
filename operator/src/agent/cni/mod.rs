//! Agent's side of the CNI plugin: a socket, and a file with rules for when no agent listens.

mod displaced;
mod messages;
pub mod protect;

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use bpfman_apply::facts::{Netns, NodeInterface};
use bpfman_cni::protocol::{self, MAX_LINE, PluginAnswer, PluginProblem, PluginRequest, VERSION, Verb};
use bpfman_cni::rules::Rules;
use bpfman_proto::ext::v1::FindNetworkNamespaceRequest;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;

use self::protect::{NetworkNotFound, PodToProtect, ProtectError, check, protect};
use crate::agent::shared::Shared;

const MAX_PENDING: usize = 64;

const REQUEST: Duration = Duration::from_secs(10);

const RETRY_DELAY: Duration = Duration::from_millis(100);

/// Serves the plugin forever, if a socket is configured. `rules` is the file for when no agent listens.
pub async fn serve(shared: &Arc<Shared>, socket: Option<&Path>, rules: &Path) -> anyhow::Result<()> {
    let Some(socket) = socket else { return std::future::pending().await };
    shared.arriving.keep_in(&socket.with_file_name("pods.json"));
    while !shared.is_acting() {
        tokio::time::sleep(RETRY_DELAY).await;
    }
    let listener = listen(socket).with_context(|| format!("listening on {}", socket.display()))?;
    tracing::info!(socket = %socket.display(), "the CNI plugin is listened to");
    tokio::join!(accept(shared, listener), keep_rules(shared, rules));
    Ok(())
}

/// Creates the socket for its owner and root only, since a connection can cause programs to run.
fn listen(socket: &Path) -> io::Result<UnixListener> {
    let temporary = socket.with_extension("new");
    for left in [&temporary, socket] {
        match fs::remove_file(left) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    // Renamed after its mode was set, so that it is never reachable with another mode.
    let listener = UnixListener::bind(&temporary)?;
    fs::set_permissions(&temporary, fs::Permissions::from_mode(0o600))?;
    fs::rename(&temporary, socket)?;
    Ok(listener)
}

async fn accept(shared: &Arc<Shared>, listener: UnixListener) {
    let places = Arc::new(Semaphore::new(MAX_PENDING));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "a CNI plugin could not be listened to");
                tokio::time::sleep(RETRY_DELAY).await;
                continue;
            }
        };
        let shared = Arc::clone(shared);
        tokio::spawn(async move {
            if let Err(error) = exchange(&shared, stream).await {
                tracing::warn!(%error, "a CNI plugin broke off");
            }
            drop(place);
        });
    }
}

async fn exchange(shared: &Arc<Shared>, mut stream: UnixStream) -> io::Result<()> {
    let (reader, mut writer) = stream.split();
    let mut line = Vec::new();
    let mut reader = BufReader::new(reader.take(MAX_LINE));
    tokio::time::timeout(REQUEST, reader.read_until(b'\n', &mut line)).await??;
    let answer = match protocol::parse::<PluginRequest>(&line) {
        Ok(request) if request.version == VERSION => answer(shared, &request).await,
        Ok(request) => PluginAnswer::unknown(format!(
            "the plugin speaks version {} and the agent {VERSION}: install one of them again",
            request.version
        )),
        Err(error) => PluginAnswer::unknown(format!("the request cannot be read: {error}")),
    };
    writer.write_all(&protocol::line(&answer)?).await
}

async fn answer(shared: &Arc<Shared>, request: &PluginRequest) -> PluginAnswer {
    let done = PluginAnswer { version: VERSION, ..PluginAnswer::default() };
    match request.verb {
        Verb::Status => shared.not_ready().map_or(done, PluginAnswer::unknown),
        Verb::Del => {
            shared.arriving.remove(&(request.namespace.clone(), request.name.clone()), &request.netns);
            done
        }
        Verb::Add => {
            let pod = pod(shared, request).await;
            let answer = match protect(shared, &pod).await {
                Ok(protected) => PluginAnswer {
                    attached: protected.attached,
                    problems: protected.open.into_iter().map(open).collect(),
                    ..done
                },
                Err(error) => failed(error),
            };
            tracing::info!(namespace = request.namespace, pod = request.name, ?answer, "a pod arrives");
            answer
        }
        Verb::Displaced => {
            displaced::publish(shared, &request.file);
            done
        }
        Verb::Check => check(shared, &pod(shared, request).await).await.map_or_else(failed, |()| done),
    }
}

fn open(message: String) -> PluginProblem {
    PluginProblem { on_unavailable: "open".to_owned(), message }
}

fn failed(error: ProtectError) -> PluginAnswer {
    match error {
        ProtectError::Closed { .. } => {
            PluginAnswer { version: VERSION, refuse: Some(error.to_string()), ..PluginAnswer::default() }
        }
        ProtectError::NotReady(_) | ProtectError::Pod(..) => PluginAnswer::unknown(error.to_string()),
    }
}

async fn pod<'a>(shared: &Shared, request: &'a PluginRequest) -> PodToProtect<'a> {
    PodToProtect { request, network: find(shared, &request.netns).await }
}

const NAMED: [&str; 2] = ["/run/netns/", "/var/run/netns/"];

static SECOND_NAME: AtomicBool = AtomicBool::new(false);

/// Finds a network namespace by its path. A daemon in a container may see only one of the folders [`NAMED`].
async fn find(shared: &Shared, named: &str) -> Result<(Netns, Vec<NodeInterface>), NetworkNotFound> {
    let mut paths = vec![named.to_owned()];
    for folder in NAMED {
        if let Some(name) = named.strip_prefix(folder) {
            paths = NAMED.map(|folder| format!("{folder}{name}")).into();
        }
    }
    // The daemon logs each path that does not exist: try the one that worked last time first.
    let last = SECOND_NAME.load(Ordering::Relaxed);
    if last {
        paths.reverse();
    }
    let mut why = String::new();
    for (at, path) in paths.into_iter().enumerate() {
        shared.metrics.daemon_calls.add("FindNetworkNamespace", 1);
        let request = FindNetworkNamespaceRequest { path };
        match shared.daemon.node().find_network_namespace(request).await {
            Ok(answer) => {
                SECOND_NAME.store(last != (at > 0), Ordering::Relaxed);
                let found = answer.into_inner();
                let netns = Netns { path: found.path, identity: (found.inode, found.cookie) };
                return Ok((netns, found.interfaces.iter().map(NodeInterface::from).collect()));
            }
            Err(status) => status.message().clone_into(&mut why),
        }
    }
    Err(NetworkNotFound(why))
}

async fn keep_rules(shared: &Shared, file: &Path) {
    let mut written = Rules::read(file).ok().flatten();
    loop {
        if let Some(rules) = messages::rules(shared)
            && written.as_ref() != Some(&rules)
        {
            match rules.write(file) {
                Ok(()) => written = Some(rules),
                Err(error) => {
                    tracing::warn!(file = %file.display(), %error, "the CNI plugin's rules cannot be written");
                    tokio::time::sleep(REQUEST).await;
                    continue;
                }
            }
        }
        shared.changed.notified().await;
    }
}
