//! Whose telemetry it is: the process, its container and the host, as a resource.

use std::{collections::HashMap, fs};

use opentelemetry::KeyValue;
use opentelemetry_sdk::Resource;

use super::{attributes::Attributes, settings::OtlpSettings};
use crate::{
    calls::Party,
    host::{ClockOffset, ContainerIdentity, ContainerRuntimes, ProcessFacts, nanos_of_ticks, user_name},
    semconv,
    sink::text::iso_8601,
};

/// Containers that are remembered; beyond that all are looked up anew.
const MAX_CONTAINERS: usize = 1024;
/// Users that are remembered, likewise.
const MAX_USERS: usize = 1024;

/// Makes resources.
#[derive(Debug)]
pub(super) struct Resources {
    /// Of the host, and what the operator wants on everything.
    common: Vec<KeyValue>,
    service_name: String,
    runtimes: ContainerRuntimes,
    containers: HashMap<String, Option<ContainerIdentity>>,
    /// Names of users, by their ids.
    users: HashMap<u32, String>,
}

impl Resources {
    pub(super) fn new(settings: &OtlpSettings) -> Self {
        let mut common = Attributes::default();
        let line = |path: &str| fs::read_to_string(path).ok().map(|text| text.trim().to_owned());
        common.text("host.name", line("/proc/sys/kernel/hostname").as_deref());
        common.text(
            "host.id",
            line("/etc/machine-id").filter(|id| !id.is_empty()).as_deref(),
        );
        common.text("host.arch", Some(arch()));
        common.text("os.type", Some("linux"));
        common.text("os.version", line("/proc/sys/kernel/osrelease").as_deref());
        let named = |name: &str| settings.resource.iter().find(|(it, _)| it == name);
        let service_name = settings.service_name.as_ref();
        let service_name = service_name.or(named(semconv::SERVICE_NAME).map(|(_, value)| value));
        let of_operator = settings
            .resource
            .iter()
            .filter(|(name, _)| name != semconv::SERVICE_NAME);
        let of_operator = of_operator.map(|(name, value)| KeyValue::new(name.clone(), value.clone()));
        common.0.extend(of_operator);
        Self {
            common: common.0,
            service_name: service_name.map_or("mcpsonar", String::as_str).to_owned(),
            runtimes: ContainerRuntimes::default(),
            containers: HashMap::new(),
            users: HashMap::new(),
        }
    }

    /// The agent itself.
    pub(super) fn agent(&self) -> Resource {
        let mut own = Attributes::default();
        own.text(semconv::SERVICE_NAME, Some(&self.service_name));
        own.text(semconv::SERVICE_VERSION, Some(env!("CARGO_PKG_VERSION")));
        self.complete(own)
    }

    /// Whoever these attributes name.
    pub(super) fn of(&self, own: Attributes) -> Resource {
        self.complete(own)
    }

    /// The process that a span belongs to; `clock` is of the host that it was seen on.
    pub(super) fn party(&mut self, party: &Party, clock: ClockOffset) -> Resource {
        let mut own = Attributes::default();
        own.text(
            semconv::SERVICE_NAME,
            Some(party.label().unwrap_or(semconv::UNKNOWN_SERVICE)),
        );
        own.text(semconv::SERVICE_VERSION, party.version.as_deref());
        if let Some(facts) = party.facts.as_deref() {
            process(&mut own, facts);
            let began = facts
                .start_time
                .map(|ticks| iso_8601(clock.unix(nanos_of_ticks(ticks))));
            own.text("process.creation.time", began.as_deref());
            own.text("process.owner", facts.user.map(|user| self.user(user)));
            if let Some(id) = facts.container.as_deref() {
                own.text("container.id", Some(id));
                if let Some(identity) = self.container(id) {
                    container(&mut own, identity);
                }
            }
            if !own.has("k8s.pod.uid") {
                own.text("k8s.pod.uid", facts.cgroup.as_deref().and_then(pod_uid).as_deref());
            }
        }
        self.complete(own)
    }

    /// Who that is: by number where it has no name.
    fn user(&mut self, id: u32) -> &str {
        if self.users.len() >= MAX_USERS {
            self.users.clear();
        }
        self.users
            .entry(id)
            .or_insert_with(|| user_name(id).unwrap_or_else(|| id.to_string()))
    }

    /// What is known of the process itself wins over what holds for all: of two values the later counts.
    fn complete(&self, own: Attributes) -> Resource {
        let attributes = self.common.iter().cloned().chain(own.0);
        Resource::builder_empty().with_attributes(attributes).build()
    }

    fn container(&mut self, id: &str) -> Option<&ContainerIdentity> {
        if self.containers.len() >= MAX_CONTAINERS {
            self.containers.clear();
        }
        let runtimes = &self.runtimes;
        self.containers
            .entry(id.to_owned())
            .or_insert_with(|| runtimes.identity(id))
            .as_ref()
    }
}

fn process(own: &mut Attributes, facts: &ProcessFacts) {
    own.number(semconv::PROCESS_PID, u64::from(facts.pid));
    if let Some(parent) = facts.parent {
        own.number("process.parent_pid", u64::from(parent));
    }
    // The program's file; the name of the main thread only where that is not to be had.
    let exe = facts.exe.as_deref().map(|exe| exe.trim_end_matches(" (deleted)"));
    let file = exe.and_then(|exe| exe.rsplit('/').next());
    own.text(semconv::PROCESS_EXECUTABLE_NAME, file.or(facts.comm.as_deref()));
    own.text("process.executable.path", exe);
    own.text("process.command", facts.cmdline.first().map(String::as_str));
    own.texts("process.command_args", &facts.cmdline);
    own.text("process.linux.cgroup", facts.cgroup.as_deref());
}

fn container(own: &mut Attributes, identity: &ContainerIdentity) {
    own.text("container.runtime.name", Some(identity.runtime));
    own.text("container.name", identity.name.as_deref());
    own.text("container.image.name", identity.image.as_deref());
    own.text("k8s.pod.name", identity.pod.as_deref());
    own.text("k8s.pod.uid", identity.pod_uid.as_deref());
    own.text("k8s.namespace.name", identity.namespace.as_deref());
    let labels = &identity.labels;
    let name = labels.get("io.kubernetes.container.name").map(String::as_str);
    own.text("k8s.container.name", name);
}

/// `…/kubepods/burstable/podUID/…`, or `kubepods-burstable-podUID.slice` with `_` for `-`.
fn pod_uid(cgroup: &str) -> Option<String> {
    cgroup.split('/').find_map(|part| {
        let part = part.strip_suffix(".slice").unwrap_or(part);
        let part = part.split(':').next().unwrap_or(part).trim_end_matches(".slice");
        let uid = part.strip_prefix("pod").or_else(|| Some(part.split_once("-pod")?.1))?;
        let uid = uid.replace('_', "-");
        let is_uid = uid.len() == 36 && uid.bytes().all(|c| c.is_ascii_hexdigit() || c == b'-');
        is_uid.then_some(uid)
    })
}

/// OpenTelemetry's word for the architecture.
fn arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn value(resource: &Resource, name: &'static str) -> Option<String> {
        let value = resource.get(&opentelemetry::Key::from_static_str(name));
        value.map(|value| value.to_string())
    }

    #[test]
    fn what_the_operator_says_holds_for_all_but_names_nobody_else() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let mut resources = Resources::new(&OtlpSettings {
            resource: vec![
                pair("deployment.environment.name", "prod"),
                pair("host.name", "h"),
                pair("service.name", "fleet"),
            ],
            ..OtlpSettings::default()
        });
        let server = Party {
            name: Some("files".into()),
            version: Some("2".into()),
            facts: Some(Arc::new(ProcessFacts {
                pid: 7,
                comm: Some("MainThread".to_owned()),
                exe: Some("/usr/bin/node (deleted)".to_owned()),
                cmdline: ["node", "server.js"].map(str::to_owned).to_vec(),
                start_time: Some(150),
                parent: Some(3),
                user: Some(u32::MAX - 7),
                cgroup: Some("/kubepods/besteffort/pod0a1b2c3d-1111-2222-3333-444455556666/x".to_owned()),
                ..ProcessFacts::default()
            })),
        };
        let clock = ClockOffset(1_709_208_000_000_000_000);
        let [server, agent] = [resources.party(&server, clock), resources.agent()];
        for resource in [&server, &agent] {
            assert_eq!(value(resource, "deployment.environment.name").as_deref(), Some("prod"));
            assert_eq!(value(resource, "host.name").as_deref(), Some("h"));
            assert_eq!(value(resource, "os.type").as_deref(), Some("linux"));
        }
        assert_eq!(value(&server, "service.name").as_deref(), Some("files"));
        assert_eq!(value(&server, "service.version").as_deref(), Some("2"));
        assert_eq!(value(&server, "process.executable.name").as_deref(), Some("node"));
        assert_eq!(
            value(&server, "process.executable.path").as_deref(),
            Some("/usr/bin/node")
        );
        assert_eq!(value(&server, "process.command").as_deref(), Some("node"));
        let after = 150_000 / procfs::ticks_per_second();
        let began = format!("2024-02-29T12:00:{:02}.{:03}Z", after / 1000, after % 1000);
        assert_eq!(value(&server, "process.creation.time"), Some(began));
        assert_eq!(value(&server, "process.parent_pid").as_deref(), Some("3"));
        let nobody = (u32::MAX - 7).to_string();
        assert_eq!(value(&server, "process.owner"), Some(nobody), "nobody has that number");
        assert_eq!(
            value(&server, "k8s.pod.uid").as_deref(),
            Some("0a1b2c3d-1111-2222-3333-444455556666")
        );
        assert_eq!(value(&agent, "service.name").as_deref(), Some("fleet"));
    }

    #[test]
    fn pods_of_both_drivers() {
        let uid = "0a1b2c3d-1111-2222-3333-444455556666";
        let systemd = uid.replace('-', "_");
        for path in [
            format!("/kubepods/burstable/pod{uid}/abc"),
            format!(
                "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{systemd}.slice/cri-containerd-x.scope"
            ),
            format!("/system.slice/containerd.service/kubepods-burstable-pod{systemd}.slice:cri-containerd:x"),
        ] {
            assert_eq!(pod_uid(&path).as_deref(), Some(uid), "{path}");
        }
        for path in ["/", "/user.slice/podman", "/kubepods/pod1"] {
            assert_eq!(pod_uid(path), None);
        }
    }
}
