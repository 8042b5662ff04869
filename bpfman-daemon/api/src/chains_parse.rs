//! From the wire of chains to the rules' own types. What is wrong is refused here, by name.

use bpfman_proto::ext::v1 as wire;
use bpfmand_core::{Anchor, BadAnchor, LinkId, OrderIntent, ProceedOn, ProgramId, Role, VerdictFamily};
use bpfmand_engine::{MapPolicy, ReplaceRequest, UpdateLinkRequest};
use tonic::Status;

use crate::parse;
use crate::status::{invalid, unsupported};

/// Intents; none if the message is absent.
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

/// A change of a link. `family` is that of the link's verdicts; none for links that have no set.
pub fn update(
    request: wire::UpdateLinkRequest,
    family: Option<VerdictFamily>,
) -> Result<UpdateLinkRequest, Status> {
    if request.isolated.is_some() {
        return Err(unsupported("a link cannot be isolated, or brought back, in place"));
    }
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
        ..UpdateLinkRequest::of(LinkId(request.link_id))
    })
}

/// A new version of a program.
pub fn replace(request: wire::ReplaceProgramRequest, caller_uid: u32) -> Result<ReplaceRequest, Status> {
    let maps = match request.maps() {
        // What a client of a later version sends stands for something that is not known here.
        wire::MapPolicy::Keep if request.maps != 0 => {
            return Err(invalid(format!(
                "map policy {} does not exist: 0 is keep, 1 reuse-only, 2 fresh",
                request.maps
            )));
        }
        wire::MapPolicy::Keep => MapPolicy::Keep,
        wire::MapPolicy::ReuseOnly => MapPolicy::ReuseOnly,
        wire::MapPolicy::Fresh => MapPolicy::Fresh,
    };
    Ok(ReplaceRequest {
        program: ProgramId(request.program_id),
        source: parse::source(request.bytecode, "replacement")?,
        name: Some(request.name).filter(|name| !name.is_empty()),
        global_data: parse::sorted(request.global_data),
        maps,
        keep_old: !request.forget_old,
        caller_uid,
    })
}

/// A set by names of verdicts; empty is the default.
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
    fn what_is_absent_stays() {
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
    fn what_is_wrong_is_named() {
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
