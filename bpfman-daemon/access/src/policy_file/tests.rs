#![allow(clippy::unwrap_used, reason = "tests")]
use super::*;

/// A machine with user ada (1000) and group netops (2000).
pub(crate) struct Machine;

impl AccountNames for Machine {
    fn user(&self, name: &str) -> Option<u32> {
        (name == "ada").then_some(1000)
    }

    fn group(&self, name: &str) -> Option<u32> {
        (name == "netops").then_some(2000)
    }
}

#[test]
fn a_whole_grant_is_read_and_the_image_policy_left_alone() {
    let text = r#"
mode = "enforce"
[[images]]
pattern = "*"

[[grants]]
name = "network-team"
users = ["ada", 1001]
groups = ["netops"]
units = ["netops.service"]
pods = ["0a1b2c3d_4e5f"]
allow = ["load", "attach"]
images = ["registry.example.com/network/*"]
types = ["xdp", "tc"]
hooks = ["xdp:eth*", "tc:*:ingress"]
netns = ["own"]
priorities = "100-900"
limits = { programs = 20, map_memory = "64MiB", verified_instructions = 1000000, cpu = "5%", over_cpu = "detach" }
"#;
    let policy = AccessPolicy::parse(text, &Machine).unwrap();
    assert_eq!(policy.socket_group, SocketGroup::Read);
    let [grant] = &policy.grants[..] else { panic!("{policy:?}") };
    assert_eq!(grant.callers.users, [1000, 1001].into());
    assert_eq!(grant.callers.groups, [2000].into());
    assert_eq!(grant.callers.pods, ["0a1b2c3d-4e5f".to_owned()].into());
    assert_eq!(grant.verbs, [AccessVerb::Load, AccessVerb::Attach].into());
    assert_eq!((grant.priorities.clone(), grant.netns.clone()), (Some(100..=900), Some(NetnsRule::Own)));
    assert_eq!((grant.limits.programs, grant.limits.map_memory), (Some(20), Some(64 << 20)));
    assert_eq!(grant.limits.verified_instructions, Some(1_000_000));
    let cpu = grant.limits.cpu.unwrap();
    assert_eq!((cpu.share.to_string().as_str(), cpu.action.name()), ("5%", "detach"));
    assert!(!grant.over_all && grant.applications.is_empty());
    let old = AccessPolicy::parse("[access]\nsocket_group = \"all\"\n", &Machine).unwrap();
    assert_eq!((old.socket_group, old.grants.len()), (SocketGroup::All, 0));
}

#[test]
fn keys_of_sessions_need_the_verb_of_sessions() {
    let digest = "0123456789abcdef".repeat(4);
    let grant = |allow: &str, rest: &str| {
        let text = format!("[[grants]]\nname = \"x\"\nusers = [1]\nallow = [\"{allow}\"]\n{rest}\n");
        AccessPolicy::parse(&text, &Machine).map(|mut policy| policy.grants.remove(0))
    };
    let keys = format!(
        "executables = [\"sha256:{digest}\"]\nprograms = \"/p\"\nkeep = true\nlimits = {{ calls = 50 }}"
    );
    let raw = grant("raw", &keys).unwrap();
    assert_eq!(raw.executables, Some([digest.clone()].into()));
    assert!(raw.keep && raw.limits.calls == Some(50));
    let lines = raw.restrictions();
    for line in [
        &format!("executables = [\"sha256:{digest}\"]")[..],
        "programs = \"/p\"",
        "keep = true",
        "limits.calls = 50",
    ] {
        assert!(lines.iter().any(|one| one == line), "{line}: {lines:?}");
    }
    let why = grant("load", &keys).unwrap_err().to_string();
    for key in ["executables:", "programs:", "keep:", "limits.calls:"] {
        assert!(why.contains(key), "{why}");
    }
    let upper = digest.to_uppercase();
    for wrong in [&digest[..], "sha256:", "sha512:00", &format!("sha256:{upper}")] {
        let why = grant("raw", &format!("executables = [\"{wrong}\"]")).unwrap_err().to_string();
        assert!(why.contains("is no digest such as"), "{wrong}: {why}");
    }
    let peer = bpfman_model::Peer { uid: 1, ..Default::default() };
    let denies = |digest| raw.obstacle(&peer, &crate::AccessObject::Executable(digest));
    assert_eq!(denies(Some(&digest)), None);
    assert_eq!((denies(Some("0")), denies(None)), (Some("executables"), Some("executables")));
    let why = grant("raw", "programs = \"relative\"").unwrap_err().to_string();
    assert!(why.contains("is no absolute path"), "{why}");
    let lists = |listed: &[&str]| {
        let listed: Vec<_> = listed.iter().map(std::path::PathBuf::from).collect();
        raw.obstacle(&peer, &crate::AccessObject::Instructions { digest: "0", listed: &listed })
    };
    assert_eq!((lists(&["/q", "/p"]), lists(&["/q"])), (None, Some("programs")));
}

#[test]
fn a_grant_with_a_scope_holds_programs_to_what_tenants_may() {
    let grant = |rest: &str| {
        let text = format!("[[grants]]\nname = \"x\"\nusers = [1]\nallow = [\"load\"]\n{rest}\n");
        AccessPolicy::parse(&text, &Machine).unwrap().grants.remove(0)
    };
    let scoped = grant("scope = \"cgroup\"\nhelpers = [\"bpf_probe_read_kernel\"]");
    let helpers = ["bpf_probe_read_kernel".to_owned()].into();
    assert_eq!(scoped.tenant, Some(TenantRules { scope: TaskScope::Caller, helpers }));
    assert_eq!((grant("").tenant, grant("scope = \"machine\"").tenant), (None, None));
    let peer = bpfman_model::Peer { uid: 1, ..Default::default() };
    let keeps = |grant: &Grant, of| grant.obstacle(&peer, &crate::AccessObject::Type(of));
    use bpfman_model::ProgramType::{Fentry, Kprobe, Lsm};
    assert_eq!(keeps(&scoped, Kprobe), None);
    assert_eq!((keeps(&scoped, Fentry), keeps(&scoped, Lsm)), (Some("types"), Some("types")));
    assert_eq!(keeps(&grant("scope = \"cgroup\"\ntypes = [\"lsm\"]"), Lsm), None);
    assert_eq!(keeps(&grant(""), Lsm), None);
}

#[test]
fn error_in_grant_is_named_with_line() {
    let grant = |rest: &str| format!("mode = \"off\"\n[[grants]]\nname = \"x\"\nusers = [1]\n{rest}\n");
    for (rest, says) in [
        ("", "missing field `allow`"),
        ("allow = []", "it allows nothing"),
        ("allow = [\"fly\"]", "\"fly\" is no verb"),
        ("allow = [\"administer\"]", "\"administer\" is no verb"),
        ("allow = [\"load\"]\ncolour = 1", "unknown field `colour`"),
        ("allow = [\"load\"]\ngroups = [\"of-nobody\"]", "there is no group \"of-nobody\""),
        ("allow = [\"load\"]\nhooks = [\"eth0\"]", "\"eth0\" is no hook"),
        ("allow = [\"load\"]\ntargets = [\"x\"]", "\"x\" is no target"),
        ("allow = [\"load\"]\nimages = [\"quay.io/[\"]", "images: pattern \"[\""),
        ("allow = [\"load\"]\nnetns = [\"own\", \"/x\"]", "netns: expected"),
        ("allow = [\"load\"]\npriorities = \"9-1\"", "\"9-1\" is no range"),
        ("allow = [\"load\"]\nlimits = { map_memory = \"64MB\" }", "\"64MB\" is no size"),
        ("allow = [\"load\"]\nlimits = { cpu = \"5\" }", "limits.cpu: \"5\" is no share of a CPU"),
        ("allow = [\"load\"]\nlimits = { cpu = \"5%\", over_cpu = \"kill\" }", "limits.over_cpu: \"kill\""),
        ("allow = [\"load\"]\nlimits = { over_cpu = \"warn\" }", "limits.cpu, which is not there"),
        ("allow = [\"load\"]\nscope = \"pod\"", "unknown variant `pod`"),
        ("allow = [\"load\"]\nhelpers = [\"bpf_loop\"]", "only a grant with scope"),
        ("allow = [\"raw\"]\nscope = \"cgroup\"", "no guard in front"),
        ("allow = [\"load\"]\nscope = \"cgroup\"\nhelpers = [\"bpf_*\"]", "\"bpf_*\" is no name"),
        (
            "allow = [\"load\"]\n[[grants]]\nname = \"x\"\nusers = [1]\nallow = [\"load\"]",
            "another grant has this name",
        ),
    ] {
        let error = AccessPolicy::parse(&grant(rest), &Machine).unwrap_err().to_string();
        assert!(error.contains(says), "{rest}: {error}");
    }
    let several = grant(
        "allow = [\"load\",\n  \"fly\", \"swim\"]\ncolour = 1\nhooks = [\"eth0\",\n  \"xdp:eth0\", \"y\"]\ngroups = [\"of-nobody\"]\n\
         [grants.limits]\nmap_memory = \"64MB\"\nprograms = -1\n[[grants]]\nname = \"y\"\nallow = [\"load\"]\n[access]\nsocket_group = \"some\"",
    );
    let found = AccessPolicy::parse(&several, &Machine).unwrap_err();
    let lines: Vec<usize> = found.0.iter().map(|defect| defect.line).collect();
    assert_eq!(lines, [6, 6, 7, 8, 9, 10, 12, 13, 14, 18], "{found}");
    let nobody = "[[grants]]\nname = \"x\"\nallow = [\"all\"]\n";
    let error = AccessPolicy::parse(nobody, &Machine).unwrap_err().to_string();
    assert!(error.contains("line 1") && error.contains("for no caller"), "{error}");
    let named = "[[grants]]\nname = \"a b\"\nusers = [1]\nallow = [\"all\"]\n";
    assert!(AccessPolicy::parse(named, &Machine).unwrap_err().to_string().contains("a name has"));
}

#[test]
fn account_that_has_gone_names_no_caller() {
    struct Later;
    impl AccountNames for Later {
        fn user(&self, _name: &str) -> Option<u32> {
            None
        }
        fn group(&self, _name: &str) -> Option<u32> {
            Some(2001)
        }
        fn may_have_gone(&self) -> bool {
            true
        }
    }
    let text = "[[grants]]\nname = \"x\"\nusers = [\"ada\"]\nallow = [\"all\"]\n\
                [[grants]]\nname = \"y\"\nusers = [\"ada\", 7]\ngroups = [\"netops\"]\nallow = [\"all\"]\n";
    let grants = AccessPolicy::parse(text, &Later).unwrap().grants;
    assert_eq!(grants[0].callers, GrantCallers::default());
    assert_eq!((&grants[1].callers.users, &grants[1].callers.groups), (&[7].into(), &[2001].into()));
    let peer = bpfman_model::Peer { uid: 1000, ..Default::default() };
    assert!(!grants.iter().any(|grant| grant.callers.include(&peer)));
}
