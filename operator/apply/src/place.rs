use std::collections::BTreeSet;

use bpfman_application::place::LinkOrder;
use bpfman_model::verdicts::{TC, TC_DEFAULT, Verdicts, XDP, XDP_DEFAULT};
use bpfman_proto::ext::v1 as ext;
use bpfman_proto::v1::attach_info::Info;

pub const DEFAULT_PRIORITY: i32 = 1000;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HookPlace {
    pub priority: Option<i32>,
    pub proceed_on: Option<BTreeSet<i32>>,
    pub order: LinkOrder,
}

impl HookPlace {
    #[must_use]
    pub fn of(info: Option<&Info>, order: Option<&LinkOrder>) -> Self {
        let (priority, proceed_on) = match info {
            Some(Info::XdpAttachInfo(info)) => {
                (Some(info.priority), Some(set(&info.proceed_on, XDP_DEFAULT)))
            }
            Some(Info::TcAttachInfo(info)) => (Some(info.priority), Some(set(&info.proceed_on, TC_DEFAULT))),
            Some(Info::TcxAttachInfo(info)) => (Some(info.priority), None),
            _ => (None, None),
        };
        Self { priority, proceed_on, order: order.cloned().unwrap_or_default() }
    }

    #[must_use]
    pub fn of_link(link: &ext::Link) -> Self {
        let order = LinkOrder {
            role: Some(link.role.clone()).filter(|role| !role.is_empty()),
            before: link.before.clone(),
            after: link.after.clone(),
        };
        Self::of(link.attach_info.as_ref().and_then(|attach| attach.info.as_ref()), Some(&order))
    }

    #[must_use]
    pub fn change(&self, link_id: u32, info: Option<&Info>, to: &Self) -> Option<ext::UpdateLinkRequest> {
        let mut request = ext::UpdateLinkRequest { link_id, ..Default::default() };
        let mut differs = false;
        if self.priority != to.priority {
            request.priority = to.priority;
            differs = true;
        }
        if self.proceed_on != to.proceed_on
            && let Some(set) = &to.proceed_on
        {
            request.set_proceed_on = true;
            request.proceed_on = names(info, set);
            differs = true;
        }
        if self.order != to.order {
            request.order = Some(on_the_wire(&to.order));
            differs = true;
        }
        differs.then_some(request)
    }

    #[must_use]
    pub fn proceeds_on_redirect(&self, info: Option<&Info>) -> bool {
        let number = table(info).and_then(|table| bpfman_model::verdicts::number(table, "redirect"));
        match (&self.proceed_on, number) {
            (Some(set), Some(number)) => set.contains(&number),
            _ => false,
        }
    }
}

#[must_use]
pub fn on_the_wire(order: &LinkOrder) -> ext::Order {
    ext::Order {
        role: order.role.clone().unwrap_or_default(),
        before: order.before.clone(),
        after: order.after.clone(),
    }
}

fn set(given: &[i32], default: &[i32]) -> BTreeSet<i32> {
    let numbers = if given.is_empty() { default } else { given };
    numbers.iter().copied().collect()
}

fn names(info: Option<&Info>, set: &BTreeSet<i32>) -> Vec<String> {
    let known = |number: &i32| table(info).and_then(|table| bpfman_model::verdicts::name(table, *number));
    set.iter().filter_map(known).map(str::to_owned).collect()
}

const fn table(info: Option<&Info>) -> Option<&'static Verdicts> {
    match info {
        Some(Info::XdpAttachInfo(_)) => Some(XDP),
        Some(Info::TcAttachInfo(_)) => Some(TC),
        _ => None,
    }
}
