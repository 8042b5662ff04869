//! Compiles the `.proto` files in Rust: `protox` parses them, so no `protoc` has to be installed.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let files = [
        "bpfman/v1/bpfman.proto",
        "bpfman/ext/v1/ext.proto",
        "bpfman/ext/v1/chains.proto",
        "bpfman/ext/v1/images.proto",
        "bpfman/ext/v1/node.proto",
        "csi/v1/csi.proto",
        "pluginregistration/v1/registration.proto",
    ];
    for file in files {
        println!("cargo::rerun-if-changed=proto/{file}");
    }
    let descriptors = protox::compile(files, ["proto"])?;
    tonic_prost_build::configure().compile_fds(descriptors)?;
    Ok(())
}
