//! Registration of the plugin with a kubelet, including old ones.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::FileTypeExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use bpfman_proto::pluginregistration::{PluginInfo, RegistrationStatus};
use bpfman_tests::csi::Csi;
use bpfman_tests::wait;
use tempfile::TempDir;

use crate::csi_equipment::Node;

const KUBELET_SOCKET: &str = "/var/lib/kubelet/plugins/csi-bpfman/csi.sock";

struct Registered {
    node: Node,
    folder: TempDir,
}

impl Registered {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().display().to_string();
        let node =
            Node::with_flags(&["--csi-registration-dir", &path, "--csi-kubelet-socket", KUBELET_SOCKET]);
        Self { node, folder }
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("csi.bpfman.io-reg.sock")
    }

    fn wait_for_socket(&self) {
        wait::until("the plugin is registered", || Csi::new(&self.socket()).plugin_info().is_ok());
    }
}

#[test]
fn a_kubelet_is_told_name_socket_and_version() {
    let mut registered = Registered::new();
    registered.wait_for_socket();
    let kubelet = Csi::new(&registered.socket());
    let told = PluginInfo {
        r#type: "CSIPlugin".to_owned(),
        name: "csi.bpfman.io".to_owned(),
        endpoint: KUBELET_SOCKET.to_owned(),
        supported_versions: vec!["1.0.0".to_owned()],
    };
    assert_eq!(kubelet.plugin_info().unwrap(), told);
    kubelet.registered(RegistrationStatus { plugin_registered: true, error: String::new() }).unwrap();
    let refused = RegistrationStatus { plugin_registered: false, error: "no such socket".to_owned() };
    kubelet.registered(refused).unwrap();
    wait::until("both answers are in the log", || {
        let log = registered.node.daemon.log();
        log.contains("the kubelet registered the CSI driver") && log.contains("no such socket")
    });
    let names: Vec<_> =
        fs::read_dir(registered.folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names, ["csi.bpfman.io-reg.sock"]);
    registered.node.daemon.terminate();
    assert!(!registered.socket().exists(), "a plugin that ended is registered no more");
}

#[test]
fn removed_registration_returns_also_with_the_whole_folder() {
    let registered = Registered::new();
    registered.wait_for_socket();
    fs::remove_file(registered.socket()).unwrap();
    registered.wait_for_socket();
    fs::remove_dir_all(registered.folder.path()).unwrap();
    wait::until("it is missed", || registered.node.daemon.log().contains("cannot be registered yet"));
    fs::create_dir(registered.folder.path()).unwrap();
    registered.wait_for_socket();
}

#[test]
fn dead_socket_is_replaced_and_a_living_registrars_is_not() {
    let mut registered = Registered::new();
    registered.wait_for_socket();
    registered.node.daemon.kill();
    assert!(fs::symlink_metadata(registered.socket()).unwrap().file_type().is_socket());
    registered.node.again();
    registered.wait_for_socket();
    registered.node.daemon.terminate();
    let sidecar = UnixListener::bind(registered.socket()).unwrap();
    registered.node.again();
    wait::until("the other one is named", || {
        registered.node.daemon.log().contains("csi.bpfman.io-reg.sock is another process's")
    });
    registered.node.daemon.terminate();
    assert!(registered.socket().exists());
    drop(sidecar);
}

/// Sends a request by hand: connection preface, empty settings, headers and an empty message. Returns the response.
fn call_by_hand(socket: &Path, headers: &[u8]) -> Vec<u8> {
    let frame = |kind: u8, flags: u8, stream: u8, payload: &[u8]| {
        let length = u8::try_from(payload.len()).unwrap();
        [&[0, 0, length, kind, flags, 0, 0, 0, stream][..], payload].concat()
    };
    let mut sent = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    sent.extend(frame(4, 0, 0, b""));
    sent.extend(frame(1, 4, 1, headers));
    sent.extend(frame(0, 1, 1, &[0; 5]));
    let mut connection = UnixStream::connect(socket).unwrap();
    connection.set_read_timeout(Some(wait::DEADLINE)).unwrap();
    connection.write_all(&sent).unwrap();
    let mut answer = Vec::new();
    let mut chunk = [0; 4096];
    while !answer.windows(6).any(|bytes| bytes == b"node-a") {
        match connection.read(&mut chunk).unwrap() {
            0 => break,
            count => answer.extend_from_slice(&chunk[..count]),
        }
        let reset = |bytes: &[u8]| bytes == [0, 0, 4, 3, 0, 0, 0, 0, 1];
        if answer.windows(9).any(reset) {
            break;
        }
    }
    answer
}

#[test]
fn a_kubelet_that_names_the_socket_as_authority_is_answered() {
    let node = Node::new();
    let socket = node.daemon.path("run/csi/csi.sock");
    // POST, http, and headers without Huffman coding: path, authority, content type.
    let text =
        |index: u8, value: &[u8]| [&[0x40 | index, u8::try_from(value.len()).unwrap()], value].concat();
    let path = text(4, b"/csi.v1.Node/NodeGetInfo");
    let content = [&b"\x40\x02te\x08trailers"[..], &text(31, b"application/grpc")].concat();
    for authority in
        [text(1, KUBELET_SOCKET.as_bytes()), text(1, b"localhost"), b"\x41\x84\x62\xc6\x3c\xff".to_vec()]
    {
        let headers = [&b"\x83\x86"[..], &path, &authority, &content].concat();
        let answer = call_by_hand(&socket, &headers);
        assert!(answer.windows(6).any(|bytes| bytes == b"node-a"), "{authority:?}: {answer:x?}");
    }
}
