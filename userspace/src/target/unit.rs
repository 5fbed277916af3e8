//! The systemd unit that a process belongs to, by its control group.

/// Unit of the system by `/proc/PID/cgroup` (cgroups(7)): `mysql.service`, `user@1000.service`, `docker-3f2a.scope`.
///
/// As systemd itself finds it (src/basic/cgroup-util.c, `cg_path_get_unit`): the first part of the path that is no
/// slice. What a user's own manager runs is below `user@UID.service`, so no user can call a unit by a name
/// of the system's.
pub(super) fn of_cgroup(text: &str) -> Option<String> {
    // `ID:CONTROLLERS:PATH`; systemd's own hierarchy, where there is one, else the unified one.
    let path = |wanted: &str| {
        text.lines().find_map(|line| {
            let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
            (controllers == wanted).then_some(path)
        })
    };
    [path("name=systemd"), path("")].into_iter().flatten().find_map(of_path)
}

fn of_path(path: &str) -> Option<String> {
    let first = path.split('/').find(|part| !part.is_empty() && !part.ends_with(".slice"))?;
    // A name that the kernel would take for a file of its own is written with a line before it (`cg_escape`).
    let name = first.strip_prefix('_').unwrap_or(first);
    is_complete(name).then(|| name.to_owned())
}

fn is_complete(name: &str) -> bool {
    name.ends_with(".service") || name.ends_with(".scope")
}

/// The name in full: `mysql` is `mysql.service`, as for systemctl.
pub(super) fn complete(name: &str) -> String {
    if is_complete(name) { name.to_owned() } else { format!("{name}.service") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unit_is_the_first_that_is_no_slice() {
        let unit = |path: &str| of_cgroup(&format!("0::{path}\n"));
        let is = |path, name: &str| assert_eq!(unit(path).as_deref(), Some(name), "{path}");
        is("/system.slice/mysql.service", "mysql.service");
        is(
            "/system.slice/system-mysqld.slice/mysqld@replica01.service",
            "mysqld@replica01.service",
        );
        is("/system.slice/docker-3f2a.scope", "docker-3f2a.scope");
        is("/kubepods.slice/kubepods-pod1.slice/cri-containerd-9.scope", "cri-containerd-9.scope");
        is("/system.slice/_tmp.service", "tmp.service");
        // Every user may call a service so.
        let user = "/user.slice/user-1000.slice/user@1000.service/app.slice/mysql.service";
        is(user, "user@1000.service");
        for none in ["/", "", "/init", "/../other", "/system.slice", "/docker/3f2a"] {
            assert_eq!(unit(none), None, "{none}");
        }
    }

    #[test]
    fn both_hierarchies_are_read() {
        let old = "12:pids:/x\n1:name=systemd:/system.slice/mysql.service\n0::/\n";
        assert_eq!(of_cgroup(old).as_deref(), Some("mysql.service"));
        let no_systemd = "1:name=systemd:/\n0::/system.slice/a.service\n";
        assert_eq!(of_cgroup(no_systemd).as_deref(), Some("a.service"));
        for hostile in ["", ":", "::", "0", "0:", "a:b", "\n\n"] {
            assert_eq!(of_cgroup(hostile), None);
        }
    }

    #[test]
    fn a_name_is_completed_as_for_systemctl() {
        assert_eq!(complete("mysql"), "mysql.service");
        assert_eq!(complete("mysqld@a.service"), "mysqld@a.service");
        assert_eq!(complete("docker-1.scope"), "docker-1.scope");
    }
}
