//! Pins of maps that programs share by name, lost while the map lives on.

use std::path::Path;

use bpfman_model::{MapId, MapSpec, map_type};
use bpfmand_engine::Standing;

use crate::bench::{Ask as _, Bench, Testable, pins};
use crate::points_seen::wait_until;

fn map_by_name_stays_one_map_without_its_pin<K: Testable>(bench: &Bench<K>) {
    let engine = bench.engine();
    let place = Path::new("shared/everyone");
    let host = engine.loads(&bench.request("sharing", &["host"]))[0];
    let map = engine.map_pins(host)["everyone"];
    let pinned = || {
        let pin = bench.kernel.open_pin(place).unwrap().unwrap();
        bench.kernel.map_of(&pin).unwrap().id.0
    };
    let spec = MapSpec::sized("theirs", map_type::ARRAY, 4, 8, 1);
    for is_taken in [false, true] {
        bench.kernel.unpin(place).unwrap();
        if is_taken {
            bench.kernel.pin(&bench.kernel.create_map(&spec, None).unwrap(), place).unwrap();
        }
        let guest = engine.loads(&bench.request("sharing", &["guest"]))[0];
        engine.check_all();
        assert_eq!((pinned(), engine.map_pins(guest)["everyone"]), (map, map), "{is_taken}");
        let again = format!("{:?}", engine.check_all());
        assert!(!again.contains("pins"), "{again}");
    }
}

/// State after an unmount of the bpffs: the kernel frees a map some time after its last program.
fn start_pins_a_shared_map_that_outlived_its_pin<K: Testable>(bench: &Bench<K>) {
    let place = Path::new("shared/everyone");
    for keeps_own_maps in [false, true] {
        let engine = bench.engine();
        let [host, guest] = ["host", "guest"].map(|name| engine.loads(&bench.request("sharing", &[name]))[0]);
        let map = engine.map_pins(host)["everyone"];
        let _held = bench.kernel.open_map(MapId(map)).unwrap();
        drop(engine);
        for pin in pins(&*bench.kernel, Path::new("")) {
            if !(keeps_own_maps && pin.starts_with("maps/")) {
                bench.kernel.unpin(Path::new(&pin)).unwrap();
            }
        }
        assert!(wait_until(|| [host, guest].iter().all(|id| bench.kernel.program(*id).unwrap().is_none())));
        let engine = bench.engine();
        let ids = engine.ids();
        assert_eq!(ids.len(), 2);
        for id in &ids {
            assert_eq!(engine.map_pins(*id)["everyone"], map, "{keeps_own_maps}");
            let standing = engine.describe_program(*id).unwrap().managed.unwrap().standing;
            assert_eq!(standing, Standing::Running, "{keeps_own_maps}");
        }
        let pin = bench.kernel.open_pin(place).unwrap().unwrap();
        assert_eq!(bench.kernel.map_of(&pin).unwrap().id.0, map);
        ids.into_iter().for_each(|id| engine.unload(id).unwrap());
        assert_eq!(pins(&*bench.kernel, Path::new("")), Vec::<String>::new());
    }
}

crate::on_both_kernels!(
    map_by_name_stays_one_map_without_its_pin,
    start_pins_a_shared_map_that_outlived_its_pin,
);
