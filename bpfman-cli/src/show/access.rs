//! Identity and permissions of the caller.

use bpfman_proto::ext::v1 as ext;

use super::CommandOutput;
use super::block::Block;
use super::json::filled;
use super::screen::Screen;
use crate::show::json_shape::json_shape;
use crate::user_names::UserNames;

json_shape! {
    pub struct WhoAmIJson(answer: &ext::WhoAmIResponse) {
        uid: u32 = answer.uid,
        gid: u32 = answer.gid,
        groups: Vec<u32> = answer.groups.clone(),
        /// systemd unit of the process.
        unit: Option<String> = filled(&answer.unit),
        pod: Option<String> = filled(&answer.pod),
        /// Verbs that need no grant.
        everybody: Vec<String> = answer.everybody.clone(),
        /// Grants, in the order of evaluation.
        grants: Vec<GrantJson> = answer.grants.iter().map(GrantJson::new).collect(),
    }
}

json_shape! {
    pub struct GrantJson(grant: &ext::GrantView) {
        name: String = grant.name.clone(),
        allow: Vec<String> = grant.allow.clone(),
        /// Restrictions, in the form of policy.toml.
        restrictions: Vec<String> = grant.restrictions.clone(),
    }
}

json_shape! {
    pub struct CanIJson(answer: &ext::CanIResponse) {
        /// True if the caller has the permission.
        allowed: bool = answer.allowed,
        /// The grant that allows it.
        by: Option<String> = filled(&answer.by),
        /// Reason of the denial, and what would allow it.
        why_not: Option<String> = filled(&answer.why_not),
    }
}

impl CommandOutput for WhoAmIJson {
    fn table(&self, screen: Screen) -> String {
        let mut block = Block::new("Caller");
        let groups: Vec<_> = self.groups.iter().map(ToString::to_string).collect();
        block
            .line("User", UserNames::of_this_machine().with_number(self.uid))
            .line("Group", self.gid)
            .line("Other Groups", groups.join(" "));
        block.optional("Unit", self.unit.clone()).optional("Pod", self.pod.clone());
        block.line("Without A Grant", self.everybody.join(", "));
        for grant in &self.grants {
            let allow = format!("allow = {}", grant.allow.join(", "));
            let lines = std::iter::once(allow).chain(grant.restrictions.iter().cloned());
            block.lines(&format!("Grant {}", grant.name), lines);
        }
        block.render(screen)
    }
}

impl CommandOutput for CanIJson {
    fn table(&self, _: Screen) -> String {
        match (&self.why_not, &self.by) {
            (Some(why), _) => format!("no: {why}\n"),
            (None, Some(by)) => format!("yes, by {by}\n"),
            (None, None) => "yes\n".to_owned(),
        }
    }

    fn ids(&self) -> Vec<String> {
        vec![if self.allowed { "yes" } else { "no" }.to_owned()]
    }
}
