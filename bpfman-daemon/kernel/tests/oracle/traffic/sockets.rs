//! AF_XDP socket at the end of a chain that is replaced: it receives every packet.

use std::os::fd::AsRawFd as _;

use bpfmand_splice::{ProceedMask, SpliceOptions};

use crate::chain::Loaded;
use crate::kernel::af_xdp::XdpSocket;
use crate::kernel::{self, ProgramKind, Sender, XdpMode, interface};
use crate::objects::{self, Corpus};
use crate::pool::ATTEMPTS;
use crate::together::{Together, options};

use super::wire::{interfaces, until};

const SWAPS: u64 = 50;
const BETWEEN: u64 = 200;
const ON_THEIR_WAY: u64 = 64;
const PASS: ProceedMask = ProceedMask(1 << 2);

fn frame(number: u64) -> Vec<u8> {
    let mut frame = vec![0xff; if number.is_multiple_of(2) { 100 } else { 1500 }];
    frame[12..14].copy_from_slice(&[0x88, 0xb5]);
    frame[14..22].copy_from_slice(&number.to_ne_bytes());
    frame
}

fn receives_across_swaps(mode: XdpMode) {
    interfaces();
    let kind = ProgramKind::Xdp;
    let mut corpus = Corpus::default();
    corpus.add(kind, "redirects.c", &objects::compile("redirects.c"), |name| name == "to_socket");
    corpus.add(kind, "xdp.c", &objects::compile("xdp.c"), |name| name == "global_counter");
    let (counter, to_socket) = (corpus.named("global_counter"), corpus.named("to_socket"));
    let at = interface("in1");
    let socket = XdpSocket::new(at).unwrap();
    let sockets = corpus.maps.spliced.iter().find(|map| map.name == "sockets").unwrap();
    sockets.update(&[0; 4], &socket.as_raw_fd().to_ne_bytes()).unwrap();
    let chain = |swap: u64| {
        let mut members: Vec<(&Loaded, ProceedMask)> = vec![(counter, PASS); (swap % 4 + 1) as usize];
        members.push((to_socket, PASS));
        let attempt = ATTEMPTS[(swap % 3) as usize];
        Together::new(kind, &members, &corpus.maps, &SpliceOptions { attempt, ..options(kind) }).unwrap()
    };
    let mut running = chain(0);
    let link = kernel::attach_xdp(&running.entry, at, mode).unwrap();
    let sender = Sender::new(interface("in0")).unwrap();
    let mut received = 0;
    let mut take = || {
        let packet = socket.receive()?;
        assert_eq!(packet, frame(received), "packet {received} was lost or overtaken");
        received += 1;
        Some(received)
    };
    let mut sent = 0;
    let mut through = 0;
    for swap in 1..=SWAPS {
        let next = chain(swap);
        std::thread::scope(|scope| {
            let swapped = scope.spawn(|| kernel::replace(&link, &next.entry));
            for _ in 0..BETWEEN {
                sender.send(&frame(sent)).unwrap();
                sent += 1;
                until("the socket gets its packets", || {
                    through = take().unwrap_or(through);
                    sent - through < ON_THEIR_WAY
                });
            }
            swapped.join().unwrap().unwrap();
        });
        running = next;
    }
    until("the socket has all packets", || {
        through = take().unwrap_or(through);
        through == sent
    });
    drop(running);
    println!("{mode:?}: {SWAPS} swaps, {sent} packets, none missing");
}

#[test]
fn an_af_xdp_socket_misses_nothing_while_its_chain_is_swapped() {
    receives_across_swaps(XdpMode::Native);
}

#[test]
fn af_xdp_socket_of_a_generic_chain_misses_nothing_during_swaps() {
    receives_across_swaps(XdpMode::Generic);
}
