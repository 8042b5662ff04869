//! The grant that would allow a call, for the hint of a refusal.

use std::str::FromStr;

use crate::image_pattern::decisive_name;
use crate::{AccessObject, AccessVerb, ApplicationPattern, HookPattern, ImagePattern, TargetPattern};
use bpfman_model::{Glob, Interface, OwningApplication};

#[derive(Debug)]
pub(crate) struct SuggestedGrant {
    uid: u32,
    verb: AccessVerb,
    /// Keys of the grant with their patterns. Each key occurs once: a repeated key makes the file invalid.
    keys: Vec<(&'static str, Vec<String>)>,
    is_over_all: bool,
}

impl SuggestedGrant {
    pub(crate) fn new(uid: u32, verb: AccessVerb, objects: &[AccessObject<'_>]) -> Self {
        let mut keys: Vec<(&str, Vec<String>)> = Vec::new();
        let mut is_over_all = false;
        for object in objects {
            is_over_all |= matches!(object, AccessObject::Owned { .. });
            let Some((key, pattern)) = pattern(object) else { continue };
            match keys.iter_mut().find(|(one, _)| *one == key) {
                Some((_, patterns)) if patterns.contains(&pattern) => {}
                Some((_, patterns)) => patterns.push(pattern),
                None => keys.push((key, vec![pattern])),
            }
        }
        Self { uid, verb, keys, is_over_all }
    }

    /// Returns the arguments of `bpfman policy allow`.
    pub(crate) fn arguments(&self) -> Vec<String> {
        let mut words = vec![self.uid.to_string(), self.verb.to_string()];
        for (key, patterns) in &self.keys {
            // `--KEY=VALUE` is one argument even if the value begins with a dash.
            words.extend(patterns.iter().map(|pattern| format!("--{key}={pattern}")));
        }
        words.extend(self.is_over_all.then(|| "--over=all".to_owned()));
        words
    }
}

/// Returns the key and pattern that allow an object; none if no pattern is needed, or none can allow it.
fn pattern(object: &AccessObject<'_>) -> Option<(&'static str, String)> {
    match object {
        AccessObject::Type(program_type) => Some(("types", program_type.to_string())),
        AccessObject::Image(reference) => {
            let pattern = Glob::literally(&decisive_name(reference).to_string());
            let covers = parsed::<ImagePattern>(&pattern)?.matches(reference);
            covers.then_some(("images", pattern))
        }
        AccessObject::File(path) => {
            let path = path.to_str()?;
            let pattern = Glob::literally(path);
            let covers = Glob::parse(&pattern).is_ok_and(|one| crate::pattern::takes_name(&one, path));
            covers.then_some(("files", pattern))
        }
        // Patterns of hooks have no namespaces.
        AccessObject::Hook { kind, interface, .. } => {
            let pattern = kind.at(&Interface { name: Glob::literally(&interface.name), netns: None });
            let covers = parsed::<HookPattern>(&pattern)?.matches(*kind, &interface.name);
            covers.then_some(("hooks", pattern))
        }
        AccessObject::Target { kind, name } => {
            let pattern = format!("{kind}:{}", Glob::literally(name));
            let covers = parsed::<TargetPattern>(&pattern)?.matches(kind, name);
            covers.then_some(("targets", pattern))
        }
        AccessObject::Targets { kind, names } => {
            let pattern = format!("{kind}:{}", names.as_str());
            let covers = parsed::<TargetPattern>(&pattern)?.covers(kind, names);
            covers.then_some(("targets", pattern))
        }
        AccessObject::Application(application) => {
            let pattern = application_pattern(application);
            let covers = parsed::<ApplicationPattern>(&pattern)?.matches(application);
            covers.then_some(("applications", pattern))
        }
        AccessObject::Executable(_)
        | AccessObject::Instructions { .. }
        | AccessObject::Owned { .. }
        | AccessObject::UnnamedType(_)
        | AccessObject::Netns { .. }
        | AccessObject::Hooks { .. }
        | AccessObject::Priority(_)
        | AccessObject::Order(_)
        | AccessObject::Position
        | AccessObject::AnyHook => None,
    }
}

/// Returns a pattern for an application. Without a name, it covers all applications of the namespace, or all.
fn application_pattern(application: &OwningApplication) -> String {
    let name =
        application.name.as_ref().map_or_else(|| "*".to_owned(), |name| Glob::literally(name.as_str()));
    match &application.namespace {
        Some(namespace) => format!("{}/{name}", Glob::literally(namespace.as_str())),
        None => name,
    }
}

fn parsed<T: FromStr>(text: &str) -> Option<T> {
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use std::path::Path;

    use bpfman_image_name::ImageReference;
    use bpfman_model::{Direction, HookKind, Owner, Peer, ProgramId, ProgramType};
    use proptest::prelude::*;

    use super::*;
    use crate::policy_file::tests::Machine;
    use crate::{AccessPolicy, OwnedObject};

    fn suggested(objects: &[AccessObject<'_>]) -> Vec<String> {
        SuggestedGrant::new(1000, AccessVerb::Load, objects).arguments()
    }

    fn lines(objects: &[AccessObject<'_>]) -> String {
        let grant = SuggestedGrant::new(1000, AccessVerb::Load, objects);
        let mut text = "[[grants]]\nname = \"user-1000\"\nusers = [1000]\nallow = [\"load\"]\n".to_owned();
        for (key, patterns) in grant.keys {
            text.push_str(&format!("{key} = {patterns:?}\n"));
        }
        text + if grant.is_over_all { "over = \"all\"\n" } else { "" }
    }

    fn assert_allows(objects: &[AccessObject<'_>]) {
        let text = lines(objects);
        let policy = AccessPolicy::parse(&text, &Machine).unwrap_or_else(|error| panic!("{error}\n{text}"));
        let peer = Peer { uid: 1000, ..Peer::default() };
        for object in objects {
            let obstacle = policy.grants[0].obstacle(&peer, object);
            assert_eq!(obstacle, None, "{object} by\n{text}");
        }
    }

    #[test]
    fn suggested_grant_of_several_objects_has_each_key_once() {
        let (xdp, tc) = (AccessObject::Type(ProgramType::Xdp), AccessObject::Type(ProgramType::Tc));
        let owned = AccessObject::Owned { thing: OwnedObject::Program(ProgramId(7)), owner: &Owner::Root };
        let objects = [xdp.clone(), tc, xdp, owned];
        assert_allows(&objects);
        assert_eq!(suggested(&objects), ["1000", "load", "--types=xdp", "--types=tc", "--over=all"]);
    }

    #[test]
    fn application_without_a_name_is_suggested_as_all() {
        let of_all = |namespace| {
            let application = OwningApplication::parse(namespace, "").unwrap();
            suggested(&[AccessObject::Application(&application)])[2].clone()
        };
        assert_eq!(of_all(Some("shop")), "--applications=shop/*");
        assert_eq!(of_all(None), "--applications=*");
    }

    #[test]
    fn object_that_no_pattern_covers_is_left_out() {
        let outside = Path::new("/a/../b");
        assert_eq!(suggested(&[AccessObject::File(outside)]), ["1000", "load"]);
    }

    fn kind() -> impl Strategy<Value = HookKind> {
        prop_oneof![
            Just(HookKind::Xdp),
            Just(HookKind::Tc(Direction::Ingress)),
            Just(HookKind::Tcx(Direction::Egress))
        ]
    }

    proptest! {
        #[test]
        fn suggested_grant_is_valid_and_allows_the_call(
            namespace in proptest::option::of("[a-z]{1,4}"), name in "([a-z]{1,4}(\\.[a-z]{1,4})?)?",
            file in "/[a-z/*?\\[\\]\"\\\\ ]{1,20}", function in "[a-zA-Z_*?\\[\\]\"\\\\]{1,12}",
            image in "([a-z]{1,4}\\.io|localhost:5000|\\[::1\\]|docker\\.io)/[a-z]{1,4}(/[a-z]{1,4})?(:[a-z]{1,3})?",
            interface in "[a-z0-9.*?\\[\\]\"\\\\]{1,12}", kind in kind(), types in proptest::sample::subsequence(ProgramType::ALL.to_vec(), 1..4),
        ) {
            let application = OwningApplication::parse(namespace.as_deref(), &name).unwrap();
            let interface = Interface { name: interface, netns: None };
            let names = Glob::parse("tcp_*").unwrap();
            let image: ImageReference = image.parse().unwrap();
            let mut objects = vec![
                AccessObject::Application(&application),
                AccessObject::File(Path::new(&file)),
                AccessObject::Hook { kind, interface: &interface, in_callers_netns: false },
                AccessObject::Target { kind: "kprobe", name: &function },
                AccessObject::Targets { kind: "kprobe", names: &names },
                AccessObject::Image(image),
            ];
            objects.extend(types.into_iter().map(AccessObject::Type));
            assert_allows(&objects);
            objects.iter().for_each(|object| assert_allows(std::slice::from_ref(object)));
        }
    }
}
