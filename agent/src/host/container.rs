//! The container's id, from the path of its cgroup.

/// The id of the container that a cgroup belongs to, `None` outside of containers.
///
/// Knows the layouts of docker, containerd and cri-containerd, CRI-O, libpod and kubepods under
/// both cgroup drivers (cgroupfs: a directory named by the id; systemd: `RUNTIME-ID.scope`). The
/// innermost one wins, so that a container within a container is itself.
#[must_use]
pub fn container_id(cgroup: &str) -> Option<String> {
    cgroup.rsplit('/').find_map(id_of_component).map(str::to_owned)
}

fn id_of_component(component: &str) -> Option<&str> {
    let name = component.strip_suffix(".scope").unwrap_or(component);
    // "cri-containerd-ID", "docker-ID", "libpod-conmon-ID"; containerd's CRI also has "SLICE:PREFIX:ID".
    let id = name.rsplit(['-', ':']).next().unwrap_or(name);
    // conmon is the monitor of a container and lives outside of it.
    if name.contains("conmon") {
        return None;
    }
    let hex = |c: u8| c.is_ascii_digit() || (b'a'..=b'f').contains(&c);
    (id.len() == 64 && id.bytes().all(hex)).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn every_runtime() {
        for path in [
            "/docker/{}",
            "/system.slice/docker-{}.scope",
            "/kubepods/burstable/pod1f0a/{}",
            "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1.slice/cri-containerd-{}.scope",
            "/kubepods.slice/kubepods-pod1.slice/crio-{}.scope",
            "/system.slice/containerd.service/kubepods-burstable-pod1.slice:cri-containerd:{}",
            "/machine.slice/libpod-{}.scope/container",
            "/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{}.scope",
            "/docker/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa/docker/{}",
            "/docker/{}/init.scope",
        ] {
            assert_eq!(container_id(&path.replace("{}", ID)).as_deref(), Some(ID), "{path}");
        }
    }

    #[test]
    fn outside_of_containers() {
        for path in [
            "/",
            "",
            "/user.slice/user-1000.slice/session-2.scope",
            "/init.scope",
            "/machine.slice/libpod-conmon-0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef.scope",
            "/system.slice/docker.service",
        ] {
            assert_eq!(container_id(path), None, "{path}");
        }
    }
}
