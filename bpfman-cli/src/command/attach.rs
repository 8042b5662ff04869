//! `bpfman attach`.

use std::path::Path;

use bpfman_proto::ext::v1 as ext;
use bpfman_proto::v1;
use bpfman_proto::v1::attach_info::Info;

use super::connect;
use crate::args::attach::{Attach, AttachPoint, AttachUprobe};
use crate::args::value::{absolute, to_map};
use crate::args::{Global, OutputForm};
use crate::error::CliError;
use crate::show;
use crate::show::link::OneLink;
use crate::show::record::LinkRecord;

/// Attaches, and shows the new link.
pub async fn run(global: &Global, command: Attach) -> Result<(), CliError> {
    let info = on_the_wire(command.point)?;
    let mut client = connect(global).await?;
    let request =
        v1::AttachRequest { id: command.program_id, attach: Some(v1::AttachInfo { info: Some(info) }) };
    let link_id = client.v1.attach(request).await?.into_inner().link_id;
    if global.quiet && global.output == OutputForm::Table {
        return show::write(&format!("{link_id}\n"));
    }
    let answer = client.ext.get_link(ext::GetLinkRequest { link_id }).await?.into_inner();
    let link = answer.link.ok_or(CliError::Incomplete { call: "GetLink", part: "the link" })?;
    show::answer(global, &OneLink(LinkRecord::from(&link)))
}

/// The attach point as the wire has it.
fn on_the_wire(point: AttachPoint) -> Result<Info, CliError> {
    Ok(match point {
        AttachPoint::Xdp(xdp) => Info::XdpAttachInfo(v1::XdpAttachInfo {
            priority: xdp.interface.priority,
            iface: xdp.interface.iface,
            position: 0,
            proceed_on: xdp.proceed_on,
            netns: xdp.interface.netns.as_deref().map(text_of),
            metadata: to_map(&xdp.link.metadata),
        }),
        AttachPoint::Tc(tc) => Info::TcAttachInfo(v1::TcAttachInfo {
            priority: tc.interface.priority,
            iface: tc.interface.iface,
            position: 0,
            direction: tc.direction.name().to_owned(),
            proceed_on: tc.proceed_on,
            netns: tc.interface.netns.as_deref().map(text_of),
            metadata: to_map(&tc.link.metadata),
        }),
        AttachPoint::Tcx(tcx) => Info::TcxAttachInfo(v1::TcxAttachInfo {
            priority: tcx.interface.priority,
            iface: tcx.interface.iface,
            position: 0,
            direction: tcx.direction.name().to_owned(),
            netns: tcx.interface.netns.as_deref().map(text_of),
            metadata: to_map(&tcx.link.metadata),
        }),
        AttachPoint::Tracepoint(tracepoint) => Info::TracepointAttachInfo(v1::TracepointAttachInfo {
            tracepoint: tracepoint.tracepoint,
            metadata: to_map(&tracepoint.link.metadata),
        }),
        AttachPoint::Kprobe(kprobe) => {
            if kprobe.container_pid.is_some() {
                return Err(CliError::Invalid {
                    what: "kprobe container option not supported yet".to_owned(),
                    hint: Some(
                        "a kernel function runs for every container: leave out --container-pid".to_owned(),
                    ),
                });
            }
            Info::KprobeAttachInfo(v1::KprobeAttachInfo {
                fn_name: kprobe.fn_name,
                offset: kprobe.offset,
                container_pid: None,
                metadata: to_map(&kprobe.link.metadata),
            })
        }
        AttachPoint::Uprobe(uprobe) => Info::UprobeAttachInfo(v1::UprobeAttachInfo {
            target: target(&uprobe),
            fn_name: uprobe.fn_name,
            offset: uprobe.offset,
            pid: uprobe.pid,
            container_pid: uprobe.container_pid,
            metadata: to_map(&uprobe.link.metadata),
        }),
        AttachPoint::Fentry(bound) => {
            Info::FentryAttachInfo(v1::FentryAttachInfo { metadata: to_map(&bound.link.metadata) })
        }
        AttachPoint::Fexit(bound) => {
            Info::FexitAttachInfo(v1::FexitAttachInfo { metadata: to_map(&bound.link.metadata) })
        }
        AttachPoint::Lsm(bound) => {
            Info::LsmAttachInfo(v1::LsmAttachInfo { metadata: to_map(&bound.link.metadata) })
        }
    })
}

/// A path for the daemon.
fn text_of(path: &Path) -> String {
    absolute(path).to_string_lossy().into_owned()
}

/// A target with a slash is a path; without one it is a library's name, which the daemon looks up.
fn target(uprobe: &AttachUprobe) -> String {
    // A path inside a container has nothing to do with this process's working folder.
    if uprobe.target.contains('/') && uprobe.container_pid.is_none() {
        text_of(Path::new(&uprobe.target))
    } else {
        uprobe.target.clone()
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::{Cli, Command};
    use crate::exit::Exit;

    fn info(line: &str) -> Result<Info, CliError> {
        match Cli::try_parse_from(line.split_whitespace()).unwrap().command {
            Command::Attach(attach) => on_the_wire(attach.point),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_kind_becomes_its_own_message() {
        let xdp = info("bpfman attach 1 xdp -i eth0 -p 5 -n /run/netns/b -m a=b").unwrap();
        let expected = v1::XdpAttachInfo {
            priority: 5,
            iface: "eth0".into(),
            netns: Some("/run/netns/b".into()),
            metadata: [("a".to_owned(), "b".to_owned())].into(),
            ..Default::default()
        };
        assert_eq!(xdp, Info::XdpAttachInfo(expected));
        let tc = info("bpfman attach 1 tc -d ingress -i eth0 -p 5 --proceed-on ok").unwrap();
        assert!(matches!(tc, Info::TcAttachInfo(tc) if tc.direction == "ingress" && tc.proceed_on == [0]));
        assert!(matches!(info("bpfman attach 1 lsm").unwrap(), Info::LsmAttachInfo(_)));
        assert!(matches!(info("bpfman attach 1 fentry").unwrap(), Info::FentryAttachInfo(_)));
        assert!(matches!(info("bpfman attach 1 fexit").unwrap(), Info::FexitAttachInfo(_)));
    }

    #[test]
    fn a_library_keeps_its_name_and_a_path_becomes_absolute() {
        let target = |line| match info(line).unwrap() {
            Info::UprobeAttachInfo(uprobe) => uprobe.target,
            other => panic!("{other:?}"),
        };
        assert_eq!(target("bpfman attach 1 uprobe -t libc -f malloc"), "libc");
        let here = std::env::current_dir().unwrap().join("bin/app");
        assert_eq!(Path::new(&target("bpfman attach 1 uprobe -t bin/app -f main")), here);
        assert_eq!(target("bpfman attach 1 uprobe -t bin/app -f main -c 7"), "bin/app");
    }

    #[test]
    fn kernel_functions_know_no_containers() {
        let error = info("bpfman attach 1 kprobe -f f -c 7").unwrap_err();
        assert_eq!(error.exit(), Exit::Invalid);
        assert_eq!(error.to_string(), "kprobe container option not supported yet");
    }
}
