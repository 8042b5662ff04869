//! Stream `Watch`: the current interfaces, and an event after changes of programs or links.
//!
//! A thread follows the interfaces and stores the newest list; the engine sets a mark at each change; a task sends
//! both, at a limited rate. A slow client gets the newest state when it can receive it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bpfman_model::AddressedInterface;
use bpfman_proto::ext::v1 as wire;
use bpfman_proto::ext::v1::watch_event::Event;
use bpfmand_engine::ChangeListener;
use bpfmand_kernel::Kernel;
use tokio::sync::{Notify, mpsc};
use tonic::Status;

use crate::authorize::Permit;
use crate::network_follower::{NetworkFollower, NetworkState};
use crate::places::ReadingPlace;
use crate::server::{Api, fail};
use crate::status;
use crate::watchers::FollowedNamespaces;

/// Interval in which changes are collected into one event.
const SPACING: Duration = Duration::from_millis(50);
/// Interval of the search for new namespaces. A thread also notices the end of its stream within this time.
const SCAN_INTERVAL: Duration = Duration::from_millis(200);
/// Stack size of a thread, in bytes: it only lists interfaces.
const STACK: usize = 512 << 10;
const MAX_NAMESPACES: usize = 1000;
const MAX_PATH: usize = 4096;

pub(crate) type WatchEvents = mpsc::Receiver<Result<wire::WatchEvent, Status>>;

#[derive(Default)]
struct News {
    left: Mutex<Left>,
    bell: Notify,
    over: AtomicBool,
}

#[derive(Default)]
struct Left {
    interfaces: Option<wire::InterfaceList>,
    changed: bool,
    failed: Option<Status>,
}

impl News {
    fn leave(&self, change: impl FnOnce(&mut Left)) {
        change(&mut self.left.lock().unwrap_or_else(PoisonError::into_inner));
        self.bell.notify_one();
    }

    /// Takes the next event. The state that it reports is newer than all changes before this call.
    fn take(&self) -> Option<Result<Event, Status>> {
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(list) = left.interfaces.take() {
            return Some(Ok(Event::Interfaces(list)));
        }
        if std::mem::take(&mut left.changed) {
            return Some(Ok(Event::Changed(wire::Changed {})));
        }
        left.failed.take().map(Err)
    }
}

pub(crate) fn namespaces(asked: Vec<String>) -> Result<BTreeSet<PathBuf>, Status> {
    if asked.len() > MAX_NAMESPACES {
        return Err(status::too_large(format!(
            "the request names {} network namespaces; one stream follows at most {MAX_NAMESPACES}",
            asked.len()
        )));
    }
    let absolute = |path: String| {
        if !path.starts_with('/') {
            return Err(status::invalid(format!("network namespace \"{path}\" is not an absolute path")));
        }
        if path.len() > MAX_PATH {
            return Err(status::too_large("the path of a network namespace is longer than 4096 bytes"));
        }
        Ok(PathBuf::from(path))
    };
    asked.into_iter().map(absolute).collect()
}

pub(crate) async fn begin<K: Kernel>(
    api: &Api<K>,
    permit: &Permit,
    asked: BTreeSet<PathBuf>,
    place: (ReadingPlace, FollowedNamespaces),
) -> Result<WatchEvents, Status> {
    let engine = Arc::clone(&api.engine);
    let news = Arc::new(News::default());
    // Register before the first reading, so that no change between the two is missed.
    let listener: Arc<ChangeListener> = Arc::new({
        let news = Arc::clone(&news);
        move || news.leave(|left| left.changed = true)
    });
    engine.on_change(&listener);
    // Move the place into the work, so that it stays taken if the caller disconnects.
    let (place, follower) =
        api.read(permit, move |_| Ok((place, NetworkFollower::begin(engine, asked).map_err(fail)?))).await?;
    news.leave(|left| left.interfaces = Some(list(follower.state())));
    let follows = Arc::clone(&news);
    std::thread::Builder::new()
        .name("watch-network".to_owned())
        .stack_size(STACK)
        .spawn(move || {
            let _place = place;
            follow(follower, &follows);
        })
        .map_err(|error| {
            let why = format!("no thread can be started that follows the interfaces: {error}");
            tracing::warn!("{why}");
            status::busy(why)
        })?;
    let (events, stream) = mpsc::channel(1);
    let (ended, activity) = (api.watchers.ended(), api.activity());
    tokio::spawn(async move {
        // A daemon with a stream is not idle.
        let _running = activity.begin();
        tokio::select! {
            () = tell(&news, &events) => {}
            () = events.closed() => {}
            () = ended => {}
        }
        news.over.store(true, Ordering::Relaxed);
        drop(listener);
    });
    Ok(stream)
}

async fn tell(news: &News, events: &mpsc::Sender<Result<wire::WatchEvent, Status>>) {
    loop {
        news.bell.notified().await;
        loop {
            // Take an event only when it can be sent, so that it is the newest.
            let Ok(place) = events.reserve().await else { return };
            let Some(event) = news.take() else { break };
            let failed = event.is_err();
            place.send(event.map(|event| wire::WatchEvent { event: Some(event) }));
            if failed {
                return;
            }
        }
        tokio::time::sleep(SPACING).await;
    }
}

fn follow<K: Kernel>(mut follower: NetworkFollower<K>, news: &News) {
    while !news.over.load(Ordering::Relaxed) {
        match follower.next(SCAN_INTERVAL) {
            Ok(false) => {}
            Ok(true) => {
                let list = list(follower.state());
                news.leave(|left| left.interfaces = Some(list));
                std::thread::sleep(SPACING);
            }
            Err(error) => return news.leave(|left| left.failed = Some(fail(error))),
        }
    }
}

fn list(state: &NetworkState) -> wire::InterfaceList {
    let of = |(netns, found): (&Option<PathBuf>, &Vec<AddressedInterface>)| {
        found.iter().map(|one| interface(netns.as_deref(), one)).collect::<Vec<_>>()
    };
    wire::InterfaceList { interfaces: state.iter().flat_map(of).collect() }
}

pub(crate) fn interface(netns: Option<&Path>, found: &AddressedInterface) -> wire::NetworkInterface {
    wire::NetworkInterface {
        name: found.facts.name.clone(),
        index: found.facts.ifindex.0,
        netns: netns.map(|path| path.display().to_string()).unwrap_or_default(),
        up: found.facts.up,
        addresses: found.addresses.iter().map(ToString::to_string).collect(),
    }
}
