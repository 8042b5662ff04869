//! Images that the policy refuses or the machine lacks.

use bpfman_model::{Hint, ProgramId};
use bpfman_tests::registry::Registry;
use bpfman_tests::{Launch, compile};

use super::Machine;
use crate::images::publish;

fn trusting(registry: &Registry) -> Machine {
    let mut machine = Machine::prepare(false);
    let prefix = machine.daemon.path("cosign").display().to_string();
    machine.daemon.bpfman(&format!("image generate-key-pair {prefix}")).success();
    let policy = format!(
        "[[images]]\npattern = \"{}\"\nkeys = [\"{prefix}.pub\"]\n[[images]]\npattern = \"localhost/*\"\nunsigned = true\n",
        registry.image("*")
    );
    machine.start(Launch { policy, ..Launch::default() });
    machine
}

#[test]
pub fn unsigned_image_is_signed() {
    let registry = Registry::start();
    let (machine, image) = (trusting(&registry), registry.image("team/chain:1"));
    publish(&machine.daemon, &image, "chain");
    let load = format!("bpfman load image -i {image} --programs xdp:xdp_member");
    machine.mends(&load, &Hint::SignImage(image));
}

#[test]
pub fn missing_image_is_pulled() {
    let registry = Registry::start();
    let (machine, image) = (trusting(&registry), registry.image("team/chain:1"));
    machine.daemon.publish(
        &image,
        &compile::object("chain"),
        &machine.daemon.path("cosign.key").display().to_string(),
    );
    let inspect = format!("bpfman image inspect {image}");
    let failed = machine.shell(&inspect);
    assert_ne!(failed.code, 0);
    machine.paste(&failed, &Hint::ListImages).success();
    machine.mends(&inspect, &Hint::PullImage(image.clone()));
    machine.shell("bpfman image prune").success();
    let load = format!("bpfman load image -i {image} -p Never --programs xdp:xdp_member");
    machine.mends(&load, &Hint::PullImage(image));
}

#[test]
pub fn image_without_a_name_is_named() {
    let registry = Registry::start();
    let (machine, image) = (trusting(&registry), registry.image("team/chain:1"));
    publish(&machine.daemon, &image, "chain");
    let archive = machine.daemon.path("Chain.tar").display().to_string();
    machine.shell(&format!("bpfman image save {image} --to {archive}")).success();
    let folder = machine.daemon.path("Chain").display().to_string();
    let unnamed = format!(
        "mkdir {folder} && tar -xf {archive} -C {folder} && sed -i 's/\"annotations\":{{[^}}]*}}/\"annotations\":{{}}/g' \
         {folder}/index.json"
    );
    machine.shell(&unnamed).success();
    let hint = Hint::NameImage { path: folder.clone() };
    let right = "bpfman load image -i localhost/chain:latest -p Never --programs xdp:xdp_member";
    machine.leads(&format!("bpfman image load {folder}"), &hint, right);
}

#[test]
pub fn revoked_program_is_unloaded() {
    let registry = Registry::start();
    let (machine, image) = (trusting(&registry), registry.image("team/chain:1"));
    let key = machine.daemon.path("cosign.key").display().to_string();
    machine.daemon.publish(&image, &compile::object("chain"), &key);
    let load = format!("load image -i {image} --programs xdp:xdp_member -q");
    let program = machine.daemon.bpfman(&load).success().trim().parse().unwrap();
    machine.shell("bpfman doctor").success();
    let digest = machine.daemon.bpfman(&format!("image inspect {image} -o json")).json()["digest"].clone();
    let policy = std::fs::read_to_string(machine.daemon.path("policy.toml")).unwrap();
    machine.write("policy.toml", &format!("{policy}[revoked]\ndigests = [{digest}]\n"));
    machine.mends("bpfman doctor", &Hint::Unload(ProgramId(program)));
}
