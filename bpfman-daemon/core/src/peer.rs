//! Who is at the other end of a connection.

/// The process that made a connection, as the kernel noted it when the connection was made.
///
/// A user of another user namespace is who it is mapped to in the daemon's, never root.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peer {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
    /// Process id; none where the process is of a pid namespace that the daemon does not see.
    pub pid: Option<u32>,
    /// The control group that the process was in when its connection was taken, by its path in the hierarchy that names
    /// it best; none where that could not be read.
    pub cgroup: Option<String>,
    /// Its control group of version 2 at that time; none where there is no such hierarchy.
    pub unified: Option<String>,
    /// Inode of its network namespace when its connection was taken; none where that could not be read.
    pub netns: Option<u64>,
}

impl Peer {
    /// The systemd unit that the process belongs to: the outermost service or scope, since who runs in one may make
    /// groups inside it and name them.
    #[must_use]
    pub fn unit(&self) -> Option<&str> {
        let is_unit = |name: &&str| name.ends_with(".service") || name.ends_with(".scope");
        self.cgroup.as_ref()?.split('/').find(is_unit)
    }

    /// The control group of version 2 that all tasks of this caller are in, and no others' are: of its pod, of its user, or
    /// of its outermost service or scope, else the group itself. None for the root of the hierarchy, where everybody is.
    #[must_use]
    pub fn group(&self) -> Option<String> {
        let path = self.unified.as_deref()?;
        let names: Vec<&str> = path.split('/').filter(|name| !name.is_empty()).collect();
        // A path that leads out of the daemon's own control group namespace says nothing.
        if names.is_empty() || names.contains(&"..") {
            return None;
        }
        let own_slice = format!("user-{}.slice", self.uid);
        let of_pod = self.pod().and_then(|pod| names.iter().position(|name| name.contains(pod)));
        let of_user =
            (names.first() == Some(&"user.slice") && names.get(1) == Some(&own_slice.as_str())).then_some(1);
        let of_unit = names.iter().position(|name| name.ends_with(".service") || name.ends_with(".scope"));
        let last = of_pod.or(of_user).or(of_unit).unwrap_or(names.len() - 1);
        Some(format!("/{}", names[..=last].join("/")))
    }

    /// The uid of the pod that the process belongs to, as its control group spells it.
    #[must_use]
    pub fn pod(&self) -> Option<&str> {
        let path = self.cgroup.as_ref()?;
        // `kubepods-burstable-pod<uid>.slice` by the driver "systemd", `kubepods/burstable/pod<uid>` by "cgroupfs". A
        // container may make groups inside its own: the outermost name counts.
        path.split('/').skip_while(|name| !name.contains("kubepods")).find_map(|name| {
            let stem = name.strip_suffix(".slice").unwrap_or(name);
            let uid = stem.strip_prefix("pod").or_else(|| stem.rsplit_once("-pod").map(|(_, uid)| uid))?;
            let is_uid = uid.len() >= 32
                && uid.bytes().all(|byte| byte.is_ascii_hexdigit() || matches!(byte, b'-' | b'_'));
            is_uid.then_some(uid)
        })
    }
}

/// The path that names a process' control group best, of the lines of `/proc/<pid>/cgroup`: that of version 2, unless
/// processes are sorted in systemd's own hierarchy of version 1.
#[must_use]
pub fn cgroup_of(lines: &str) -> Option<String> {
    path_in(lines, "name=systemd").or_else(|| unified_cgroup_of(lines))
}

/// The path of a process' control group of version 2, of the lines of `/proc/<pid>/cgroup`.
#[must_use]
pub fn unified_cgroup_of(lines: &str) -> Option<String> {
    path_in(lines, "")
}

/// The path in the hierarchy of these controllers: of the line `NUMBER:CONTROLLERS:PATH`. Version 2 has none.
fn path_in(lines: &str, wanted: &str) -> Option<String> {
    lines.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next()?, fields.next()?);
        (controllers == wanted).then(|| path.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(cgroup: &str) -> Peer {
        Peer { cgroup: Some(cgroup.to_owned()), ..Peer::default() }
    }

    #[test]
    fn a_control_group_names_the_unit_and_the_pod() {
        let uid = "0a1b2c3d_4e5f_6071_8293_a4b5c6d7e8f9";
        let service = of("/system.slice/netops.service");
        assert_eq!((service.unit(), service.pod()), (Some("netops.service"), None));
        let pod = of(&format!(
            "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{uid}.slice/cri-containerd-1.scope"
        ));
        assert_eq!((pod.unit(), pod.pod()), (Some("cri-containerd-1.scope"), Some(uid)));
        let dashed = uid.replace('_', "-");
        let pod = of(&format!(
            "/kubepods/besteffort/pod{dashed}/0123456789ab/kubepods/pod{}",
            dashed.replace('0', "1")
        ));
        assert_eq!((pod.unit(), pod.pod()), (None, Some(&*dashed)), "not by a group that a container made");
        let of_user = of("/user.slice/user-1000.slice/user@1000.service/app.slice/netops.service");
        assert_eq!(of_user.unit(), Some("user@1000.service"));
        assert_eq!((of("/").unit(), of("/").pod(), Peer::default().unit()), (None, None, None));
        assert_eq!(of("/user.slice/podium/pod-of-mine").pod(), None);
    }

    #[test]
    fn the_group_of_a_callers_tasks_is_the_outermost_that_is_its_own() {
        let group = |path: &str| {
            let path = Some(path.to_owned());
            Peer { uid: 1000, cgroup: path.clone(), unified: path, ..Peer::default() }.group()
        };
        let pod = "kubepods-pod0a1b2c3d_4e5f_6071_8293_a4b5c6d7e8f9.slice";
        for (path, expected) in [
            ("/system.slice/netops.service/inner.scope", "/system.slice/netops.service"),
            ("/user.slice/user-1000.slice/session-3.scope", "/user.slice/user-1000.slice"),
            // A session of somebody else, by `su`.
            ("/user.slice/user-7.slice/session-3.scope", "/user.slice/user-7.slice/session-3.scope"),
            (&format!("/kubepods.slice/{pod}/cri-containerd-1.scope"), &format!("/kubepods.slice/{pod}")),
            ("/team", "/team"),
        ] {
            assert_eq!(group(path).as_deref(), Some(expected), "{path}");
        }
        assert_eq!((group("/"), group("/../../other.service"), Peer::default().group()), (None, None, None));
        assert_eq!(unified_cgroup_of("1:name=systemd:/b\n0::/a\n").as_deref(), Some("/a"));
        assert_eq!(unified_cgroup_of("1:name=systemd:/b\n"), None);
    }

    #[test]
    fn the_best_of_several_hierarchies_is_taken() {
        assert_eq!(cgroup_of("0::/a.service\n").as_deref(), Some("/a.service"));
        let mixed = "4:memory:/m\n1:name=systemd:/b.service\n0::/\n";
        assert_eq!(cgroup_of(mixed).as_deref(), Some("/b.service"));
        assert_eq!(cgroup_of("0::/with:colon\n").as_deref(), Some("/with:colon"));
        assert_eq!(cgroup_of(""), None);
    }
}
