//! Tokens that name a node, like those of servers from 1.30 on: the API server asks an authenticator of the test.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{Cluster, Setup};

const ADDRESS: &str = "127.0.0.1:9099";

const NODE_NAME: &str = "authentication.kubernetes.io/node-name";

#[derive(Debug)]
pub struct Tokens {
    folder: TempDir,
}

impl Tokens {
    #[must_use]
    pub fn prepare(mut setup: Setup) -> (Self, Setup) {
        let tokens = Self { folder: TempDir::new().unwrap() };
        let kubeconfig = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "tokens",
            "clusters": [{ "name": "tokens", "cluster": { "server": format!("http://{ADDRESS}") } }],
            "users": [{ "name": "server", "user": {} }],
            "contexts": [{ "name": "tokens", "context": { "cluster": "tokens", "user": "server" } }],
        });
        std::fs::write(tokens.path(), kubeconfig.to_string()).unwrap();
        setup.flags.extend([
            format!("--authentication-token-webhook-config-file={}", tokens.path().display()),
            "--authentication-token-webhook-version=v1".to_owned(),
        ]);
        (tokens, setup)
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("kubeconfig")
    }

    pub fn answer(&self, cluster: &Cluster) {
        let listener = cluster.inside(|| TcpListener::bind(ADDRESS).unwrap());
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                // The server repeats a request if its connection breaks.
                let _answered = answer(&stream);
            }
        });
    }
}

#[must_use]
pub fn token(namespace: &str, account: &str, node: Option<&str>) -> String {
    format!("test.{namespace}.{account}.{}", node.unwrap_or_default())
}

fn answer(stream: &TcpStream) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let (mut line, mut length) = (String::new(), 0);
    while reader.read_line(&mut line)? > 2 {
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
        line.clear();
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let review: Value = serde_json::from_slice(&body)?;
    let status = status(review["spec"]["token"].as_str().unwrap_or_default());
    let answer =
        json!({ "apiVersion": review["apiVersion"], "kind": "TokenReview", "status": status }).to_string();
    let mut stream = stream;
    write!(
        stream,
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{answer}",
        answer.len()
    )
}

fn status(token: &str) -> Value {
    let parts: Vec<&str> = token.split('.').collect();
    let ["test", namespace, account, node] = parts[..] else { return json!({ "authenticated": false }) };
    let mut user = json!({
        "username": format!("system:serviceaccount:{namespace}:{account}"),
        "groups": ["system:serviceaccounts", format!("system:serviceaccounts:{namespace}"), "system:authenticated"],
    });
    if !node.is_empty() {
        user["extra"] = json!({ NODE_NAME: [node] });
    }
    json!({ "authenticated": true, "user": user })
}
