//! Who a container is, from the files that its runtime keeps.
//!
//! Nothing is asked of a runtime's socket: its files say name, image and labels, and those of a
//! Kubernetes runtime also pod and namespace, as annotations of the OCI specification.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Bytes of one file that are read. An OCI specification is about 20 KiB, the list of all
/// containers of a storage about 1 KiB each.
const MAX_FILE_BYTES: u64 = 4 << 20;
/// Labels that are kept, and bytes of each.
const MAX_LABELS: usize = 64;
const MAX_LABEL_BYTES: usize = 256;
/// Namespaces of containerd that are looked through.
const MAX_NAMESPACES: usize = 16;

/// Who a container is. What its runtime's files do not say is `None` or empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ContainerIdentity {
    /// `docker`, `containerd`, `cri-o` or `podman`.
    pub runtime: &'static str,
    /// Name of the container.
    pub name: Option<String>,
    /// The image, as it was asked for.
    pub image: Option<String>,
    /// Name of the pod.
    pub pod: Option<String>,
    /// Namespace of the pod.
    pub namespace: Option<String>,
    /// Unique id of the pod.
    pub pod_uid: Option<String>,
    /// Labels of the container; those of the pod where the runtime copies them.
    pub labels: BTreeMap<String, String>,
}

/// The runtimes' directories.
#[derive(Clone, Debug)]
pub struct ContainerRuntimes {
    root: PathBuf,
}

impl Default for ContainerRuntimes {
    fn default() -> Self {
        Self::below("/")
    }
}

impl ContainerRuntimes {
    /// Those below another root: `/proc/1/root`, or where the host is mounted in a container.
    #[must_use]
    pub fn below(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Who the container of this id is. `None` when no runtime's files know it or may be read.
    #[must_use]
    pub fn identity(&self, id: &str) -> Option<ContainerIdentity> {
        // The id becomes part of paths.
        let is_id = !id.is_empty() && id.bytes().all(|c| c.is_ascii_alphanumeric());
        if !is_id {
            return None;
        }
        self.docker(id)
            .or_else(|| self.containerd(id))
            .or_else(|| self.storage(id))
    }

    fn docker(&self, id: &str) -> Option<ContainerIdentity> {
        let text = self.read(&format!("var/lib/docker/containers/{id}/config.v2.json"))?;
        docker(&text)
    }

    fn containerd(&self, id: &str) -> Option<ContainerIdentity> {
        let tasks = "run/containerd/io.containerd.runtime.v2.task";
        let namespaces = fs::read_dir(self.root.join(tasks)).ok()?;
        let names = namespaces.take(MAX_NAMESPACES).flatten().map(|entry| entry.file_name());
        names
            .filter_map(|namespace| self.read(&format!("{tasks}/{}/{id}/config.json", namespace.to_str()?)))
            .find_map(|text| specification(&text, "containerd"))
    }

    /// CRI-O and Podman share a storage.
    fn storage(&self, id: &str) -> Option<ContainerIdentity> {
        let file = format!("overlay-containers/{id}/userdata/config.json");
        let at = ["run/containers/storage", "var/lib/containers/storage"];
        let text = at.iter().find_map(|at| self.read(&format!("{at}/{file}")));
        let mut found = text.and_then(|text| specification(&text, "podman")).unwrap_or_default();
        let list = self.read("var/lib/containers/storage/overlay-containers/containers.json");
        if let Some(stored) = list.and_then(|text| stored(&text, id)) {
            found.name = found.name.or(stored.name);
            found.image = found.image.or(stored.image);
            found.runtime = if found.runtime.is_empty() {
                stored.runtime
            } else {
                found.runtime
            };
        }
        (!found.runtime.is_empty()).then_some(found)
    }

    fn read(&self, path: &str) -> Option<String> {
        read(&self.root.join(path))
    }
}

fn read(path: &Path) -> Option<String> {
    let mut text = String::new();
    fs::File::open(path)
        .ok()?
        .take(MAX_FILE_BYTES)
        .read_to_string(&mut text)
        .ok()?;
    Some(text)
}

/// Docker's `config.v2.json`.
fn docker(text: &str) -> Option<ContainerIdentity> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Container {
        name: Option<String>,
        config: Option<Config>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Config {
        image: Option<String>,
        labels: Option<BTreeMap<String, String>>,
    }
    let Container { name, config } = serde_json::from_str(text).ok()?;
    let (image, labels) = config.map_or((None, None), |config| (config.image, config.labels));
    let labels = labels.unwrap_or_default();
    Some(ContainerIdentity {
        runtime: "docker",
        name: name.map(|name| name.trim_start_matches('/').to_owned()),
        image,
        pod: labels.get("io.kubernetes.pod.name").cloned(),
        namespace: labels.get("io.kubernetes.pod.namespace").cloned(),
        pod_uid: labels.get("io.kubernetes.pod.uid").cloned(),
        labels: bounded_labels(labels),
    })
}

/// An OCI runtime specification with the annotations that its runtime has put there.
fn specification(text: &str, otherwise: &'static str) -> Option<ContainerIdentity> {
    #[derive(Deserialize)]
    struct Specification {
        #[serde(default)]
        annotations: BTreeMap<String, String>,
    }
    let Specification { annotations } = serde_json::from_str(text).ok()?;
    let first = |keys: &[&str]| keys.iter().find_map(|key| annotations.get(*key)).cloned();
    let is_crio = annotations.keys().any(|key| key.starts_with("io.kubernetes.cri-o."));
    // CRI-O writes labels and metadata as JSON in an annotation.
    let labels = first(&["io.kubernetes.cri-o.Labels"])
        .and_then(|labels| serde_json::from_str(&labels).ok())
        .unwrap_or_default();
    Some(ContainerIdentity {
        runtime: if is_crio { "cri-o" } else { otherwise },
        name: first(&[
            "io.kubernetes.cri.container-name",
            "io.kubernetes.container.name",
            "nerdctl/name",
        ]),
        image: first(&[
            "io.kubernetes.cri.image-name",
            "io.kubernetes.cri-o.ImageName",
            "org.opencontainers.image.ref.name",
        ]),
        pod: first(&["io.kubernetes.cri.sandbox-name", "io.kubernetes.pod.name"]),
        namespace: first(&["io.kubernetes.cri.sandbox-namespace", "io.kubernetes.pod.namespace"]),
        pod_uid: first(&["io.kubernetes.cri.sandbox-uid", "io.kubernetes.pod.uid"]),
        labels: bounded_labels(labels),
    })
}

/// The storage's list of containers; name and image are in it as JSON within JSON.
fn stored(text: &str, id: &str) -> Option<ContainerIdentity> {
    #[derive(Deserialize)]
    struct Stored {
        id: String,
        #[serde(default)]
        names: Vec<String>,
        #[serde(default)]
        metadata: String,
    }
    #[derive(Default, Deserialize)]
    struct Metadata {
        name: Option<String>,
        #[serde(rename = "image-name")]
        image: Option<String>,
    }
    let all: Vec<Stored> = serde_json::from_str(text).ok()?;
    let stored = all.into_iter().find(|stored| stored.id == id)?;
    let metadata: Metadata = serde_json::from_str(&stored.metadata).unwrap_or_default();
    Some(ContainerIdentity {
        runtime: "podman",
        name: metadata.name.or_else(|| stored.names.into_iter().next()),
        image: metadata.image,
        ..ContainerIdentity::default()
    })
}

/// Labels without what is not worth keeping.
pub(super) fn bounded_labels(labels: BTreeMap<String, String>) -> BTreeMap<String, String> {
    let short = |(key, value): &(String, String)| key.len() <= MAX_LABEL_BYTES && value.len() <= MAX_LABEL_BYTES;
    labels.into_iter().filter(short).take(MAX_LABELS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    fn host(path: &str, text: &str) -> Option<ContainerIdentity> {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join(path.replace("ID", ID));
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
        ContainerRuntimes::below(root.path()).identity(ID)
    }

    #[test]
    fn of_docker() {
        let found = host(
            "var/lib/docker/containers/ID/config.v2.json",
            r#"{"ID":"x","Name":"/files","Config":{"Image":"mcp/files:1","Labels":{"team":"a"},"Env":["TOKEN=x"]}}"#,
        )
        .unwrap();
        assert_eq!((found.runtime, found.name.as_deref()), ("docker", Some("files")));
        assert_eq!((found.image.as_deref(), found.pod), (Some("mcp/files:1"), None));
        assert_eq!(found.labels["team"], "a");
    }

    #[test]
    fn of_containerd_under_kubernetes() {
        let found = host(
            "run/containerd/io.containerd.runtime.v2.task/k8s.io/ID/config.json",
            r#"{"ociVersion":"1.2","annotations":{"io.kubernetes.cri.container-name":"server",
                "io.kubernetes.cri.image-name":"docker.io/mcp/files:1","io.kubernetes.cri.sandbox-name":"files-7d9",
                "io.kubernetes.cri.sandbox-namespace":"tools","io.kubernetes.cri.sandbox-uid":"u-1"}}"#,
        )
        .unwrap();
        assert_eq!((found.runtime, found.name.as_deref()), ("containerd", Some("server")));
        let pod = (
            found.pod.as_deref(),
            found.namespace.as_deref(),
            found.pod_uid.as_deref(),
        );
        assert_eq!(pod, (Some("files-7d9"), Some("tools"), Some("u-1")));
    }

    #[test]
    fn of_cri_o() {
        let found = host(
            "run/containers/storage/overlay-containers/ID/userdata/config.json",
            r#"{"annotations":{"io.kubernetes.container.name":"server","io.kubernetes.pod.name":"files-0",
                "io.kubernetes.pod.namespace":"tools","io.kubernetes.cri-o.ImageName":"quay.io/mcp/files:1",
                "io.kubernetes.cri-o.Labels":"{\"app\":\"files\"}"}}"#,
        )
        .unwrap();
        assert_eq!(
            (found.runtime, found.image.as_deref()),
            ("cri-o", Some("quay.io/mcp/files:1"))
        );
        assert_eq!(
            (found.pod.as_deref(), found.labels["app"].as_str()),
            (Some("files-0"), "files")
        );
    }

    #[test]
    fn of_podman() {
        let list = format!(
            r#"[{{"id":"other"}},{{"id":"{ID}","names":["files"],"image":"abc",
                "metadata":"{{\"image-name\":\"localhost/files:latest\",\"name\":\"files\"}}"}}]"#
        );
        let found = host("var/lib/containers/storage/overlay-containers/containers.json", &list).unwrap();
        assert_eq!((found.runtime, found.name.as_deref()), ("podman", Some("files")));
        assert_eq!(found.image.as_deref(), Some("localhost/files:latest"));
    }

    #[test]
    fn nobodys() {
        assert_eq!(host("var/lib/docker/containers/ID/config.v2.json", "{\"Name\":"), None);
        assert_eq!(host("unrelated", ""), None);
        assert_eq!(ContainerRuntimes::default().identity("../../etc"), None);
        assert_eq!(docker("[]"), None);
        assert_eq!(stored("{}", ID), None);
    }
}
