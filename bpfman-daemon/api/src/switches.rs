//! Switches of a hook: the rights that a change of them needs.

use bpfman_model::{HookKind, Interface, LinkId, Owner, Reason};
use bpfmand_access::{AccessObject, OwnedObject};
use bpfmand_engine::{EngineError, HookChange, SwitchCaller, SwitchRight};
use bpfmand_kernel::Kernel;
use tonic::Status;

use crate::authorize::{Permit, called_verb};
use crate::objects;
use crate::server::{Api, fail};

/// Rights of a caller that changes switches. The engine compares them with the hook as it is at the time of the change.
pub(crate) struct SwitchRights {
    owner: Owner,
    right: RightOver,
    releases: Option<Owner>,
}

enum RightOver {
    /// Permission over any member; also for a change that affects no member.
    OverAny,
    All(Vec<LinkId>),
    /// Permission over these members, and the error that denies the others.
    Some(Vec<LinkId>, Status),
}

impl SwitchRights {
    pub fn caller<'a>(&'a self, by: &'a str) -> SwitchCaller<'a> {
        let right = match &self.right {
            RightOver::OverAny => SwitchRight::All,
            RightOver::All(members) => SwitchRight::Members(members),
            RightOver::Some(members, _) => SwitchRight::Some(members),
        };
        SwitchCaller { by, owner: self.owner.clone(), right, releases: self.releases.clone() }
    }

    /// Converts a failure of the change to a status; if rights were missing, the denial names them.
    pub fn fail(self, error: EngineError) -> Status {
        match self.right {
            RightOver::Some(_, denial) if error.kind() == Reason::Denied => denial,
            _ => fail(error),
        }
    }
}

impl<K: Kernel> Api<K> {
    /// Checks the permission. Releasing a freeze needs a right over the freeze, other changes a right over all members.
    /// For counters and timing, a right over one member is enough, since they only slow the other members down.
    pub(crate) async fn authorize_switch(
        &self,
        interface: &Interface,
        kind: HookKind,
        change: &HookChange,
    ) -> Result<(Permit, SwitchRights), Status> {
        let mut objects = vec![self.hook(interface, kind).await?];
        // Check the hook first: a caller without a right to it learns of no member.
        let permit = self.authorize(&objects)?;
        self.admit_interface(&permit, interface).await?;
        let at = interface.clone();
        let (members, releases) = self
            .read(&permit, move |api| {
                let members = api.engine.owners_at_hook(&at, kind).map_err(fail)?;
                Ok((members, api.engine.owner_of_freeze(&at, kind).map_err(fail)?))
            })
            .await?;
        let owner = permit.owner.clone();
        let releases = releases.filter(|_| change.held == Some(false));
        let of_freeze = releases.clone();
        if let Some(owner) = &of_freeze {
            objects.push(AccessObject::Owned { thing: OwnedObject::Freeze(kind, interface), owner });
        }
        if *change == (HookChange { held: Some(false), ..HookChange::default() }) {
            let permit = self.authorize(&objects)?;
            return Ok((permit, SwitchRights { owner, right: RightOver::OverAny, releases }));
        }
        let of_link = |link: LinkId| members.iter().filter(move |(other, _)| *other == link);
        let mut links: Vec<LinkId> = members.iter().map(|(link, _)| *link).collect();
        links.dedup();
        let (permit, right) = {
            let mut all = objects.clone();
            all.extend(members.iter().map(objects::member));
            match self.authorize(&all) {
                // Only the first object, the hook, counts here: the freeze has an owner of its own.
                Ok(permit) if self.has_over_all(called_verb()?, &objects[0])? => (permit, RightOver::OverAny),
                Ok(permit) => (permit, RightOver::All(links)),
                Err(denial) if change.measures_only() => {
                    links.retain(|link| {
                        let mut of_one = objects.clone();
                        of_one.extend(of_link(*link).map(objects::member));
                        self.authorize(&of_one).is_ok()
                    });
                    (permit, RightOver::Some(links, denial))
                }
                Err(denial) => return Err(denial),
            }
        };
        Ok((permit, SwitchRights { owner, right, releases }))
    }
}
