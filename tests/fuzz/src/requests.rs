//! Socket of the daemon: arbitrary data of a client.

use std::cell::RefCell;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream as ClientStream;
use std::sync::Arc;
use std::time::Duration;

use bpfman_model::Peer;
use bpfman_proto::ext::v1 as ext;
use bpfman_proto::{Method, v1};
use bpfmand_api::{Api, Paths, SocketSystem};
use bpfmand_engine::NoImages;
use tokio::net::{UnixListener, UnixStream};
use tonic::Code;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::{Channel, Endpoint};

use crate::world::{self, World};

/// Number of inputs after which the daemon is replaced.
const LIFE: u32 = 2_000;
/// Time limit of an answer: the daemon is considered hung after it.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(20);

/// Daemon on its socket, and a root client; recreated from time to time, because inputs may fill it.
struct Served {
    runtime: tokio::runtime::Runtime,
    channel: Channel,
    world: World,
    left: u32,
}

impl Served {
    fn new() -> Self {
        let world = World::new();
        let engine = Arc::new(world.engine(world.store()).expect("nothing is there"));
        let loaded = engine.load(&world::load_request()).expect("the object that was compiled");
        assert_eq!(loaded.programs.len(), 1);
        let folder = world.folder.path();
        let paths = Paths { fs: folder.join("fs"), runtime: folder.to_owned(), state: folder.to_owned() };
        let api = Api::new(engine, Arc::new(NoImages), paths);
        let system = SocketSystem {
            identify: |_, _| Ok(Peer::default()),
            unread: |_| Ok(0),
            account_uid: |uid| uid,
            trim: || {},
        };
        let socket = folder.join("socket");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let listener = {
            let _inside = runtime.enter();
            UnixListener::bind(&socket).expect("a new folder")
        };
        runtime.spawn(async move { api.serve(listener, system, std::future::pending()).await });
        let connector = tower::service_fn(move |_| {
            let socket = socket.clone();
            async move {
                Ok::<_, std::io::Error>(hyper_util::rt::TokioIo::new(UnixStream::connect(socket).await?))
            }
        });
        let channel = {
            let _inside = runtime.enter();
            Endpoint::from_static("http://localhost").connect_with_connector_lazy(connector)
        };
        Self { runtime, channel, world, left: LIFE }
    }
}

thread_local! {
    static SERVED: RefCell<Option<Served>> = const { RefCell::new(None) };
}

fn with_served(work: impl FnOnce(&Served)) {
    SERVED.with_borrow_mut(|served| {
        if served.as_ref().is_none_or(|served| served.left == 0)
            && let Some(old) = served.take()
        {
            old.runtime.shutdown_timeout(RESPONSE_TIMEOUT);
        }
        let served = served.get_or_insert_with(Served::new);
        served.left -= 1;
        work(served);
    });
}

/// Codec that passes messages as bytes, which the other side must parse.
#[derive(Clone, Copy, Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Vec<u8>;
    type Decode = ();
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Vec<u8>;
    type Error = tonic::Status;

    fn encode(&mut self, message: Vec<u8>, to: &mut EncodeBuf<'_>) -> Result<(), tonic::Status> {
        bytes::BufMut::put_slice(to, &message);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = ();
    type Error = tonic::Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<()>, tonic::Status> {
        bytes::Buf::advance(from, bytes::Buf::remaining(from));
        Ok(Some(()))
    }
}

/// Makes the call of the first byte. Panics if the daemon does not answer, or returns an internal error.
pub fn request(bytes: &[u8]) {
    let Some((method, message)) = bytes.split_first() else { return };
    let method = Method::ALL[usize::from(*method) % Method::ALL.len()];
    with_served(|served| {
        let call = async {
            let mut client = tonic::client::Grpc::new(served.channel.clone());
            client.ready().await.map_err(|error| tonic::Status::unavailable(error.to_string()))?;
            let request = tonic::Request::new(message.to_vec());
            let path = tonic::codegen::http::uri::PathAndQuery::from_static(method.path());
            let mut answer = client.server_streaming(request, path, Raw).await?.into_inner();
            match method {
                // These streams continue until the caller ends them.
                Method::BpfmanNodeWatch | Method::BpfmanNodeFollowEvents | Method::BpfmanExtFollowPrints => {}
                Method::BpfmanExtHoldLease => drop(answer.message().await?),
                _ => while answer.message().await?.is_some() {},
            }
            Ok::<_, tonic::Status>(())
        };
        let answer = served.runtime.block_on(async { tokio::time::timeout(RESPONSE_TIMEOUT, call).await });
        let answer = answer.unwrap_or_else(|_| panic!("{method:?} hangs"));
        if let Err(status) = answer {
            let fault = matches!(status.code(), Code::Internal | Code::Unknown | Code::DataLoss);
            // tonic returns this error for bytes that are not a valid message.
            let undecoded = status.message().contains("failed to decode Protobuf message");
            assert!(!fault || undecoded, "{method:?}: {status:?}");
        }
    });
}

fn seed(method: Method, message: &impl prost::Message) -> Vec<u8> {
    let number = Method::ALL.iter().position(|known| *known == method).unwrap_or_default();
    [vec![number as u8], message.encode_to_vec()].concat()
}

pub fn request_seeds() -> Vec<Vec<u8>> {
    let path = world::object().display().to_string();
    let load = v1::LoadRequest {
        bytecode: Some(v1::BytecodeLocation { location: Some(v1::bytecode_location::Location::File(path)) }),
        info: vec![v1::LoadInfo {
            name: world::PROGRAM.to_owned(),
            program_type: v1::BpfmanProgramType::Xdp.into(),
            info: None,
        }],
        metadata: [("owner".to_owned(), "fuzz".to_owned())].into(),
        global_data: [("limit".to_owned(), vec![1, 0, 0, 0])].into(),
        ..Default::default()
    };
    let valued = ext::ExtLoadRequest {
        request: Some(load.clone()),
        values: Some(ext::LoadValues {
            globals: [("limit".to_owned(), "7".to_owned())].into(),
            map_sizes: [("counts".to_owned(), 8)].into(),
            by_type_only: true,
        }),
        ..Default::default()
    };
    let xdp = v1::XdpAttachInfo {
        priority: 50,
        iface: world::INTERFACE.to_owned(),
        proceed_on: vec![2],
        ..Default::default()
    };
    let attach = v1::AttachRequest {
        id: 1,
        attach: Some(v1::AttachInfo { info: Some(v1::attach_info::Info::XdpAttachInfo(xdp)) }),
    };
    let image = v1::BytecodeImage { url: "localhost:5000/a:1".to_owned(), ..Default::default() };
    let mut seeds = vec![
        seed(Method::BpfmanLoad, &load),
        seed(Method::BpfmanExtLoad, &valued),
        seed(Method::BpfmanAttach, &attach),
        seed(Method::BpfmanUnload, &v1::UnloadRequest { id: 1 }),
        seed(Method::BpfmanDetach, &v1::DetachRequest { link_id: 1 }),
        seed(Method::BpfmanGet, &v1::GetRequest { id: 1 }),
        seed(Method::BpfmanPullBytecode, &v1::PullBytecodeRequest { image: Some(image) }),
        seed(Method::BpfmanAccessCanI, &ext::CanIRequest::default()),
    ];
    seeds.extend((0..Method::ALL.len()).map(|number| vec![number as u8]));
    seeds
}

/// Sends the bytes as they are. Panics if the daemon does not answer other clients afterwards.
pub fn connection(bytes: &[u8]) {
    with_served(|served| {
        let socket = served.world.folder.path().join("socket");
        let talk = tokio::task::spawn_blocking;
        let (input, path) = (bytes.to_vec(), socket.clone());
        let said = async move {
            let _hung_up = talk(move || -> std::io::Result<()> {
                let mut stream = ClientStream::connect(path)?;
                stream.set_read_timeout(Some(Duration::from_millis(2)))?;
                stream.write_all(&input)?;
                stream.shutdown(std::net::Shutdown::Write)?;
                let mut answer = [0; 4096];
                while stream.read(&mut answer)? > 0 {}
                Ok(())
            })
            .await;
        };
        served.runtime.block_on(said);
    });
    request(&seed(Method::BpfmanAccessWhoAmI, &()));
}

pub fn connection_seeds() -> Vec<Vec<u8>> {
    let mut http = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    http.extend([0, 0, 0, 4, 0, 0, 0, 0, 0]);
    // POST, http, a path, and data.
    let path = Method::BpfmanList.path();
    let headers = [&[0x83, 0x86, 0x44, path.len() as u8][..], path.as_bytes()].concat();
    http.extend([0, 0, headers.len() as u8, 1, 4, 0, 0, 0, 1]);
    http.extend(headers);
    http.extend([0, 0, 5, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0]);
    let asked = ext::HandoverRequest {
        call: Some(ext::handover_request::Call::OpenForReading(ext::OpenMapRequest::default())),
    };
    let handover = [bpfman_proto::handover::PREFACE, &bpfman_proto::handover::frame(&asked)[..]].concat();
    vec![http, handover]
}
