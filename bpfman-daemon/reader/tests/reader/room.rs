use std::io::{self, Write as _};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Barrier, Mutex};
use std::time::Duration;

use crate::acting::{acting, facts, receive_object};
use bpfmand_engine::{EbpfObject, EngineError, ReadObjects as _};
use bpfmand_frames::{PIECE, header};
use bpfmand_object::BtfFeatures;
use bpfmand_reader::ReaderClient;
use serde_json::{Value, json};

const OBJECT: &[u8] = b"an object";
const ALL: usize = 32 << 20;
/// Slightly below a quarter of the limit: contents count twice.
const LARGE: usize = (7 << 20) / 2;

fn announces(stream: UnixStream, size: usize) -> bpfmand_frames::Answering {
    let mut served = receive_object(stream);
    let mut facts = facts();
    facts["types"] = json!([[null, false]]);
    facts["maps"] = json!([{
        "name": ".data", "map_type": 2, "key_size": 4, "value_size": size, "max_entries": 1, "flags": 0, "map_extra": 0, "numa_node": 0,
        "pin_by_name": false, "role": "Data", "initial": size, "types": [0, 0], "inner": null,
    }]);
    served.say(&json!({ "Ok": facts })).unwrap();
    served
}

fn says(stream: UnixStream, size: usize) {
    let mut served = announces(stream, size);
    let _refused = served.give(&vec![1; size]);
    let _next: Result<Option<Value>, _> = served.question();
}

fn client(act: impl Fn(usize, UnixStream) + Send + Sync + 'static) -> Arc<ReaderClient> {
    let (client, _) = acting(act);
    Arc::new(client.with_room(ALL))
}

fn reading(client: &Arc<ReaderClient>) -> std::thread::JoinHandle<Result<EbpfObject, EngineError>> {
    let client = Arc::clone(client);
    std::thread::spawn(move || client.read(OBJECT.into()))
}

fn refused(result: Result<EbpfObject, EngineError>) -> String {
    let error = result.unwrap_err();
    assert!(matches!(error, EngineError::Reader(_)), "{error}");
    error.to_string()
}

#[test]
fn announced_content_reserves_no_memory() {
    let stalled = Arc::new(Barrier::new(13));
    let (announced, end) = (Arc::clone(&stalled), Arc::new(Barrier::new(13)));
    let may_end = Arc::clone(&end);
    let client = client(move |number, stream| {
        if number >= 12 {
            return says(stream, LARGE);
        }
        let _served = announces(stream, LARGE);
        announced.wait();
        may_end.wait();
    });
    let waiting: Vec<_> = (0..12).map(|_| reading(&client)).collect();
    stalled.wait();
    let objects: Vec<_> = (0..4).map(|_| client.read(OBJECT.into()).unwrap()).collect();
    assert!(objects.iter().all(|object| object.maps[0].initial.len() == LARGE));
    end.wait();
    assert!(waiting.into_iter().all(|one| refused(one.join().unwrap()).contains("in the middle of it")));
}

#[test]
fn one_object_gets_a_quarter_of_the_memory_for_any_content() {
    let client = client(|number, stream| match number {
        0 => says(stream, LARGE + (1 << 20)),
        _ => {
            let mut served = receive_object(stream);
            served.say(&json!({ "Ok": facts() })).unwrap();
            served.give(&[]).unwrap();
            const INSNS: usize = 1 << 16;
            while let Ok(Some(_)) = served.question::<Value>() {
                let said = served.say(&json!({ "Ok": {
                    "insns": INSNS, "func_info": 0, "line_info": 0, "functions": [["pass", INSNS]], "modules": [],
                    "local_type_ids": [], "unresolved": [], "addresses": [],
                } }));
                let given = said.and_then(|()| served.give(&[0xb7, 0, 0, 0, 0, 0, 0, 0].repeat(INSNS)));
                let asked = given.and_then(|()| served.question::<Value>());
                if asked.is_err() || served.say(&false).is_err() {
                    return;
                }
            }
        }
    });
    assert!(refused(client.read(OBJECT.into())).contains("than 8 MiB of the daemon's memory"));
    let object = client.read(OBJECT.into()).unwrap();
    let link = |features| object.link("pass", None, features);
    let features = [BtfFeatures::ALL, BtfFeatures { float: false, ..BtfFeatures::ALL }];
    let linked: Vec<_> = features.into_iter().cycle().take(16).map(link).collect();
    assert!(linked[0].is_ok(), "{:?}", linked[0].as_ref().err());
    let why = linked.into_iter().find_map(Result::err).expect("its programs take room too").to_string();
    assert!(why.contains("than 8 MiB of the daemon's memory"), "{why}");
}

/// Signals once contents are not accepted for a moment.
fn gives_slowly(stream: &mut UnixStream, size: usize, stuck: &Sender<()>) -> io::Result<()> {
    stream.set_write_timeout(Some(Duration::from_millis(300)))?;
    let piece = [&header(true, PIECE)?[..], &vec![1; PIECE]].concat();
    let content = [piece.repeat(size / PIECE), header(true, 0)?.to_vec()].concat();
    let mut left = &content[..];
    while !left.is_empty() {
        match stream.write(left) {
            Ok(written) => left = &left[written..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => stuck.send(()).unwrap(),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[test]
fn an_object_waits_for_room_until_another_is_dropped() {
    let (stuck, is_stuck) = channel();
    let stuck = Mutex::new(stuck);
    let client = client(move |number, stream| {
        if number < 4 {
            return says(stream, LARGE);
        }
        let stuck = stuck.lock().unwrap().clone();
        let mut other = stream.try_clone().unwrap();
        let mut served = announces(stream, LARGE);
        let _refused = gives_slowly(&mut other, LARGE, &stuck);
        let _next: Result<Option<Value>, _> = served.question();
    });
    let mut objects: Vec<_> = (0..4).map(|_| client.read(OBJECT.into()).unwrap()).collect();
    let fifth = reading(&client);
    is_stuck.recv_timeout(Duration::from_secs(20)).unwrap();
    objects.pop();
    fifth.join().unwrap().unwrap();
}

#[test]
fn an_object_that_gets_no_room_in_time_is_refused() {
    let (client, _) = acting(|_, stream| says(stream, LARGE));
    let client = client.with_patience(Duration::from_secs(2)).with_room(ALL);
    let objects: Vec<_> = (0..4).map(|_| client.read(OBJECT.into()).unwrap()).collect();
    assert!(refused(client.read(OBJECT.into())).contains("too many objects"));
    drop(objects);
    client.read(OBJECT.into()).unwrap();
}
