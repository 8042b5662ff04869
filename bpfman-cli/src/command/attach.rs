use bpfman_client::Services;
use bpfman_model::Hint;
use bpfman_proto::REASON_TRAILER;
use bpfman_proto::ext::v1 as ext;
use bpfman_proto::v1;
use bpfman_proto::v1::attach_info::Info;
use tonic::Code;

use super::connect;
use super::program_name::program_id;
use super::progress::warn;
use super::wire_point::on_the_wire;
use crate::args::attach::{Attach, AttachTo};
use crate::args::place::SharingFlags;
use crate::args::value::absolute;
use crate::args::{Global, OutputForm};
use crate::error::CliError;
use crate::show;
use crate::show::json::LinkJson;
use crate::show::matching::MatchingJson;
use crate::show::xdp_mode::fallback_warning;
use crate::verdict;

/// Attaches a program. Attachments that v0.6.0 supports also work with a daemon of that version.
pub async fn run(global: &Global, command: Attach) -> Result<(), CliError> {
    let (order, sharing) = place(&command.point);
    if forgets_redirects(&command.point) && !sharing.allow_redirect {
        warn(
            "the chain proceeds on redirect: a packet that the program redirects is not sent there, but goes the way \
             that the programs behind it decide (--allow-redirect states that this is intended)",
        );
    }
    let ttl_seconds = command.point.link().and_then(|link| link.ttl).map(|ttl| ttl.as_secs());
    let matching = matching(&command.point);
    let (attach, point) = on_the_wire(command.point)?.into_fields();
    let mut client = connect(global).await?;
    let program_id = program_id(&mut client, &command.program).await?;
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
        matching.links.iter().flat_map(|link| &link.warnings).for_each(|text| warn(text));
        let shown = MatchingJson::new(&matching);
        shown.links.iter().filter_map(fallback_warning).for_each(|text| warn(&text));
        return show::answer(global, &shown);
    }
    let is_plain = order.is_none() && !sharing.is_asked() && ttl_seconds.is_none() && point.is_none();
    // Only this project's call refuses to attach a program twice at one hook.
    let has_chain = attach
        .as_ref()
        .is_some_and(|attach| matches!(attach.info, Some(Info::XdpAttachInfo(_) | Info::TcAttachInfo(_))));
    if !is_plain || has_chain {
        let request = ext::ChainAttachRequest {
            program_id,
            attach: attach.clone(),
            order,
            isolated: sharing.isolated,
            redirect_may_proceed: sharing.allow_redirect,
            keep_attached: sharing.keep_attached,
            ttl_seconds,
            shadow: sharing.shadow,
            point,
            again: sharing.again,
        };
        let answer = match client.chains.attach(request).await {
            // The daemon of v0.6.0, which returns no reason.
            Err(status)
                if is_plain
                    && status.code() == Code::Unimplemented
                    && status.metadata().get(REASON_TRAILER).is_none() =>
            {
                return attach_as_published(global, &mut client, program_id, attach).await;
            }
            answer => answer?.into_inner(),
        };
        let link = answer.link.ok_or(CliError::Incomplete { call: "Attach", part: "the link" })?;
        if ttl_seconds.is_some() && link.ttl_left.is_none() {
            let ended = client.v1.detach(v1::DetachRequest { link_id: link.id }).await;
            return Err(not_known("--ttl", ended.is_ok()));
        }
        if sharing.shadow && !link.shadow {
            let ended = client.v1.detach(v1::DetachRequest { link_id: link.id }).await;
            return Err(not_known("--shadow", ended.is_ok()));
        }
        return answer_link(global, &link);
    }
    attach_as_published(global, &mut client, program_id, attach).await
}

async fn attach_as_published(
    global: &Global,
    client: &mut Services,
    program_id: u32,
    attach: Option<v1::AttachInfo>,
) -> Result<(), CliError> {
    let link_id = client.v1.attach(v1::AttachRequest { id: program_id, attach }).await?.into_inner().link_id;
    if global.quiet && global.output == OutputForm::Table {
        return show::write(&format!("{link_id}\n"));
    }
    let answer = client.ext.get_link(ext::GetLinkRequest { link_id }).await?.into_inner();
    let link = answer.link.ok_or(CliError::Incomplete { call: "GetLink", part: "the link" })?;
    answer_link(global, &link)
}

/// Shows a new link; prints the daemon's warnings, and one if the driver refused the chain.
fn answer_link(global: &Global, link: &ext::Link) -> Result<(), CliError> {
    link.warnings.iter().for_each(|text| warn(text));
    let link = LinkJson::new(link);
    if let Some(text) = fallback_warning(&link) {
        warn(&text);
    }
    show::answer(global, &link)
}

/// Returns the error for a flag that an older daemon ignored.
fn not_known(flag: &str, ended: bool) -> CliError {
    let stays = if ended { "nothing is attached" } else { "the link stays attached without" };
    CliError::Invalid {
        what: format!("this daemon does not know {flag}; {stays}"),
        hint: Some(Hint::Version),
    }
}

fn place(point: &AttachTo) -> (Option<ext::Order>, SharingFlags) {
    match point {
        AttachTo::Xdp(xdp) => (xdp.order.on_the_wire(), xdp.sharing),
        AttachTo::Tc(tc) => (tc.order.on_the_wire(), tc.sharing),
        AttachTo::Tcx(tcx) => {
            (tcx.order.on_the_wire(), SharingFlags { shadow: tcx.shadow, ..SharingFlags::default() })
        }
        AttachTo::Cgroup(cgroup) => (cgroup.order.on_the_wire(), SharingFlags::default()),
        _ => (None, SharingFlags::default()),
    }
}

/// Returns whether the next program runs after a redirect verdict: the redirect is lost then.
fn forgets_redirects(point: &AttachTo) -> bool {
    let (table, set) = match point {
        AttachTo::Xdp(xdp) => (verdict::XDP, &xdp.proceed_on),
        AttachTo::Tc(tc) => (verdict::TC, &tc.proceed_on),
        _ => return false,
    };
    verdict::number(table, "redirect").is_ok_and(|redirect| set.contains(&redirect))
}

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

#[cfg(test)]
mod tests {
    use bpfman_proto::WirePoint;
    use clap::Parser;

    use super::*;
    use crate::args::{Cli, CliCommand};

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
        let Ok(WirePoint::Published(Info::TcAttachInfo(tc))) = on_the_wire(attach.point) else {
            panic!("tc")
        };
        assert!(tc.iface.is_empty());
    }
}
