//! Time limits of readers during the daemon's start: a slow or silent reader does not take the time of others.

use std::os::unix::net::UnixStream;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::acting::{acting, facts, receive_object};
use bpfmand_engine::{EbpfObject, EngineError, ReadObjects as _};
use bpfmand_reader::{ReaderClient, StartPatience};
use serde_json::{Value, json};

const OBJECT: &[u8] = b"an object";
const TAKEN: &str = "others took all the time";

fn slow_and_wrong(_: usize, stream: UnixStream) {
    let mut served = receive_object(stream);
    std::thread::sleep(Duration::from_millis(100));
    let _gone = served.say(&json!("nonsense"));
}

fn silent(stream: UnixStream) {
    let _never: Result<Option<Value>, _> = receive_object(stream).question();
}

fn refused(result: Result<EbpfObject, EngineError>) -> String {
    let error = result.unwrap_err();
    assert!(matches!(error, EngineError::Reader(_)), "{error}");
    error.to_string()
}

#[test]
fn silent_ones_at_a_start_leave_the_next_its_time() {
    let (client, _) = acting(|number, stream| {
        if number < 2 {
            return silent(stream);
        }
        let mut served = receive_object(stream);
        std::thread::sleep(Duration::from_millis(100));
        served.say(&json!({ "Ok": facts() })).unwrap();
        served.give(&[]).unwrap();
        let _next: Result<Option<Value>, _> = served.question();
    });
    let start = StartPatience { each: Duration::from_secs(1), again: Duration::from_secs(1) };
    let client = client.starting(start);
    for _ in 0..2 {
        assert!(refused(client.read(OBJECT.into())).ends_with("it did not answer in time"));
    }
    client.read(OBJECT.into()).unwrap();
}

fn read_until_refused(client: &ReaderClient, ask: fn(EbpfObject)) -> usize {
    let attempts = (0..100).map(|_| client.read_again(OBJECT.into()).map(ask));
    let refusals = attempts.map(|read| read.err().is_some_and(|error| error.to_string().contains(TAKEN)));
    refusals.enumerate().find(|(_, is_refused)| *is_refused).unwrap().0
}

#[test]
fn repeated_reads_at_start_are_charged() {
    let (client, started) = acting(slow_and_wrong);
    let client =
        client.starting(StartPatience { each: Duration::from_millis(1), again: Duration::from_secs(1) });
    let read = read_until_refused(&client, |_| panic!("it is no object"));
    assert!(read > 1, "the first does not take all");
    assert_eq!(started.load(Ordering::Relaxed), read);
    assert!(refused(client.read(OBJECT.into())).ends_with("it did not answer in time"));
    client.mark_started();
    for read in [client.read(OBJECT.into()), client.read_again(OBJECT.into())] {
        assert!(refused(read).contains("a message is none"));
    }
}

#[test]
fn questions_that_were_answered_are_charged_too() {
    let (client, _) = acting(|_, stream| {
        let mut served = receive_object(stream);
        served.say(&json!({ "Ok": facts() })).unwrap();
        served.give(&[]).unwrap();
        while let Ok(Some(_)) = served.question::<Value>() {
            std::thread::sleep(Duration::from_millis(100));
            let _gone = served.say(&false);
        }
    });
    let client =
        client.starting(StartPatience { each: Duration::from_secs(5), again: Duration::from_secs(1) });
    read_until_refused(&client, |object| drop(object.needs_kernel_types("pass")));
}
