//! XDP modes of chains: in the driver, or in the network stack if the driver refuses them.

use std::sync::Arc;

use bpfman_model::{AttachPoint, HookKind, ProceedOn, VerdictFamily, XdpRunsIn};
use bpfmand_engine::{Engine, EngineOptions, SCHEMA, XdpPlacement};
use bpfmand_kernel::{Kernel, XdpMode};
use bpfmand_store::{Batch, Store, StoreOptions, Table};

use crate::bench::{Ask as _, Bench, Testable};

fn at_loopback<K: Kernel>(bench: &Bench<K>) -> AttachPoint {
    AttachPoint::Xdp {
        interface: bench.interface("lo"),
        priority: 50,
        proceed_on: ProceedOn::default_for(VerdictFamily::Xdp),
    }
}

fn refused() -> XdpPlacement {
    XdpPlacement { mode: XdpRunsIn::Generic, refusal: Some("Operation not supported".to_owned()) }
}

fn chain_that_the_driver_refuses_says_that_it_is_generic<K: Testable>(bench: &Bench<K>) {
    let engine = bench.engine();
    let [alpha, bravo, charlie] =
        engine.loads(&bench.request("programs", &["alpha", "bravo", "charlie"]))[..]
    else {
        panic!()
    };
    let generic = engine.attached(alpha, at_loopback(bench));
    let native = engine.attached(bravo, bench.xdp(50));
    let second = engine.attached(charlie, at_loopback(bench));
    let native_mode = Some(XdpPlacement::of(XdpRunsIn::Native));
    let expected = [(generic, Some(refused())), (second, Some(refused())), (native, native_mode.clone())];
    let check = |engine: &Engine<K>| {
        for (link, mode) in &expected {
            assert_eq!(engine.describe_link(*link).unwrap().xdp, *mode, "link {link}");
        }
        let chain = |name| engine.show_chain(&bench.interface(name), HookKind::Xdp).unwrap();
        assert_eq!((chain("lo").xdp, chain("lo").mode), (Some(refused()), "xdp"));
        assert_eq!(chain("left").xdp, native_mode);
        let modes: Vec<_> = engine.list_hooks().unwrap().into_iter().map(|hook| hook.xdp).collect();
        assert!(modes.contains(&Some(refused())) && modes.contains(&native_mode), "{modes:?}");
    };
    check(&engine);
    drop(engine);
    check(&bench.engine());
}

fn mode_of_an_older_record_is_asked_of_the_kernel<K: Testable>(bench: &Bench<K>) {
    let engine = bench.engine();
    let alpha = engine.loads(&bench.request("programs", &["alpha"]))[0];
    let link = engine.attached(alpha, at_loopback(bench));
    drop(engine);
    {
        let store = Store::open(StoreOptions::new(bench.folder.path().join("store"), SCHEMA)).unwrap();
        let hooks = Table("hooks");
        let (key, mut record) = {
            let snapshot = store.load().unwrap();
            let (key, record) = snapshot.table(hooks).next().unwrap();
            (key.to_vec(), serde_json::from_slice::<serde_json::Value>(record).unwrap())
        };
        assert!(record.as_object_mut().unwrap().remove("xdp").is_some());
        let mut batch = Batch::new();
        batch.put(hooks, &key, serde_json::to_vec(&record).unwrap());
        store.commit(batch).unwrap();
    }
    let found = bench.engine().describe_link(link).unwrap().xdp;
    assert_eq!(found, Some(XdpPlacement::of(XdpRunsIn::Generic)), "the driver's error is gone");
}

fn mode_that_was_asked_for_is_no_refusal<K: Testable>(bench: &Bench<K>) {
    let xdp_modes = [("left".to_owned(), XdpMode::Generic)].into();
    let options = EngineOptions { xdp_modes, ..bench.options() };
    let engine = Engine::open(Arc::clone(&bench.kernel), options).unwrap();
    engine.recover().unwrap();
    let alpha = engine.loads(&bench.request("programs", &["alpha"]))[0];
    let link = engine.attached(alpha, bench.xdp(50));
    assert_eq!(engine.describe_link(link).unwrap().xdp, Some(XdpPlacement::of(XdpRunsIn::Generic)));
}

crate::on_both_kernels!(
    chain_that_the_driver_refuses_says_that_it_is_generic,
    mode_of_an_older_record_is_asked_of_the_kernel,
    mode_that_was_asked_for_is_no_refusal,
);
