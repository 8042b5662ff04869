//! Settings of a service in its file and drop-ins.

use std::collections::BTreeMap;

/// Section `[Service]`: each key with its values, in the order of the files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceUnit {
    values: BTreeMap<String, Vec<String>>,
}

impl ServiceUnit {
    /// Parses a unit and its drop-ins. An empty value clears what came before.
    pub fn parse(texts: &[String]) -> Result<Self, String> {
        let mut this = Self::default();
        for text in texts {
            let mut section = String::new();
            for line in joined(text) {
                let line = line.trim();
                if line.is_empty() || line.starts_with(['#', ';']) {
                    continue;
                }
                if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
                    name.clone_into(&mut section);
                    continue;
                }
                let Some((key, value)) = line.split_once('=') else {
                    return Err(format!("\"{line}\" is neither a section nor a setting"));
                };
                if section == "Service" {
                    let values = this.values.entry(key.trim().to_owned()).or_default();
                    match value.trim() {
                        "" => values.clear(),
                        value => values.push(value.to_owned()),
                    }
                }
            }
        }
        Ok(this)
    }

    pub fn all(&self, key: &str) -> &[String] {
        self.values.get(key).map(Vec::as_slice).unwrap_or_default()
    }

    pub fn last(&self, key: &str) -> Option<&str> {
        self.all(key).last().map(String::as_str)
    }

    /// Returns whether a setting has another value than those that switch it off.
    pub fn is_on(&self, key: &str) -> bool {
        let off = ["no", "false", "off", "0", "n", "f"];
        self.last(key).is_some_and(|value| !off.contains(&value))
    }
}

fn joined(text: &str) -> Vec<String> {
    let (mut lines, mut open) = (Vec::<String>::new(), false);
    for line in text.lines() {
        let is_comment = line.trim_start().starts_with(['#', ';']);
        if open && is_comment {
            continue;
        }
        let (part, goes_on) = line.strip_suffix('\\').map_or((line, false), |part| (part, true));
        match lines.last_mut().filter(|_| open) {
            Some(last) => {
                last.push(' ');
                last.push_str(part);
            }
            None => lines.push(part.to_owned()),
        }
        open = goes_on && !is_comment;
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_joined_cleared_and_kept_in_their_section() {
        let unit = "[Unit]\nExecStart=/no\n[Service]\nExecStart=/bin/a \\\n# between\n  -b\nUser = root\n";
        let part = "[Service]\nExecStart=\nExecStart=/bin/c\nPrivateTmp=no\nProtectSystem=strict\n";
        let one = ServiceUnit::parse(&[unit.to_owned()]).unwrap();
        assert_eq!(
            (one.all("ExecStart"), one.last("User")),
            (&["/bin/a    -b".to_owned()][..], Some("root"))
        );
        let both = ServiceUnit::parse(&[unit.to_owned(), part.to_owned()]).unwrap();
        assert_eq!(both.all("ExecStart"), ["/bin/c"]);
        assert!(!both.is_on("PrivateTmp") && both.is_on("ProtectSystem") && !both.is_on("PrivateMounts"));
        assert!(ServiceUnit::parse(&["[Service]\nnonsense\n".to_owned()]).is_err());
    }
}
