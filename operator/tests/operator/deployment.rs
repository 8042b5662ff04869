//! Deployment with an API server whose responses share a connection with its watches.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bpfman_operator::controller::deploy::{self, DeployImages, Deployed};
use bpfman_operator::controller::write::leader::Leadership;
use futures::StreamExt as _;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Bytes, Frame};
use hyper::{Method, Request, Response};
use kube::Client;
use kube::client::Body;
use tokio::sync::{mpsc, watch};

type Answer = Response<UnsyncBoxBody<Bytes, Infallible>>;

/// Each sender buffers one event, as if its flow-control window were full then.
type Watches = Arc<Mutex<Vec<mpsc::Sender<Bytes>>>>;

const BOOKMARK: &str = "{\"type\":\"BOOKMARK\",\"object\":{\"kind\":\"Any\",\"apiVersion\":\"v1\",\
                        \"metadata\":{\"resourceVersion\":\"2\"}}}\n";

fn whole(body: impl Into<Bytes>) -> Answer {
    Response::new(Full::new(body.into()).boxed_unsync())
}

async fn answer(request: Request<Body>, watches: Watches, written: mpsc::UnboundedSender<usize>) -> Answer {
    if request.method() != Method::GET {
        let body = request.into_body().collect().await.unwrap().to_bytes();
        let open = watches.lock().unwrap().clone();
        for events in &open {
            for _ in 0..4 {
                events.send(Bytes::from_static(BOOKMARK.as_bytes())).await.unwrap();
            }
        }
        written.send(open.len()).unwrap();
        return whole(body);
    }
    if !request.uri().query().unwrap_or_default().contains("watch=true") {
        return whole("{\"metadata\":{\"resourceVersion\":\"1\"},\"items\":[]}");
    }
    let (events, taken) = mpsc::channel(1);
    watches.lock().unwrap().push(events);
    let taken = futures::stream::unfold(taken, async |mut taken| Some((taken.recv().await?, taken)));
    let frames = taken.map(|bytes| Ok(Frame::data(bytes)));
    Response::new(StreamBody::new(frames).boxed_unsync())
}

#[tokio::test]
async fn watches_are_read_while_a_write_waits_for_its_answer() {
    let (written, mut writes) = mpsc::unbounded_channel();
    let watches = Watches::default();
    let service = tower::service_fn(move |request| {
        let answer = answer(request, watches.clone(), written.clone());
        async move { Ok::<_, Infallible>(answer.await) }
    });
    let images = DeployImages {
        daemon: "registry.example/daemon".to_owned(),
        agent: "registry.example/agent".to_owned(),
        pull_policy: "Always".to_owned(),
        home: "bpfman".to_owned(),
    };
    let (publish, _deployed) = watch::channel(Deployed::default());
    let client = Client::new(service, "default");
    let deploying =
        tokio::spawn(deploy::run(client, images, "bpfman".to_owned(), Leadership::alone(), publish));
    let open = tokio::time::timeout(Duration::from_secs(60), writes.recv()).await;
    deploying.abort();
    assert_eq!(open.expect("the write is answered"), Some(4), "watches were open meanwhile");
}
