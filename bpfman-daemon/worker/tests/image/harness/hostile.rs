use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use bpfman_image_format::{Descriptor, Digest, ImageReference, media};
use serde::Serialize;
use serde_json::{Value, json};

#[derive(Clone)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub endless: bool,
    pub stall: bool,
    pub first: Option<(usize, Box<Answer>)>,
    pub breaks_after: Option<usize>,
    pub ranges: bool,
    pub lock: Option<(String, String)>,
}

impl Answer {
    pub fn ok(body: impl Into<Vec<u8>>) -> Self {
        Self {
            status: 200,
            headers: Vec::new(),
            body: body.into(),
            endless: false,
            stall: false,
            first: None,
            breaks_after: None,
            ranges: false,
            lock: None,
        }
    }

    pub fn status(status: u16) -> Self {
        Self { status, ..Self::ok(Vec::new()) }
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn behind(self, authorization: &str, challenge: &str) -> Self {
        Self { lock: Some((authorization.to_owned(), challenge.to_owned())), ..self }
    }

    pub fn after(self, count: usize, first: Self) -> Self {
        Self { first: Some((count, Box::new(first))), ..self }
    }

    pub fn breaking_after(self, bytes: usize) -> Self {
        Self { breaks_after: Some(bytes), ..self }
    }

    pub fn with_ranges(self) -> Self {
        Self { ranges: true, ..self }
    }

    fn from(mut self, start: usize) -> Self {
        if self.ranges && start > 0 {
            let whole = self.body.len();
            self.body.drain(..start);
            self.status = 206;
            return self.header("content-range", &format!("bytes {start}-{}/{whole}", whole - 1));
        }
        self
    }

    pub fn endless(self) -> Self {
        Self { endless: true, ..self }
    }

    pub fn stall(self) -> Self {
        Self { stall: true, ..self }
    }
}

#[derive(Default)]
struct State {
    answers: Mutex<HashMap<String, Answer>>,
    requests: Mutex<Vec<String>>,
}

impl State {
    fn next(&self, path: &str, bare: &str) -> Answer {
        let mut answers = self.answers.lock().unwrap();
        let key = if answers.contains_key(path) { path } else { bare };
        let Some(answer) = answers.get_mut(key) else { return Answer::status(404) };
        if let Some((count, first)) = &mut answer.first
            && *count > 0
        {
            *count -= 1;
            return (**first).clone();
        }
        answer.clone()
    }
}

pub struct Hostile {
    address: String,
    state: Arc<State>,
}

impl Hostile {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let state = Arc::new(State::default());
        let shared = state.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let state = shared.clone();
                std::thread::spawn(move || serve(stream, &state));
            }
        });
        Self { address, state }
    }

    pub fn address(&self) -> &str {
        &self.address
    }

    pub fn image(&self, path: &str) -> ImageReference {
        format!("{}/{path}", self.address).parse().unwrap()
    }

    pub fn set(&self, path: &str, answer: Answer) {
        self.set_absolute(&format!("/v2/a/{path}"), answer);
    }

    pub fn set_absolute(&self, path: &str, answer: Answer) {
        self.state.answers.lock().unwrap().insert(path.to_owned(), answer);
    }

    pub fn set_query(&self, path_and_query: &str, answer: Answer) {
        self.set_absolute(path_and_query, answer);
    }

    pub fn lock_all(&self, authorization: &str, challenge: &str) {
        for answer in self.state.answers.lock().unwrap().values_mut() {
            *answer = answer.clone().behind(authorization, challenge);
        }
    }

    pub fn blob(&self, media_type: &str, content: &[u8]) -> Descriptor {
        let descriptor = Descriptor::of(media_type, content);
        self.set(&format!("blobs/{}", descriptor.digest), Answer::ok(content));
        descriptor
    }

    pub fn manifest(&self, tag: &str, content: &Value) -> Digest {
        let bytes = content.to_string().into_bytes();
        let digest = Digest::of(&bytes);
        self.set(&format!("manifests/{tag}"), Answer::ok(bytes.clone()));
        self.set(&format!("manifests/{digest}"), Answer::ok(bytes));
        digest
    }

    pub fn image_of(&self, layer: &[u8]) -> (Descriptor, Digest) {
        let config = self.blob(media::OCI_CONFIG, b"{}");
        let layer = self.blob(media::OCI_LAYER_GZIP, layer);
        let manifest = json!({
            "schemaVersion": 2, "mediaType": media::OCI_MANIFEST, "config": config, "layers": [layer],
        });
        (layer, self.manifest("latest", &manifest))
    }

    pub fn image_with(&self, layer: impl Serialize) {
        let config = self.blob(media::OCI_CONFIG, b"{}");
        self.manifest("latest", &json!({ "schemaVersion": 2, "config": config, "layers": [layer] }));
    }

    pub fn image_of_layer_at(&self, elsewhere: &Self, layer: &[u8]) {
        let mut described = serde_json::to_value(Descriptor::of(media::OCI_LAYER_GZIP, layer)).unwrap();
        described["urls"] = json!([format!("http://{}/v2/a/x", elsewhere.address())]);
        elsewhere.set("x", Answer::ok(layer));
        self.image_with(described);
    }

    pub fn requests(&self) -> Vec<String> {
        self.state.requests.lock().unwrap().clone()
    }
}

fn serve(stream: TcpStream, state: &State) {
    // Answers are written in parts. With Nagle's algorithm each would wait 40 ms for the client's acknowledgement.
    stream.set_nodelay(true).unwrap();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut out = stream;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 {
            return;
        }
        let mut words = line.split_whitespace();
        let method = words.next().unwrap_or("").to_owned();
        let path = words.next().unwrap_or("").to_owned();
        let mut request = format!("{method} {path}");
        let mut authorization = String::new();
        let mut range = 0;
        loop {
            let mut header = String::new();
            if reader.read_line(&mut header).unwrap_or(0) == 0 {
                return;
            }
            if header.trim().is_empty() {
                break;
            }
            if let Some((name, value)) = header.split_once(':')
                && name.eq_ignore_ascii_case("range")
            {
                range = value.trim().trim_start_matches("bytes=").trim_end_matches('-').parse().unwrap_or(0);
                request.push_str(&format!(" range: {range}"));
            }
            if let Some((name, value)) = header.split_once(':')
                && name.eq_ignore_ascii_case("authorization")
            {
                authorization = value.trim().to_owned();
                request.push_str(&format!(" authorization: {authorization}"));
            }
        }
        state.requests.lock().unwrap().push(request);
        let bare = path.split('?').next().unwrap_or("");
        let answer = state.next(&path, bare);
        let answer = match &answer.lock {
            Some((wanted, challenge)) if *wanted != authorization => {
                Answer::status(401).header("www-authenticate", challenge)
            }
            _ => answer,
        };
        let answer = answer.from(range);
        if send(&mut out, &answer, method == "HEAD").is_err()
            || answer.endless
            || answer.breaks_after.is_some()
        {
            return;
        }
        if answer.stall {
            let _ = reader.read_line(&mut String::new());
            return;
        }
    }
}

fn send(out: &mut TcpStream, answer: &Answer, head: bool) -> std::io::Result<()> {
    write!(out, "HTTP/1.1 {} x\r\n", answer.status)?;
    for (name, value) in &answer.headers {
        write!(out, "{name}: {value}\r\n")?;
    }
    if answer.endless {
        write!(out, "transfer-encoding: chunked\r\n\r\n")?;
        write!(out, "{:x}\r\n", answer.body.len() + 1)?;
        out.write_all(&answer.body)?;
        out.write_all(b" \r\n")?;
        let zeros = [b' '; 4096];
        loop {
            write!(out, "1000\r\n")?;
            out.write_all(&zeros)?;
            out.write_all(b"\r\n")?;
        }
    }
    if !answer.headers.iter().any(|(name, _)| name == "content-length") {
        write!(out, "content-length: {}\r\n", answer.body.len())?;
    }
    write!(out, "\r\n")?;
    if head {
        return out.flush();
    }
    if !answer.stall {
        let until = answer.breaks_after.unwrap_or(answer.body.len()).min(answer.body.len());
        out.write_all(&answer.body[..until])?;
    }
    out.flush()
}
