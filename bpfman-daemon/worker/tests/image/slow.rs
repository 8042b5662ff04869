use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use crate::harness::hostile::{Answer, Hostile};
use crate::harness::{Store, object, unsigned};
use bpfman_image_format::ImageReference;
use bpfmand_image::{FetchPolicy, ImageError, Limits};

struct Hanging {
    addresses: Vec<String>,
    listeners: Vec<TcpListener>,
    held: Vec<TcpStream>,
}

impl Hanging {
    fn start(count: usize) -> Self {
        let listeners: Vec<_> = (0..count).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let addresses = listeners.iter().map(|one| one.local_addr().unwrap().to_string()).collect();
        Self { addresses, listeners, held: Vec::new() }
    }

    fn all_asked(mut self) -> Vec<TcpStream> {
        for listener in &self.listeners {
            let (mut stream, _) = listener.accept().unwrap();
            assert!(stream.read(&mut [0; 16]).unwrap() > 0);
            self.held.push(stream);
        }
        self.held
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hundred_hanging_registries_block_neither_cache_nor_others() {
    let hostile = Hostile::start();
    hostile.image_of(object("warm").bytes());
    let store = Arc::new(Store::new(unsigned()));
    let warm = hostile.image("a:latest");
    store.pull(&warm).await.unwrap();
    let hanging = Hanging::start(100);
    let mut pulls = tokio::task::JoinSet::new();
    for address in hanging.addresses.clone() {
        let store = Arc::clone(&store);
        let image: ImageReference = format!("{address}/a:latest").parse().unwrap();
        pulls.spawn(async move { store.pull(&image).await.map(drop) });
    }
    let held = tokio::task::spawn_blocking(|| hanging.all_asked()).await.unwrap();
    assert_eq!((held.len(), pulls.try_join_next().is_none()), (100, true));
    for pull_policy in [FetchPolicy::Never, FetchPolicy::IfNotPresent, FetchPolicy::Always] {
        store.load(&warm, pull_policy).await.unwrap();
    }
    let other = Hostile::start();
    other.image_of(object("other_registry").bytes());
    store.pull(&other.image("a:latest")).await.unwrap();
    store.store.prune(Default::default(), Duration::ZERO).await.unwrap();
    assert!(pulls.try_join_next().is_none(), "they still wait");
    drop(held);
}

#[tokio::test]
async fn transfers_per_registry_are_limited() {
    let (slow, good) = (Hostile::start(), Hostile::start());
    good.image_of(object("places").bytes());
    let limits = Limits { pulls_of_one: 2, ..Limits::default() };
    let store = Arc::new(Store::with_limits(unsigned(), limits));
    let mut pulls = tokio::task::JoinSet::new();
    for number in 0..5 {
        slow.set_absolute(&format!("/v2/a{number}/manifests/latest"), Answer::ok("{}").stall());
        let (store, image) = (Arc::clone(&store), slow.image(&format!("a{number}:latest")));
        pulls.spawn(async move { store.pull(&image).await.map(drop) });
    }
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    while slow.requests().len() < 2 {
        assert!(tokio::time::Instant::now() < deadline, "nobody asks");
        tokio::task::yield_now().await;
    }
    store.pull(&good.image("a:latest")).await.unwrap();
    assert_eq!(slow.requests().len(), 2);
}

#[tokio::test]
async fn a_registry_that_trickles_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let image = format!("{}/a:latest", listener.local_addr().unwrap()).parse().unwrap();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        assert!(stream.read(&mut [0; 4096]).unwrap() > 0);
        stream.write_all(b"HTTP/1.1 200 x\r\ncontent-length: 1000000\r\n\r\n").unwrap();
        while stream.write_all(b" ").and_then(|()| stream.flush()).is_ok() {
            std::thread::yield_now();
        }
    });
    let limits = Limits { least_bytes: 1 << 30, least_time: Duration::from_millis(100), ..Limits::default() };
    let store = Store::with_limits(unsigned(), limits);
    let error = store.pull(&image).await.unwrap_err();
    assert!(matches!(error, ImageError::Slow { .. }), "{error}");
    // Join on another thread: this one must close the connection.
    tokio::task::spawn_blocking(|| server.join().unwrap()).await.unwrap();
}
