//! Configuration in a dispatcher of libxdp, which its owner wrote.

use bpfmand_splice::{DispatcherConfig, dispatcher_config, dispatcher_takes_frags, read_dispatcher_config};

/// Reads a configuration, and writes it again. Panics if a program is lost when the configuration is written.
pub fn run(bytes: &[u8]) {
    let DispatcherConfig::Slots(slots) = read_dispatcher_config(bytes) else { return };
    let _all = dispatcher_takes_frags(&slots);
    let written = dispatcher_config(&slots);
    let again = read_dispatcher_config(&written.initial);
    let DispatcherConfig::Slots(again) = again else { panic!("what is written is not read: {slots:?}") };
    assert_eq!(again.len(), slots.len());
    for (before, after) in slots.iter().zip(&again) {
        assert_eq!((before.priority, before.frags), (after.priority, after.frags), "{slots:?}");
        assert_eq!(before.proceed, after.proceed & before.proceed, "{slots:?}");
    }
}

pub fn seeds() -> Vec<Vec<u8>> {
    let mut bytes = vec![236, 2, 3, 0];
    bytes.resize(bpfmand_splice::DISPATCHER_CONFIG_SIZE, 1);
    vec![bytes]
}
