use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex};

use bpfman_tests::network::Namespace;

#[derive(Clone, Debug)]
pub enum Data {
    Address(IpAddr),
    Alias(&'static str),
}

pub type Record = (&'static str, u32, Data);

pub const SILENT: &str = "silent";

pub type Query = (Vec<u8>, SocketAddr);

pub struct NameServer {
    pub socket: UdpSocket,
    unanswered: Arc<Mutex<Vec<Query>>>,
}

impl NameServer {
    pub fn start(namespace: &Namespace, address: &'static str, table: Vec<Record>) -> Self {
        let socket = namespace.inside(move || UdpSocket::bind((address, 53)).unwrap());
        let unanswered = Arc::new(Mutex::new(Vec::new()));
        let (own, kept) = (socket.try_clone().unwrap(), Arc::clone(&unanswered));
        std::thread::spawn(move || {
            let mut message = [0; 512];
            loop {
                let (length, from) = own.recv_from(&mut message).unwrap();
                let query = &message[..length];
                if name_of(query).starts_with(SILENT) {
                    kept.lock().unwrap().push((query.to_vec(), from));
                } else {
                    let _sent = own.send_to(&answer(query, &table), from);
                }
            }
        });
        Self { socket, unanswered }
    }

    pub fn unanswered(&self) -> Query {
        let mut found = None;
        bpfman_tests::wait::until("the query came", || {
            found = self.unanswered.lock().unwrap().pop();
            found.is_some()
        });
        found.unwrap()
    }
}

fn name_of(query: &[u8]) -> String {
    let mut labels = Vec::new();
    let mut rest = &query[12..];
    while let Some((length, behind)) = rest.split_first().filter(|(length, _)| **length > 0) {
        let (label, behind) = behind.split_at(usize::from(*length));
        labels.push(String::from_utf8_lossy(label).to_lowercase());
        rest = behind;
    }
    labels.join(".")
}

fn wire_name(name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for label in name.split('.') {
        bytes.push(label.len() as u8);
        bytes.extend(label.bytes());
    }
    bytes.push(0);
    bytes
}

pub fn answer(query: &[u8], table: &[Record]) -> Vec<u8> {
    let name = name_of(query);
    let question = 12 + wire_name(&name).len() + 4;
    let kind = u16::from_be_bytes([query[question - 4], query[question - 3]]);
    let mut message = query[..question].to_vec();
    let mut places = vec![(name.clone(), 12)];
    let mut count: u16 = 0;
    let mut wanted = name.clone();
    let known = table.iter().any(|(owner, ..)| *owner == name);
    while let Some((owner, ttl, data)) =
        table.iter().find(|(owner, _, data)| *owner == wanted && matches!(data, Data::Alias(_)))
    {
        let Data::Alias(next) = data else { unreachable!("it is one") };
        push_record(&mut message, &places, owner, 5, *ttl, &wire_name(next));
        places.push(((*next).to_owned(), message.len() - wire_name(next).len()));
        wanted = (*next).to_owned();
        count += 1;
    }
    for (owner, ttl, data) in table.iter().filter(|(owner, ..)| *owner == wanted) {
        let (own, bytes) = match data {
            Data::Address(IpAddr::V4(address)) => (1, address.octets().to_vec()),
            Data::Address(IpAddr::V6(address)) => (28, address.octets().to_vec()),
            Data::Alias(_) => continue,
        };
        if own == kind {
            push_record(&mut message, &places, owner, own, *ttl, &bytes);
            count += 1;
        }
    }
    let code: u16 = if known { 0 } else { 3 };
    message[2..4].copy_from_slice(&(0x8180 | code).to_be_bytes());
    message[6..8].copy_from_slice(&count.to_be_bytes());
    message[8..12].fill(0);
    message
}

fn push_record(
    message: &mut Vec<u8>,
    places: &[(String, usize)],
    owner: &str,
    kind: u16,
    ttl: u32,
    data: &[u8],
) {
    match places.iter().find(|(name, _)| name == owner) {
        Some((_, place)) => message.extend((0xc000 | *place as u16).to_be_bytes()),
        None => message.extend(wire_name(owner)),
    }
    message.extend([kind, 1].map(u16::to_be_bytes).as_flattened());
    message.extend(ttl.to_be_bytes());
    message.extend((data.len() as u16).to_be_bytes());
    message.extend(data);
}
