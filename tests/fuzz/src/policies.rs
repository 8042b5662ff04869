//! `policy.toml`: trusted images, and grants.

use bpfmand_access::{AccessPolicy, AccountNames};
use bpfmand_image::{PolicyFile, PolicyRule, Requirement};

struct NoAccounts;

impl AccountNames for NoAccounts {
    fn user(&self, _: &str) -> Option<u32> {
        None
    }

    fn group(&self, _: &str) -> Option<u32> {
        None
    }
}

/// Parses a policy with both parsers. Panics if a policy allows unsigned images without the key `unsigned`.
pub fn run(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let _refused = AccessPolicy::parse(text, &NoAccounts);
    let none = std::io::ErrorKind::NotFound;
    if let Ok(file) = PolicyFile::parse(text, &mut |_| Err(none.into())) {
        let unsigned = |rule: &PolicyRule| matches!(rule.requirement, Requirement::Unsigned);
        assert!(asks_for_unsigned(text) || !file.rules.iter().any(unsigned), "{text}");
    }
}

/// Returns whether a policy has a rule with the key `unsigned`, using a plain TOML parser.
fn asks_for_unsigned(text: &str) -> bool {
    let Ok(document) = text.parse::<toml::Table>() else { return false };
    let rules = document.get("images").and_then(toml::Value::as_array);
    rules.into_iter().flatten().any(|rule| rule.get("unsigned").is_some())
}

pub fn seeds() -> Vec<Vec<u8>> {
    let images = "mode = \"enforce\"\ntrusted_root = \"public-good\"\n[[images]]\npattern = \"quay.io/a/*\"\n\
         identities = [{ issuer = \"https://i\", subject = \"*@example.com\" }]\nmin_signatures = 1\n\
         annotations = { a = \"b\" }\nincreasing = \"v\"\n[files]\nusers = [0]\n[revoked]\nrunning = \"detach\"\n";
    let grants = "[access]\nsocket_group = \"read\"\n[[grants]]\nname = \"network-team\"\nusers = [1000]\n\
         allow = [\"load\", \"attach\"]\nimages = [\"registry.example.com/network/*\"]\ntypes = [\"xdp\", \"tc\"]\n\
         hooks = [\"xdp:eth*\", \"tc:*:ingress\"]\nnetns = [\"own\"]\npriorities = \"100-900\"\n\
         limits = { programs = 20, map_memory = \"64MiB\", links = 100 }\nscope = \"cgroup\"\n";
    [images, grants].map(|text| text.as_bytes().to_vec()).to_vec()
}
