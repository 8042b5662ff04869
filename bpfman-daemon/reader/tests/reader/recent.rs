//! Loads of the same bytes need one reader.

use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bpfmand_engine::{EbpfObject, LinkAhead, ReadHere, ReadObjects as _};
use bpfmand_object::BtfFeatures;
use bpfmand_reader::ReaderClient;

use crate::acting::acting;
use crate::reader::{bytes, honest};

/// Client of honest readers, with the number of those that were given an object.
fn counting() -> (ReaderClient, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let (client, _) = acting(move |_, stream: UnixStream| {
        count.fetch_add(1, Ordering::SeqCst);
        honest(stream);
    });
    (client, asked)
}

fn ahead(object: &EbpfObject) -> LinkAhead {
    let programs = object.programs().iter().map(|program| program.name.clone()).collect();
    LinkAhead { programs, features: BtfFeatures::ALL }
}

/// A question that the first answer does not cover starts another reader.
#[test]
fn same_bytes_and_programs_need_one_reader() {
    let object = bytes("maps.c");
    let here = ReadHere.read(Arc::clone(&object)).unwrap();
    let question = ahead(&here);
    let (client, asked) = counting();
    let read = || client.read_ahead(Arc::clone(&object), &question).unwrap();
    let (first, again) = (read(), read());
    assert_eq!(*again, *first);
    for program in &question.programs {
        let linked = here.link(program, None, BtfFeatures::ALL).unwrap();
        for there in [&first, &again] {
            assert!(!there.needs_kernel_types(program).unwrap());
            assert_eq!(there.link(program, None, BtfFeatures::ALL).unwrap(), linked);
            assert_eq!(there.btf(BtfFeatures::ALL).unwrap(), here.btf(BtfFeatures::ALL).unwrap());
        }
    }
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    let program = &question.programs[0];
    let older = again.link(program, None, BtfFeatures::NONE).unwrap();
    assert_eq!(older, here.link(program, None, BtfFeatures::NONE).unwrap());
    assert_eq!(again.btf(BtfFeatures::NONE).unwrap(), here.btf(BtfFeatures::NONE).unwrap());
    assert_eq!(asked.load(Ordering::SeqCst), 2);
    again.finish();
    let refused = again.link(program, None, BtfFeatures::NONE).unwrap_err();
    assert!(refused.to_string().contains("it was given up"), "{refused}");
}

#[test]
fn other_questions_and_other_bytes_need_readers() {
    let object = bytes("basic.c");
    let here = ReadHere.read(Arc::clone(&object)).unwrap();
    let question = ahead(&here);
    let (client, asked) = counting();
    let read = |object: &Arc<[u8]>, question: &LinkAhead, readers: usize| {
        client.read_ahead(Arc::clone(object), question).unwrap();
        assert_eq!(asked.load(Ordering::SeqCst), readers);
    };
    read(&object, &question, 1);
    read(&object, &LinkAhead { features: BtfFeatures::NONE, ..question.clone() }, 2);
    read(&object, &LinkAhead { programs: question.programs[..1].to_vec(), ..question.clone() }, 3);
    // An object with one byte added behind the sections counts as another object.
    let longer: Arc<[u8]> = [&object[..], b"\0"].concat().into();
    read(&longer, &question, 4);
    read(&longer, &question, 4);
    read(&object, &question, 4);
    let large: Arc<[u8]> = [&object[..], &[0; 128 << 10]].concat().into();
    read(&large, &question, 5);
    read(&large, &question, 6);
}

#[test]
fn kept_answers_have_a_limit() {
    let object = bytes("maps.c");
    let here = ReadHere.read(Arc::clone(&object)).unwrap();
    let question = ahead(&here);
    let (client, asked) = counting();
    let padded = |number: u8| -> Arc<[u8]> { [&object[..], &[number; 100 << 10]].concat().into() };
    for number in 0..40 {
        client.read_ahead(padded(number), &question).unwrap();
    }
    assert_eq!(asked.load(Ordering::SeqCst), 40);
    client.read_ahead(padded(39), &question).unwrap();
    assert_eq!(asked.load(Ordering::SeqCst), 40);
    client.read_ahead(padded(0), &question).unwrap();
    assert_eq!(asked.load(Ordering::SeqCst), 41);
}

#[test]
fn programs_that_need_the_kernels_types_are_read_each_time() {
    let object = bytes("core.c");
    let here = ReadHere.read(Arc::clone(&object)).unwrap();
    let question = ahead(&here);
    assert!(question.programs.iter().any(|program| here.needs_kernel_types(program).unwrap()));
    let (client, asked) = counting();
    for readers in 1..=2 {
        client.read_ahead(Arc::clone(&object), &question).unwrap();
        assert_eq!(asked.load(Ordering::SeqCst), readers);
    }
}
