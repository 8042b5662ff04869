//! Forward proxy for HTTP and, by `CONNECT`, for TLS: it sends all requests to one address on loopback.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

#[derive(Clone, Debug)]
pub struct Proxy {
    address: String,
    requests: Arc<Mutex<Vec<String>>>,
    held: Arc<(Mutex<Option<String>>, Condvar)>,
}

impl Proxy {
    #[must_use]
    pub fn start(target: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let proxy = Self { address, requests: Arc::default(), held: Arc::default() };
        let (serving, target) = (proxy.clone(), target.to_owned());
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let (serving, target) = (serving.clone(), target.clone());
                // The client notices a broken connection itself.
                std::thread::spawn(move || serving.serve(client, &target));
            }
        });
        proxy
    }

    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    #[must_use]
    pub fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn hold(&self, text: &str) {
        self.let_all_go_but(Some(text.to_owned()));
    }

    pub fn release(&self) {
        self.let_all_go_but(None);
    }

    fn let_all_go_but(&self, text: Option<String>) {
        let (held, changed) = &*self.held;
        *held.lock().unwrap_or_else(PoisonError::into_inner) = text;
        changed.notify_all();
    }

    fn wait_while_held(&self, request: &str) {
        let (held, changed) = &*self.held;
        let is_held = |text: &mut Option<String>| text.as_ref().is_some_and(|text| request.contains(text));
        let text = held.lock().unwrap_or_else(PoisonError::into_inner);
        drop(changed.wait_while(text, is_held).unwrap_or_else(PoisonError::into_inner));
    }

    fn serve(&self, client: TcpStream, target: &str) -> std::io::Result<()> {
        let mut from_client = BufReader::new(client.try_clone()?);
        let mut first = String::new();
        if from_client.read_line(&mut first)? == 0 {
            return Ok(());
        }
        let mut words = first.split_whitespace();
        let (method, asked) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let request = format!("{method} {asked}");
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).push(request.clone());
        self.wait_while_held(&request);
        let mut headers = String::new();
        loop {
            let start = headers.len();
            if from_client.read_line(&mut headers)? == 0 || headers[start..].trim().is_empty() {
                break;
            }
        }
        let mut server = TcpStream::connect(target)?;
        if method == "CONNECT" {
            (&client).write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")?;
            return tunnel(client, server);
        }
        // `GET http://host/path` becomes `GET /path`, with one connection per request, so that its end marks the end of
        // the response. Clients that use the proxy as the server send only the path.
        let path = asked.strip_prefix('/').or_else(|| asked.splitn(4, '/').nth(3)).unwrap_or_default();
        write!(server, "{method} /{path} HTTP/1.1\r\nConnection: close\r\n{headers}")?;
        // Forward the body of the request until the connection ends.
        let mut to_server = server.try_clone()?;
        std::thread::spawn(move || std::io::copy(&mut from_client, &mut to_server));
        let answered = std::io::copy(&mut server, &mut &client);
        client.shutdown(Shutdown::Both).and(answered.map(drop))
    }
}

fn tunnel(client: TcpStream, server: TcpStream) -> std::io::Result<()> {
    let (mut up_from, mut up_to) = (client.try_clone()?, server.try_clone()?);
    std::thread::spawn(move || {
        let copied = std::io::copy(&mut up_from, &mut up_to);
        up_to.shutdown(Shutdown::Write).and(copied.map(drop))
    });
    let (mut down_from, mut down_to) = (server, client);
    std::io::copy(&mut down_from, &mut down_to)?;
    down_to.shutdown(Shutdown::Both)
}
