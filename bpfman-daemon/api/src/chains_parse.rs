//! Conversion of chain requests from the wire to core types; errors name the invalid value.

use std::path::PathBuf;
use std::time::Duration;

use bpfman_model::{
    Anchor, AttachRequest, BadAnchor, BadCgroupPath, InterfaceMatch, KernelLinkId, LinkId, MatchRequest,
    Optimisation, OrderIntent, Owner, ProceedOn, ProgramId, Role, Sharing, VerdictFamily,
};
use bpfman_proto::attach_point;
use bpfman_proto::ext::v1 as wire;
use bpfmand_engine::{AdoptRequest, AdoptWhat, HookChange, MapPolicy, ReplaceRequest, UpdateLinkRequest};
use tonic::Status;

use crate::explain::PlaceToExplain;
use crate::parse;
use crate::status::{bad_point, invalid, too_large, unsupported};

/// Maximum time over which rates are measured, in milliseconds: a call has to end.
const MAX_SAMPLE: u32 = 60_000;

pub fn explained_place(hook: Option<wire::Hook>, cgroup: &str) -> Result<PlaceToExplain, Status> {
    if cgroup.is_empty() {
        let (interface, kind) = parse::hook(hook)?;
        return Ok(PlaceToExplain::Hook(interface, kind));
    }
    if hook.is_some() {
        return Err(invalid("the request has a hook and a cgroup: only one of them can be explained"));
    }
    cgroup.parse().map(PlaceToExplain::Cgroup).map_err(|error: BadCgroupPath| invalid(error.to_string()))
}

pub fn order(order: Option<wire::Order>) -> Result<Option<OrderIntent>, Status> {
    order.map(intent).transpose()
}

fn intent(order: wire::Order) -> Result<OrderIntent, Status> {
    let refused = |error: BadAnchor| invalid(error.to_string());
    let anchors = |texts: Vec<String>| -> Result<Vec<Anchor>, Status> {
        texts.iter().map(|text| text.parse().map_err(refused)).collect()
    };
    let role: Option<Role> = match order.role.as_str() {
        "" => None,
        role => Some(role.parse().map_err(refused)?),
    };
    Ok(OrderIntent { role, before: anchors(order.before)?, after: anchors(order.after)? })
}

/// Parses an adoption of a third-party program. Verdicts are those of XDP: tcx links have no proceed-on set.
pub fn adopt(request: wire::AdoptRequest, caller_uid: u32) -> Result<AdoptRequest, Status> {
    use wire::adopt_request::What;
    let what = match request.what {
        Some(What::KernelLinkId(id)) => AdoptWhat::Link(KernelLinkId(id)),
        Some(What::PinPath(path)) if !path.starts_with('/') => {
            return Err(invalid(format!("the pin \"{path}\" is no absolute path")));
        }
        Some(What::PinPath(path)) => AdoptWhat::Pin(PathBuf::from(path)),
        None => return Err(invalid("the request names neither a link nor a pin to adopt".to_owned())),
    };
    let interface = match (request.iface.is_empty(), request.netns.is_empty()) {
        (true, true) => None,
        (true, false) => {
            return Err(invalid("a network namespace without an interface does not locate a link"));
        }
        (false, _) => Some(attach_point::interface(&request.iface, Some(request.netns)).map_err(bad_point)?),
    };
    let names = &request.proceed_on;
    Ok(AdoptRequest {
        what,
        interface,
        priority: request.priority,
        proceed_on: (!names.is_empty()).then(|| proceed_on(VerdictFamily::Xdp, names)).transpose()?,
        order: order(request.order)?.unwrap_or_default(),
        metadata: request.metadata.into_iter().collect(),
        caller_uid,
        owner: Owner::of_user(caller_uid),
    })
}

/// Parses a change of a link. `family`: the family of its verdicts; `None` without a proceed-on set.
pub fn update(
    request: wire::UpdateLinkRequest,
    family: Option<VerdictFamily>,
) -> Result<UpdateLinkRequest, Status> {
    let proceed_on = match (request.set_proceed_on, family) {
        (false, _) => None,
        (true, Some(family)) => Some(proceed_on(family, &request.proceed_on)?),
        (true, None) => {
            return Err(invalid(format!(
                "link {} has no proceed-on set: only links of type xdp and tc have one",
                request.link_id
            )));
        }
    };
    Ok(UpdateLinkRequest {
        priority: request.priority,
        proceed_on,
        order: order(request.order)?,
        position: request.position,
        isolated: request.isolated,
        shadow: request.shadow,
        ..UpdateLinkRequest::of(LinkId(request.link_id))
    })
}

pub fn map_policy(number: i32) -> Result<MapPolicy, Status> {
    match wire::MapPolicy::try_from(number) {
        Ok(wire::MapPolicy::Keep) => Ok(MapPolicy::Keep),
        Ok(wire::MapPolicy::ReuseOnly) => Ok(MapPolicy::ReuseOnly),
        Ok(wire::MapPolicy::Fresh) => Ok(MapPolicy::Fresh),
        // A number of a later version has a meaning that is not known here.
        Err(_) => {
            Err(invalid(format!("map policy {number} does not exist: 0 is keep, 1 reuse-only, 2 fresh")))
        }
    }
}

pub fn replace(request: wire::ReplaceProgramRequest, caller_uid: u32) -> Result<ReplaceRequest, Status> {
    let maps = map_policy(request.maps)?;
    Ok(ReplaceRequest {
        program: ProgramId(request.program_id),
        source: parse::source(request.bytecode, "replacement")?,
        name: Some(request.name).filter(|name| !name.is_empty()),
        global_data: parse::sorted(request.global_data),
        values: parse::values(request.values),
        maps,
        keep_old: !request.forget_old,
        caller_uid,
        limits: bpfman_model::LoadLimits::default(),
        tenant: None,
        places: None,
    })
}

pub fn sample(milliseconds: u32) -> Result<Option<Duration>, Status> {
    match milliseconds {
        0 => Ok(None),
        1..=MAX_SAMPLE => Ok(Some(Duration::from_millis(milliseconds.into()))),
        _ => Err(too_large(format!(
            "rates cannot be measured over {milliseconds} ms: the most is {MAX_SAMPLE} ms"
        ))),
    }
}

pub fn hook_change(request: &wire::SetHookRequest) -> Result<HookChange, Status> {
    let optimisation = request.optimisation.as_deref().map(|name| {
        Optimisation::of_name(name).ok_or_else(|| {
            let levels = Optimisation::ALL.map(Optimisation::name).join(", ");
            invalid(format!("'{name}' is no level of optimisation: the levels are {levels}"))
        })
    });
    let change = HookChange {
        counters: request.counters,
        held: request.held,
        held_seconds: request.held_seconds,
        as_subprograms: request.as_subprograms,
        keep_attached: request.keep_attached,
        timing: request.timing,
        optimisation: optimisation.transpose()?,
    };
    if change == HookChange::default() {
        return Err(invalid("the request names no switch"));
    }
    Ok(change)
}

pub fn matching(request: wire::AttachMatchingRequest) -> Result<MatchRequest, Status> {
    let (point, metadata) = attach_point::matching(request.attach).map_err(bad_point)?;
    if request.keep_attached {
        return Err(unsupported(
            "an attachment by pattern does not keep empty chains: keep the ones you want, hook by hook",
        ));
    }
    let which = request.r#match.ok_or_else(|| invalid("the request names no interfaces"))?;
    let netns: Vec<PathBuf> = which.netns.iter().map(PathBuf::from).collect();
    let interfaces = InterfaceMatch::parse(
        which.names.iter().map(String::as_str),
        which.except.iter().map(String::as_str),
        which.indexes.iter().copied(),
        netns.iter().map(PathBuf::as_path),
    )
    .map_err(|error| invalid(error.to_string()))?;
    let attach = AttachRequest {
        ttl: request.ttl_seconds,
        program: ProgramId(request.program_id),
        point,
        order: order(request.order)?.unwrap_or_default(),
        sharing: Sharing {
            isolated: request.isolated,
            redirect_may_proceed: request.redirect_may_proceed,
            shadow: request.shadow,
        },
        metadata,
        owner: Owner::default(),
        group: None,
    };
    Ok(MatchRequest { attach, interfaces })
}

/// Parses a proceed-on set from names of verdicts; an empty list means the default.
pub fn proceed_on(family: VerdictFamily, names: &[String]) -> Result<ProceedOn, Status> {
    ProceedOn::from_names(family, names).map_err(|error| invalid(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn update_of(request: wire::UpdateLinkRequest) -> Result<UpdateLinkRequest, Status> {
        update(wire::UpdateLinkRequest { link_id: 90, ..request }, Some(VerdictFamily::Xdp))
    }

    #[test]
    fn absent_fields_change_nothing() {
        let same = UpdateLinkRequest::of(LinkId(90));
        assert_eq!(update_of(wire::UpdateLinkRequest::default()).unwrap(), same);
        let unset = wire::UpdateLinkRequest { proceed_on: vec!["drop".into()], ..Default::default() };
        assert_eq!(update_of(unset).unwrap(), same);
    }

    #[test]
    fn an_empty_set_is_the_default_and_an_empty_order_none() {
        let request = wire::UpdateLinkRequest {
            set_proceed_on: true,
            order: Some(wire::Order::default()),
            ..Default::default()
        };
        let update = update_of(request).unwrap();
        assert_eq!(update.proceed_on, Some(ProceedOn::default_for(VerdictFamily::Xdp)));
        assert_eq!(update.order, Some(OrderIntent::default()));
    }

    #[test]
    fn a_replacement_has_a_source_and_a_policy_that_exists() {
        let of = |maps, bytecode| {
            replace(wire::ReplaceProgramRequest { program_id: 7, maps, bytecode, ..Default::default() }, 0)
        };
        let location = |location| Some(bpfman_proto::v1::BytecodeLocation { location });
        let file = Some(bpfman_proto::v1::bytecode_location::Location::File("/x.o".into()));
        let request = of(1, location(file.clone())).unwrap();
        assert_eq!((request.maps, request.keep_old, request.name), (MapPolicy::ReuseOnly, true, None));
        for (request, says) in [
            (of(3, location(file)), "map policy 3"),
            (of(0, None), "the replacement names no bytecode"),
            (of(0, location(None)), "neither a file nor an image"),
        ] {
            let status = request.err().unwrap();
            assert!(status.message().contains(says), "{}", status.message());
        }
    }

    #[test]
    fn adoption_names_a_link_id_or_absolute_pin_and_optional_place() {
        use wire::adopt_request::What;
        let of = |request: wire::AdoptRequest| adopt(request, 0);
        let by_id = wire::AdoptRequest { what: Some(What::KernelLinkId(7)), ..Default::default() };
        let adopted = of(by_id.clone()).unwrap();
        assert_eq!((adopted.interface, adopted.proceed_on), (None, None));
        let here =
            wire::AdoptRequest { iface: "eth0".into(), proceed_on: vec!["drop".into()], ..by_id.clone() };
        let adopted = of(here).unwrap();
        assert_eq!(adopted.interface.unwrap().name, "eth0");
        assert_eq!(adopted.proceed_on.unwrap().to_string(), "drop");
        let pin =
            |path: &str| wire::AdoptRequest { what: Some(What::PinPath(path.into())), ..Default::default() };
        assert!(of(pin("/sys/fs/bpf/x")).is_ok());
        for (request, says) in [
            (wire::AdoptRequest::default(), "neither a link nor a pin"),
            (pin("x"), "no absolute path"),
            (wire::AdoptRequest { netns: "/run/netns/b".into(), ..by_id.clone() }, "without an interface"),
            (wire::AdoptRequest { proceed_on: vec!["pipe".into()], ..by_id }, "pipe is not a verdict of xdp"),
        ] {
            let status = of(request).unwrap_err();
            assert!(status.message().contains(says), "{}", status.message());
        }
    }

    #[test]
    fn times_and_switches_have_their_limits() {
        assert_eq!(sample(0).unwrap(), None);
        assert_eq!(sample(60_000).unwrap(), Some(Duration::from_secs(60)));
        assert!(sample(60_001).unwrap_err().message().contains("60001 ms"));
        assert!(hook_change(&wire::SetHookRequest::default()).unwrap_err().message().contains("no switch"));
    }

    #[test]
    fn a_pattern_that_matches_nothing_is_refused() {
        use bpfman_proto::v1;
        let xdp = v1::attach_info::Info::XdpAttachInfo(v1::XdpAttachInfo::default());
        let with = |which| wire::AttachMatchingRequest {
            attach: Some(v1::AttachInfo { info: Some(xdp.clone()) }),
            r#match: which,
            ..Default::default()
        };
        let names = |names: &[&str], except: &[&str]| {
            let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
            with(Some(wire::InterfaceMatch {
                names: texts(names),
                except: texts(except),
                ..Default::default()
            }))
        };
        assert!(matching(names(&["veth*"], &["veth9"])).is_ok());
        for (request, says) in [
            (with(None), "names no interfaces"),
            (names(&[], &[]), "names no interface"),
            (names(&["veth*"], &["*"]), "contradicts itself"),
            (wire::AttachMatchingRequest { keep_attached: true, ..names(&["*"], &[]) }, "hook by hook"),
        ] {
            let status = matching(request).unwrap_err();
            assert!(status.message().contains(says), "{}", status.message());
        }
    }

    #[test]
    fn invalid_update_is_refused_with_reason() {
        let order = |order: wire::Order| {
            update_of(wire::UpdateLinkRequest { order: Some(order), ..Default::default() })
        };
        let names = |names: &[&str]| wire::UpdateLinkRequest {
            set_proceed_on: true,
            proceed_on: names.iter().map(|name| (*name).to_owned()).collect(),
            ..Default::default()
        };
        for (outcome, says) in [
            (order(wire::Order { role: "a b".into(), ..Default::default() }), "\"a b\" is no role"),
            (order(wire::Order { before: vec!["0".into()], ..Default::default() }), "no link id"),
            (order(wire::Order { after: vec!["role=".into()], ..Default::default() }), "is no role"),
            (update_of(names(&["pass", "pipe"])), "value pipe is not a verdict of xdp"),
            (update(names(&[]), None), "no proceed-on set"),
        ] {
            let status = outcome.unwrap_err();
            assert_eq!(status.code(), tonic::Code::InvalidArgument);
            assert!(status.message().contains(says), "{}", status.message());
        }
    }
}
