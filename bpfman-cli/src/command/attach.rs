//! `bpfman attach`.

use std::path::Path;

use bpfman_proto::ext::v1 as ext;
use bpfman_proto::v1;
use bpfman_proto::v1::attach_info::Info;

use super::connect;
use super::progress::warn;
use crate::args::attach::{Attach, AttachTo, AttachUprobe};
use crate::args::place::SharingFlags;
use crate::args::value::{absolute, to_map};
use crate::args::{Global, OutputForm};
use crate::error::CliError;
use crate::show;
use crate::show::json::LinkJson;
use crate::show::matching::MatchingJson;
use crate::verdict;

/// Attaches, and shows the new link; with a pattern, the attachment to all interfaces that match.
///
/// What v0.6.0 knows goes by its own call, so that such commands also work with its daemon.
pub async fn run(global: &Global, command: Attach) -> Result<(), CliError> {
    let program_id = command.program_id;
    let (order, sharing) = place(&command.point);
    if forgets_redirects(&command.point) && !sharing.allow_redirect {
        warn(
            "the chain goes on after redirect: a packet that the program redirects is not sent there, but goes the way \
             that the programs behind it decide (--allow-redirect says that this is meant)",
        );
    }
    let ttl_seconds = command.point.link().ttl.map(|ttl| ttl.as_secs());
    let matching = matching(&command.point);
    let info = on_the_wire(command.point)?;
    let attach = Some(v1::AttachInfo { info: Some(info) });
    let mut client = connect(global).await?;
    if let Some(which) = matching {
        let request = ext::AttachMatchingRequest {
            program_id,
            attach,
            order,
            r#match: Some(which),
            isolated: sharing.isolated,
            redirect_may_proceed: sharing.allow_redirect,
            keep_attached: sharing.keep_attached,
            ttl_seconds,
            shadow: sharing.shadow,
        };
        let matching = client.chains.attach_matching(request).await?.into_inner();
        if ttl_seconds.is_some() && matching.ttl_left.is_none() {
            let ended = client.chains.detach_matching(ext::DetachMatchingRequest { id: matching.id }).await;
            return Err(not_known("--ttl", ended.is_ok()));
        }
        return show::answer(global, &MatchingJson::new(&matching));
    }
    if order.is_some() || sharing.is_asked() || ttl_seconds.is_some() {
        let request = ext::ChainAttachRequest {
            program_id,
            attach,
            order,
            isolated: sharing.isolated,
            redirect_may_proceed: sharing.allow_redirect,
            keep_attached: sharing.keep_attached,
            ttl_seconds,
            shadow: sharing.shadow,
        };
        let answer = client.chains.attach(request).await?.into_inner();
        let link = answer.link.ok_or(CliError::Incomplete { call: "Attach", part: "the link" })?;
        if ttl_seconds.is_some() && link.ttl_left.is_none() {
            let ended = client.v1.detach(v1::DetachRequest { link_id: link.id }).await;
            return Err(not_known("--ttl", ended.is_ok()));
        }
        if sharing.shadow && !link.shadow {
            let ended = client.v1.detach(v1::DetachRequest { link_id: link.id }).await;
            return Err(not_known("--shadow", ended.is_ok()));
        }
        return show::answer(global, &LinkJson::new(&link));
    }
    let link_id = client.v1.attach(v1::AttachRequest { id: program_id, attach }).await?.into_inner().link_id;
    if global.quiet && global.output == OutputForm::Table {
        return show::write(&format!("{link_id}\n"));
    }
    let answer = client.ext.get_link(ext::GetLinkRequest { link_id }).await?.into_inner();
    let link = answer.link.ok_or(CliError::Incomplete { call: "GetLink", part: "the link" })?;
    show::answer(global, &LinkJson::new(&link))
}

/// The daemon is of a version that does not know a flag, and did not do what it says.
fn not_known(flag: &str, ended: bool) -> CliError {
    let stays = if ended { "nothing is attached" } else { "the link stays attached without" };
    CliError::Invalid {
        what: format!("this daemon does not know {flag}; {stays}"),
        hint: Some("`bpfman version` shows the daemon's version".to_owned()),
    }
}

/// Where among the programs of its hook, and how it shares it.
fn place(point: &AttachTo) -> (Option<ext::Order>, SharingFlags) {
    match point {
        AttachTo::Xdp(xdp) => (xdp.order.on_the_wire(), xdp.sharing),
        AttachTo::Tc(tc) => (tc.order.on_the_wire(), tc.sharing),
        AttachTo::Tcx(tcx) => {
            (tcx.order.on_the_wire(), SharingFlags { shadow: tcx.shadow, ..SharingFlags::default() })
        }
        _ => (None, SharingFlags::default()),
    }
}

/// True if the next program runs after a redirect, which is forgotten then.
fn forgets_redirects(point: &AttachTo) -> bool {
    let (table, set) = match point {
        AttachTo::Xdp(xdp) => (verdict::XDP, &xdp.proceed_on),
        AttachTo::Tc(tc) => (verdict::TC, &tc.proceed_on),
        _ => return false,
    };
    verdict::number(table, "redirect").is_ok_and(|redirect| set.contains(&redirect))
}

/// Which interfaces, if it is not one by its name.
fn matching(point: &AttachTo) -> Option<ext::InterfaceMatch> {
    let interface = match point {
        AttachTo::Xdp(xdp) => &xdp.interface,
        AttachTo::Tc(tc) => &tc.interface,
        AttachTo::Tcx(tcx) => &tcx.interface,
        _ => return None,
    };
    if interface.iface.is_some() {
        return None;
    }
    let namespaces = interface.netns.iter().chain(&interface.netns_match);
    Some(ext::InterfaceMatch {
        names: interface.iface_match.clone(),
        except: interface.iface_except.clone(),
        indexes: interface.iface_index.clone(),
        netns: namespaces.map(|path| absolute(path)).collect(),
    })
}

/// The attach point as the wire has it.
fn on_the_wire(point: AttachTo) -> Result<Info, CliError> {
    Ok(match point {
        AttachTo::Xdp(xdp) => Info::XdpAttachInfo(v1::XdpAttachInfo {
            priority: xdp.interface.priority,
            iface: xdp.interface.iface.unwrap_or_default(),
            position: 0,
            proceed_on: xdp.proceed_on,
            netns: xdp.interface.netns.as_deref().map(absolute),
            metadata: to_map(&xdp.link.metadata),
        }),
        AttachTo::Tc(tc) => Info::TcAttachInfo(v1::TcAttachInfo {
            priority: tc.interface.priority,
            iface: tc.interface.iface.unwrap_or_default(),
            position: 0,
            direction: tc.direction.name().to_owned(),
            proceed_on: tc.proceed_on,
            netns: tc.interface.netns.as_deref().map(absolute),
            metadata: to_map(&tc.link.metadata),
        }),
        AttachTo::Tcx(tcx) => Info::TcxAttachInfo(v1::TcxAttachInfo {
            priority: tcx.interface.priority,
            iface: tcx.interface.iface.unwrap_or_default(),
            position: 0,
            direction: tcx.direction.name().to_owned(),
            netns: tcx.interface.netns.as_deref().map(absolute),
            metadata: to_map(&tcx.link.metadata),
        }),
        AttachTo::Tracepoint(tracepoint) => Info::TracepointAttachInfo(v1::TracepointAttachInfo {
            tracepoint: tracepoint.tracepoint,
            metadata: to_map(&tracepoint.link.metadata),
        }),
        AttachTo::Kprobe(kprobe) => {
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
        AttachTo::Uprobe(uprobe) => Info::UprobeAttachInfo(v1::UprobeAttachInfo {
            target: target(&uprobe),
            fn_name: uprobe.fn_name,
            offset: uprobe.offset,
            pid: uprobe.pid,
            container_pid: uprobe.container_pid,
            metadata: to_map(&uprobe.link.metadata),
        }),
        AttachTo::Fentry(bound) => {
            Info::FentryAttachInfo(v1::FentryAttachInfo { metadata: to_map(&bound.link.metadata) })
        }
        AttachTo::Fexit(bound) => {
            Info::FexitAttachInfo(v1::FexitAttachInfo { metadata: to_map(&bound.link.metadata) })
        }
        AttachTo::Lsm(bound) => {
            Info::LsmAttachInfo(v1::LsmAttachInfo { metadata: to_map(&bound.link.metadata) })
        }
    })
}

/// A target with a slash is a path; without one it is a library's name, which the daemon looks up.
fn target(uprobe: &AttachUprobe) -> String {
    // A path inside a container has nothing to do with this process's working folder.
    if uprobe.target.contains('/') && uprobe.container_pid.is_none() {
        absolute(Path::new(&uprobe.target))
    } else {
        uprobe.target.clone()
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::{Cli, CliCommand};
    use crate::exit::Exit;

    fn info(line: &str) -> Result<Info, CliError> {
        match Cli::try_parse_from(line.split_whitespace()).unwrap().command {
            CliCommand::Attach(attach) => on_the_wire(attach.point),
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
    fn patterns_carry_everything_but_an_interface() {
        let line = "bpfman attach 1 tc -d egress --iface-match veth*,lo --iface-except veth9 --iface-index 3 -p 5 \
                    -n /run/netns/b --netns-match /run/netns/c*";
        let CliCommand::Attach(attach) = Cli::try_parse_from(line.split_whitespace()).unwrap().command else {
            panic!()
        };
        let expected = ext::InterfaceMatch {
            names: vec!["veth*".into(), "lo".into()],
            except: vec!["veth9".into()],
            indexes: vec![3],
            netns: vec!["/run/netns/b".into(), "/run/netns/c*".into()],
        };
        assert_eq!(matching(&attach.point), Some(expected));
        assert!(matches!(on_the_wire(attach.point), Ok(Info::TcAttachInfo(tc)) if tc.iface.is_empty()));
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
