//! Service `bpfman.ext.v1.BpfmanAccess`: identity and permissions of the caller.

use std::path::Path;

use bpfman_image_name::{ImageReference, ReferenceError};
use bpfman_model::{HookKind, Interface};
use bpfman_proto::attach_point;
use bpfman_proto::ext::v1 as wire;
use bpfman_proto::ext::v1::bpfman_access_server::BpfmanAccess;
use bpfmand_access::{AccessObject, AccessVerb, Grant, TARGETS};
use bpfmand_kernel::Kernel;
use tonic::{Request, Response, Status};

use crate::audit;
use crate::authorize::everybody;
use crate::server::{Api, Reply};
use crate::status::{bad_point, invalid};

#[tonic::async_trait]
impl<K: Kernel> BpfmanAccess for Api<K> {
    async fn who_am_i(&self, _: Request<wire::WhoAmIRequest>) -> Reply<wire::WhoAmIResponse> {
        let _permit = self.authorize(&[])?;
        let peer = audit::caller()?;
        let policy = self.policy_for(&peer);
        let verbs = everybody(&policy, &peer);
        Ok(Response::new(wire::WhoAmIResponse {
            uid: peer.uid,
            gid: peer.gid,
            groups: peer.groups.clone(),
            pid: peer.pid.unwrap_or_default(),
            unit: peer.unit().unwrap_or_default().to_owned(),
            pod: peer.pod().unwrap_or_default().to_owned(),
            everybody: verbs.into_iter().map(|verb| verb.name().to_owned()).collect(),
            grants: policy.grants_of(&peer).map(grant).collect(),
        }))
    }

    async fn can_i(&self, request: Request<wire::CanIRequest>) -> Reply<wire::CanIResponse> {
        let _permit = self.authorize(&[])?;
        let peer = audit::caller()?;
        let wire::CanIRequest { verb, object } = request.into_inner();
        let verb: AccessVerb = verb.parse().map_err(|error| invalid(format!("{error}")))?;
        let parsed = parse(&object)?;
        let in_callers_netns = self.is_callers_netns(None).await?;
        let mut objects: Vec<_> = parsed.iter().map(|object| object.to_object(in_callers_netns)).collect();
        // Check the network namespace as well, as for an attachment to it.
        objects.extend(parsed.iter().filter_map(|object| object.netns(in_callers_netns)));
        let decided = self.policy_for(&peer).decide(&peer, verb, &objects);
        let (by, why_not) = match decided {
            Ok(allowed) => (allowed.by.to_string(), String::new()),
            Err(denial) => {
                let denial = self.with_mistakes(verb, denial);
                (String::new(), denial.one_line())
            }
        };
        Ok(Response::new(wire::CanIResponse { allowed: why_not.is_empty(), by, why_not }))
    }
}

fn grant(grant: &Grant) -> wire::GrantView {
    wire::GrantView {
        name: grant.name.clone(),
        allow: grant.verbs.iter().map(|verb| verb.name().to_owned()).collect(),
        restrictions: grant.restrictions(),
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Named<'a> {
    Hook(HookKind, Interface),
    Target(&'static str, &'a str),
    Image(ImageReference),
    File(&'a str),
}

impl Named<'_> {
    fn to_object(&self, in_callers_netns: bool) -> AccessObject<'_> {
        match self {
            Self::Hook(kind, interface) => AccessObject::Hook { kind: *kind, interface, in_callers_netns },
            Self::Target(kind, name) => AccessObject::Target { kind, name },
            Self::Image(reference) => AccessObject::Image(reference.clone()),
            Self::File(path) => AccessObject::File(Path::new(path)),
        }
    }
}

impl Named<'_> {
    fn netns(&self, in_callers_netns: bool) -> Option<AccessObject<'_>> {
        match self {
            Self::Target("netns" | "netfilter", "host") => {
                Some(AccessObject::Netns { netns: None, in_callers_netns })
            }
            Self::Target("netns" | "netfilter", path) => {
                Some(AccessObject::Netns { netns: Some(Path::new(path)), in_callers_netns: false })
            }
            _ => None,
        }
    }
}

fn parse(text: &str) -> Result<Option<Named<'_>>, Status> {
    if text.is_empty() {
        return Ok(None);
    }
    if text.starts_with('/') {
        return Ok(Some(Named::File(text)));
    }
    let (first, rest) = text.split_once(':').unwrap_or_default();
    if matches!(first, "xdp" | "tc" | "tcx") {
        let (name, way) = rest.split_once(':').map_or((rest, None), |(name, way)| (name, Some(way)));
        let way = way.map(str::parse).transpose().map_err(|error| invalid(format!("\"{text}\": {error}")))?;
        let kind = match (first, way) {
            ("xdp", None) => HookKind::Xdp,
            ("tc", Some(direction)) => HookKind::Tc(direction),
            ("tcx", Some(direction)) => HookKind::Tcx(direction),
            _ => {
                return Err(invalid(format!(
                    "\"{text}\" is no hook: expected xdp:INTERFACE, tc:INTERFACE:DIRECTION or tcx:INTERFACE:DIRECTION"
                )));
            }
        };
        return Ok(Some(Named::Hook(kind, attach_point::interface(name, None).map_err(bad_point)?)));
    }
    let target = TARGETS.into_iter().find(|target| *target == first);
    Ok(Some(match target {
        Some(kind) => Named::Target(kind, rest),
        None => Named::Image(text.parse().map_err(|error: ReferenceError| invalid(error.to_string()))?),
    }))
}

#[cfg(test)]
mod tests {
    use bpfman_model::Direction;

    use super::*;

    #[test]
    fn objects_are_recognised_as_users_write_them() {
        let hook = |kind| {
            let interface = Interface { name: "eth0".to_owned(), netns: None };
            Some(Named::Hook(kind, interface))
        };
        for (text, object) in [
            ("", None),
            ("xdp:eth0", hook(HookKind::Xdp)),
            ("tcx:eth0:ingress", hook(HookKind::Tcx(Direction::Ingress))),
            ("uprobe:/usr/bin/ssh", Some(Named::Target("uprobe", "/usr/bin/ssh"))),
            (
                "tracepoint:syscalls/sys_enter_openat",
                Some(Named::Target("tracepoint", "syscalls/sys_enter_openat")),
            ),
            ("/opt/a.o", Some(Named::File("/opt/a.o"))),
            ("quay.io/team/a:v1", Some(Named::Image("quay.io/team/a:v1".parse().unwrap()))),
        ] {
            assert_eq!(parse(text).unwrap(), object, "{text}");
        }
        for wrong in ["tc:eth0", "xdp:eth0:ingress", "tc:eth0:up", "xdp:", "team/a"] {
            assert_eq!(parse(wrong).unwrap_err().code(), tonic::Code::InvalidArgument, "{wrong}");
        }
    }
}
