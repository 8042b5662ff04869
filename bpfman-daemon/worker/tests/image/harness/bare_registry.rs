//! Minimal registry in memory: it ends uploads without `Location`, and may require tokens that expire soon.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use bpfman_image_format::{Digest, ImageReference};

#[derive(Clone, Copy, Default)]
pub struct Habits {
    pub absolute_uploads: bool,
    pub token_lasts: Option<usize>,
    pub refuses_manifests: Option<(u16, &'static str)>,
    pub success: Option<u16>,
    pub forgets: bool,
}

#[derive(Default)]
struct State {
    content: HashMap<String, (String, Vec<u8>)>,
    requests: Vec<String>,
    tokens: usize,
    left: usize,
}

pub struct BareRegistry {
    address: String,
    state: Arc<Mutex<State>>,
}

impl BareRegistry {
    pub fn start(habits: Habits) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let state = Arc::new(Mutex::new(State::default()));
        let (shared, own) = (Arc::clone(&state), address.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (state, own) = (Arc::clone(&shared), own.clone());
                // A client that hangs up ends its thread; nothing depends on it.
                std::thread::spawn(move || serve(stream, &own, habits, &state));
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

    pub fn requests(&self) -> Vec<String> {
        self.state.lock().unwrap().requests.clone()
    }

    pub fn tokens(&self) -> usize {
        self.state.lock().unwrap().tokens
    }
}

struct Request {
    method: String,
    path: String,
    query: String,
    media_type: String,
    authorization: String,
    body: Vec<u8>,
}

fn read(reader: &mut BufReader<TcpStream>) -> Option<Request> {
    let mut line = String::new();
    if reader.read_line(&mut line).unwrap_or(0) == 0 {
        return None;
    }
    let mut words = line.split_whitespace().map(str::to_owned);
    let (method, target) = (words.next()?, words.next()?);
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let (path, query) = (path.to_owned(), query.to_owned());
    let (mut media_type, mut authorization, mut length) = (String::new(), String::new(), 0);
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok().filter(|read| *read > 0)?;
        let Some((name, value)) = header.trim().split_once(':') else { break };
        match name.to_ascii_lowercase().as_str() {
            "content-type" => media_type = value.trim().to_owned(),
            "authorization" => authorization = value.trim().to_owned(),
            "content-length" => length = value.trim().parse().ok()?,
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Request { method, path, query, media_type, authorization, body })
}

type Reply = (u16, Vec<(&'static str, String)>, Vec<u8>);

fn serve(stream: TcpStream, address: &str, habits: Habits, state: &Mutex<State>) {
    stream.set_nodelay(true).unwrap();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut out = stream;
    while let Some(request) = read(&mut reader) {
        let (status, headers, body) = answer(&request, address, habits, &mut state.lock().unwrap());
        let mut text = format!("HTTP/1.1 {status} x\r\ncontent-length: {}\r\n", body.len());
        for (name, value) in headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        let body = if request.method == "HEAD" { &[] } else { body.as_slice() };
        if out.write_all(&[text.as_bytes(), b"\r\n", body].concat()).is_err() {
            return;
        }
    }
}

fn answer(request: &Request, address: &str, habits: Habits, state: &mut State) -> Reply {
    let Request { method, path, query, media_type, authorization, body } = request;
    let plain = |status: u16| (status, Vec::new(), Vec::new());
    state.requests.push(format!("{method} {path}?{query}"));
    if path == "/token" {
        state.tokens += 1;
        state.left = habits.token_lasts.unwrap_or_default();
        return (
            200,
            Vec::new(),
            format!("{{\"token\":\"\",\"access_token\":\"t{}\"}}", state.tokens).into_bytes(),
        );
    }
    if habits.token_lasts.is_some() {
        if state.left == 0 || *authorization != format!("Bearer t{}", state.tokens) {
            let challenge =
                format!("Basic realm=\"r\", Bearer Realm=http://{address}/token , service = \"s\"");
            return (401, vec![("www-authenticate", challenge)], Vec::new());
        }
        state.left -= 1;
    }
    match (method.as_str(), path.as_str()) {
        ("POST", path) if path.ends_with("/uploads/") => {
            let base = if habits.absolute_uploads { format!("http://{address}") } else { String::new() };
            (202, vec![("location", format!("{base}{path}7?state=a%2Fb"))], Vec::new())
        }
        ("PUT", path) if path.ends_with("/uploads/7") => {
            let digest = Digest::of(body);
            let named = query.replace("%3A", ":");
            if named != format!("state=a%2Fb&digest={digest}") {
                return (400, Vec::new(), b"{\"errors\":[{\"code\":\"DIGEST_INVALID\"}]}".to_vec());
            }
            let path = path.replace("uploads/7", &digest.to_string());
            if !habits.forgets {
                state.content.insert(path, (String::new(), body.clone()));
            }
            plain(habits.success.unwrap_or(201))
        }
        ("PUT", path) => {
            if let Some((status, body)) = habits.refuses_manifests {
                return (status, Vec::new(), body.as_bytes().to_vec());
            }
            let by_digest = format!("{}/{}", path.rsplit_once('/').unwrap().0, Digest::of(body));
            for path in [path.to_owned(), by_digest] {
                state.content.insert(path, (media_type.clone(), body.clone()));
            }
            plain(habits.success.unwrap_or(201))
        }
        (_, path) => match state.content.get(path) {
            Some((media_type, content)) => (200, vec![("content-type", media_type.clone())], content.clone()),
            None => plain(404),
        },
    }
}
