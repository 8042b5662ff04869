//! Connections: one if the server speaks HTTP/2, otherwise HTTP/1.1.
#![allow(clippy::unwrap_used, reason = "tests")]

mod server;

use std::io::Write as _;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::future::join_all;
use hyper::Request;
use kube::config::AuthInfo;
use kube::{Client, Config};

use bpfman_runtime::connect::{Pings, client};

fn config(address: &str, certificate: Vec<u8>) -> Config {
    let mut config = Config::new(address.parse().unwrap());
    config.root_cert = Some(vec![certificate]);
    config
}

async fn ask(client: &Client) -> String {
    let request = Request::get("/version").body(Vec::new()).unwrap();
    client.request_text(request).await.unwrap()
}

#[tokio::test]
async fn requests_at_once_share_one_connection() {
    let (address, certificate, accepted) = server::start(&["h2", "http/1.1"]).await;
    let client = client(&config(&address, certificate), Pings::CONTROLLER).unwrap().build();
    let answers = join_all((0..6).map(|_| ask(&client))).await;
    assert!(answers.iter().all(|answer| answer.starts_with("HTTP/2.0")), "{answers:?}");
    assert_eq!(accepted.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_server_without_http2_is_asked_as_it_wants() {
    for protocols in [&["http/1.1"][..], &[]] {
        let (address, certificate, accepted) = server::start(protocols).await;
        let client = client(&config(&address, certificate), Pings::CONTROLLER).unwrap().build();
        for _ in 0..3 {
            assert!(ask(&client).await.starts_with("HTTP/1.1"), "{protocols:?}");
        }
        assert_eq!(accepted.load(Ordering::SeqCst), 2, "one to learn it, one for all that is asked");
    }
}

#[tokio::test]
async fn a_proxy_that_cannot_be_used_is_named() {
    let mut config = config("https://localhost:1", Vec::new());
    config.proxy_url = Some("http://proxy.example:3128".parse().unwrap());
    let error = client(&config, Pings::CONTROLLER).err().unwrap().to_string();
    assert!(error.contains("proxy.example"), "{error}");
}

#[tokio::test]
#[ignore = "takes a minute: a token is read anew that often"]
async fn changed_token_is_read_again() {
    let (address, certificate, accepted) = server::start(&["h2"]).await;
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(b"first").unwrap();
    let mut config = config(&address, certificate);
    config.auth_info =
        AuthInfo { token_file: Some(file.path().display().to_string()), ..AuthInfo::default() };
    let client = client(&config, Pings::CONTROLLER).unwrap().build();
    assert_eq!(ask(&client).await, "HTTP/2.0 Bearer first");
    std::fs::write(file.path(), "second").unwrap();
    let renewed = async {
        while ask(&client).await != "HTTP/2.0 Bearer second" {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(150), renewed)
        .await
        .expect("the second token is sent within 150 s");
    assert_eq!(accepted.load(Ordering::SeqCst), 1, "on the same connection");
}
