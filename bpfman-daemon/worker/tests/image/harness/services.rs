//! Services of cosign's keyless signing: a certificate authority that accepts every token, and a transparency log.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD, Engine as _};
use bpfman_image_format::Digest;
use serde_json::{Value, json};

use super::authority::{Authority, CODE_SIGNING, Claims, email, now};
use super::der::{from_pem, pem};
use super::keyless::{ISSUER, SUBJECT};
use super::log::{Log, ten_minutes};

pub struct Services {
    pub authority: Arc<Authority>,
    pub log: Arc<Log>,
    pub url: String,
}

impl Services {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (authority, log) = (Arc::new(Authority::new("test")), Arc::new(Log::new()));
        let shared = (authority.clone(), log.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (authority, log) = shared.clone();
                std::thread::spawn(move || serve(stream, &authority, &log));
            }
        });
        Self { authority, log, url }
    }
}

pub fn token() -> String {
    let part = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    let claims = json!({
        "iss": ISSUER, "sub": SUBJECT, "email": SUBJECT, "email_verified": true, "aud": "sigstore",
        "iat": now() - 10, "exp": now() + 600,
    });
    format!("{}.{}.c2ln", part(&json!({ "alg": "ES256", "typ": "JWT" })), part(&claims))
}

fn serve(stream: TcpStream, authority: &Authority, log: &Log) {
    // Without Nagle's algorithm, which would delay each part of an answer by 40 ms.
    stream.set_nodelay(true).unwrap();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut out = stream;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 {
            return;
        }
        let path = line.split_whitespace().nth(1).unwrap_or("").to_owned();
        let mut length = 0;
        loop {
            let mut header = String::new();
            if reader.read_line(&mut header).unwrap_or(0) == 0 || header.trim().is_empty() {
                break;
            }
            if let Some((name, value)) = header.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse().unwrap();
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        let asked: Value = serde_json::from_slice(&body).unwrap_or_default();
        let (kind, answer) = match path.as_str() {
            "/api/v1/signingCert" => {
                let key = asked["publicKey"]["content"].as_str().unwrap();
                (
                    "application/pem-certificate-chain",
                    chain(authority, &from_pem(std::str::from_utf8(&decoded(key)).unwrap())).concat(),
                )
            }
            "/api/v2/signingCert" => {
                let key = asked["publicKeyRequest"]["publicKey"]["content"].as_str().unwrap();
                let certificates = chain(authority, &from_pem(key));
                let answer =
                    json!({ "signedCertificateEmbeddedSct": { "chain": { "certificates": certificates } } });
                ("application/json", answer.to_string())
            }
            "/api/v1/log/entries" => {
                let entry = log.add(canonical(&asked), now()).in_answer();
                ("application/json", json!({ Digest::of(&body).hex(): entry }).to_string())
            }
            _ => ("text/plain", String::new()),
        };
        let status = match path.as_str() {
            _ if answer.is_empty() => "404 Not Found",
            "/api/v2/signingCert" => "200 OK",
            _ => "201 Created",
        };
        let (length, uuid) = (answer.len(), Digest::of(&body).hex());
        let head = format!(
            "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\netag: {uuid}\r\nlocation: /api/v1/log/entries/{uuid}\r\n\r\n"
        );
        if out.write_all(format!("{head}{answer}").as_bytes()).is_err() {
            return;
        }
    }
}

fn chain(authority: &Authority, spki: &[u8]) -> Vec<String> {
    let claims =
        Claims { name: email(SUBJECT), issuer: Some(ISSUER), usage: CODE_SIGNING, valid: ten_minutes() };
    vec![pem("CERTIFICATE", &authority.issue(spki, &claims)), authority.pem()]
}

fn canonical(asked: &Value) -> Vec<u8> {
    if asked["kind"] != "dsse" {
        return asked.to_string().into_bytes();
    }
    let content = &asked["spec"]["proposedContent"];
    let text = content["envelope"].as_str().unwrap();
    let envelope: Value = serde_json::from_str(text).unwrap();
    let entry = json!({
        "apiVersion": "0.0.1",
        "kind": "dsse",
        "spec": {
            "envelopeHash": { "algorithm": "sha256", "value": Digest::of(text.as_bytes()).hex() },
            "payloadHash": {
                "algorithm": "sha256",
                "value": Digest::of(&decoded(envelope["payload"].as_str().unwrap())).hex(),
            },
            "signatures": [{
                "signature": envelope["signatures"][0]["sig"],
                "verifier": content["verifiers"][0],
            }],
        },
    });
    entry.to_string().into_bytes()
}

fn decoded(text: &str) -> Vec<u8> {
    BASE64_STANDARD.decode(text).unwrap()
}
