//! Loads and attaches programs in the same way as bpfman v0.6.0, and exits: its programs and its database stay.
//!
//! `leave-v0-6 OBJECT tracepoint|tcx|xdp...`

use std::collections::HashMap;
use std::path::PathBuf;

use anyhow::Context as _;
use bpfman::types::{
    AttachInfo, Location, Program, ProgramData, TcxProgram, TracepointProgram, XdpProceedOn, XdpProgram,
};

/// Returns the data of a program; if a verdict is given, for a member of a chain.
fn data(file: &str, name: &str, verdict: Option<i32>) -> anyhow::Result<ProgramData> {
    let metadata = HashMap::from([("left".to_owned(), format!("by {name}"))]);
    let globals = verdict.map(|verdict| ("verdict".to_owned(), verdict.to_ne_bytes().to_vec()));
    let location = Location::File(file.to_owned());
    Ok(ProgramData::new(location, name.to_owned(), metadata, globals.into_iter().collect(), None)?)
}

fn main() -> anyhow::Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [object, kinds @ ..] = &words[..] else { anyhow::bail!("leave-v0-6 OBJECT KIND...") };
    let (config, db) = bpfman::setup().context("setup")?;
    let none: Option<PathBuf> = None;
    for kind in kinds {
        let (program, info) = match kind.as_str() {
            "tracepoint" => (
                Program::Tracepoint(TracepointProgram::new(data(object, "on_tracepoint", None)?)?),
                AttachInfo::Tracepoint {
                    tracepoint: "syscalls/sys_enter_getpriority".to_owned(),
                    metadata: HashMap::new(),
                },
            ),
            "tcx" => (
                Program::Tcx(TcxProgram::new(data(object, "on_ingress", None)?)?),
                AttachInfo::Tcx {
                    priority: 20,
                    iface: "left0".to_owned(),
                    direction: "ingress".to_owned(),
                    netns: none.clone(),
                    metadata: HashMap::new(),
                },
            ),
            "xdp" => (
                Program::Xdp(XdpProgram::new(data(object, "on_xdp", Some(1))?)?),
                AttachInfo::Xdp {
                    priority: 30,
                    iface: "left0".to_owned(),
                    proceed_on: XdpProceedOn::default(),
                    netns: none.clone(),
                    metadata: HashMap::new(),
                },
            ),
            other => anyhow::bail!("{other} is no kind"),
        };
        let loaded =
            bpfman::add_programs(&config, &db, vec![program]).with_context(|| format!("loading {kind}"))?;
        let id = loaded[0].get_data().get_id()?;
        let link =
            bpfman::attach_program(&config, &db, id, info).with_context(|| format!("attaching {kind}"))?;
        println!("{kind} {id} {}", link.get_id()?);
    }
    Ok(())
}
