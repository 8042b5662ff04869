//! Compiles the `.proto` files with `protox`, without `protoc`, and generates an enum of all calls for access control.

use std::fmt::Write as _;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let files = [
        "bpfman/v1/bpfman.proto",
        "bpfman/ext/v1/ext.proto",
        "bpfman/ext/v1/chains.proto",
        "bpfman/ext/v1/images.proto",
        "bpfman/ext/v1/node.proto",
        "bpfman/ext/v1/access.proto",
        "bpfman/ext/v1/maps.proto",
        "bpfman/ext/v1/map_entries.proto",
        "bpfman/ext/v1/figures.proto",
        "bpfman/ext/v1/radar.proto",
        "bpfman/ext/v1/sessions.proto",
        "csi/v1/csi.proto",
        "pluginregistration/v1/registration.proto",
    ];
    for file in files {
        println!("cargo::rerun-if-changed=proto/{file}");
    }
    let descriptors = protox::compile(files, ["proto"])?;
    let (mut calls, mut wire) = (Vec::new(), Vec::new());
    for file in descriptors.file.iter().filter(|file| file.package().starts_with("bpfman.")) {
        for service in &file.service {
            for method in &service.method {
                let path = format!("/{}.{}/{}", file.package(), service.name(), method.name());
                calls.push((format!("{}{}", service.name(), method.name()), method.name().to_owned(), path));
            }
        }
    }
    let folder = std::env::var("OUT_DIR")?;
    let folder = std::path::Path::new(&folder);
    std::fs::write(folder.join("method.rs"), methods(&calls)?)?;
    // A test compares this list with wire-v0.6.0.txt, because clients of v0.6.0 rely on it.
    for file in descriptors.file.iter().filter(|file| file.package() == "bpfman.v1") {
        for method in file.service.iter().flat_map(|service| &service.method) {
            wire.push(format!("{}: {} -> {}", method.name(), method.input_type(), method.output_type()));
        }
        let mut messages: Vec<_> = file.message_type.iter().map(|one| (one.name().to_owned(), one)).collect();
        while let Some((name, message)) = messages.pop() {
            for field in &message.field {
                let (label, kind) = (field.label().as_str_name(), field.r#type().as_str_name());
                let (field, number, message) = (field.name(), field.number(), field.type_name());
                wire.push(
                    format!("{name}.{field} = {number}: {label} {kind} {message}").trim_end().to_owned(),
                );
            }
            messages.extend(message.nested_type.iter().map(|one| (format!("{name}.{}", one.name()), one)));
        }
    }
    wire.sort_unstable();
    std::fs::write(folder.join("wire.txt"), wire.join("\n") + "\n")?;
    tonic_prost_build::configure().compile_fds(descriptors)?;
    Ok(())
}

fn methods(calls: &[(String, String, String)]) -> Result<String, std::fmt::Error> {
    let mut text = String::from(
        "/// A call of the daemon's services.\n#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]\npub enum Method {\n",
    );
    for (variant, _, path) in calls {
        writeln!(text, "/// `{path}`.\n{variant},")?;
    }
    text.push_str("}\nimpl Method {\n/// All of them.\npub const ALL: &[Self] = &[");
    for (variant, ..) in calls {
        write!(text, "Self::{variant}, ")?;
    }
    text.push_str("];\n/// The call of a request with this path.\n#[must_use]\npub fn from_path(path: &str) -> Option<Self> {\nSome(match path {\n");
    for (variant, _, path) in calls {
        writeln!(text, "\"{path}\" => Self::{variant},")?;
    }
    text.push_str("_ => return None,\n})\n}\n/// Its name, without the service.\n#[must_use]\npub const fn name(self) -> &'static str {\nmatch self {\n");
    for (variant, method, _) in calls {
        writeln!(text, "Self::{variant} => \"{method}\",")?;
    }
    text.push_str("}\n}\n/// What requests have as their path.\n#[must_use]\npub const fn path(self) -> &'static str {\nmatch self {\n");
    for (variant, _, path) in calls {
        writeln!(text, "Self::{variant} => \"{path}\",")?;
    }
    text.push_str("}\n}\n}\n");
    Ok(text)
}
