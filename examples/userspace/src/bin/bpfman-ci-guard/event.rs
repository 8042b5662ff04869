//! Records of `ci_guard.bpf.c` in a job's ring buffer, parsed by hand: the bytes are untrusted.

use std::net::IpAddr;

use bpfman_examples::protocol;
use serde_json::{Value, json};

const COMM_LENGTH: usize = 16;
const PATH_LENGTH: usize = 256;
const ARGUMENTS_LENGTH: usize = 256;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobAction {
    /// Start of a program; the arguments are incomplete if `whole` is false.
    Exec {
        path: Option<String>,
        arguments: Vec<String>,
        whole: bool,
    },
    Connect {
        address: IpAddr,
        port: u16,
        protocol: u32,
    },
    Write {
        path: Option<String>,
    },
    Exit,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub pid: u32,
    pub parent: u32,
    pub uid: u32,
    pub comm: String,
    pub deed: JobAction,
}

impl Event {
    pub fn parse(record: &[u8]) -> Option<Self> {
        let mut rest = record;
        let _cgroup: [u8; 8] = take(&mut rest)?;
        let (pid, parent, uid) = (word(&mut rest)?, word(&mut rest)?, word(&mut rest)?);
        let _unused = word(&mut rest)?;
        let comm = text(field(&mut rest, COMM_LENGTH)?);
        let _parent_comm = field(&mut rest, COMM_LENGTH)?;
        let [kind, unnamed] = take(&mut rest)?;
        let port = u16::from_ne_bytes(take(&mut rest)?);
        let length = word(&mut rest)? as usize;
        let address = IpAddr::from(take::<16>(&mut rest)?).to_canonical();
        let protocol = word(&mut rest)?;
        let path = text(field(&mut rest, PATH_LENGTH)?);
        let arguments = field(&mut rest, ARGUMENTS_LENGTH)?;
        let path = (unnamed == 0).then_some(path);
        let deed = match kind {
            0 => {
                let told = &arguments[..length.min(ARGUMENTS_LENGTH)];
                let told = told.strip_suffix(&[0]).unwrap_or(told);
                let arguments = told.split(|byte| *byte == 0).map(text).collect();
                JobAction::Exec { path, arguments, whole: length <= ARGUMENTS_LENGTH }
            }
            1 => JobAction::Connect { address, port, protocol },
            2 => JobAction::Write { path },
            3 => JobAction::Exit,
            _ => return None,
        };
        Some(Self { pid, parent, uid, comm, deed })
    }

    pub fn to_json(&self, expected: bool) -> Value {
        let mut object = json!({
            "pid": self.pid, "parent": self.parent, "uid": self.uid, "comm": self.comm, "expected": expected,
        });
        match &self.deed {
            JobAction::Exec { path, arguments, whole } => {
                object["path"] = path.as_deref().into();
                object["arguments"] = arguments.clone().into();
                object["arguments_cut"] = (!whole).into();
            }
            JobAction::Connect { address, port, protocol } => {
                object["protocol"] = protocol::name_of(*protocol).into();
                object["address"] = address.to_string().into();
                object["port"] = (*port).into();
            }
            JobAction::Write { path } => object["path"] = path.as_deref().into(),
            JobAction::Exit => {}
        }
        object
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (first, behind) = rest.split_first_chunk()?;
    *rest = behind;
    Some(*first)
}

fn word(rest: &mut &[u8]) -> Option<u32> {
    take(rest).map(u32::from_ne_bytes)
}

fn field<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (field, behind) = rest.split_at_checked(length)?;
    *rest = behind;
    Some(field)
}

fn text(bytes: &[u8]) -> String {
    let bytes = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(bytes).into_owned()
}
