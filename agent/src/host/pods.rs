//! Which pod a container belongs to, from a list of pods: the answer of a kubelet (`/pods`) or of the API
//! server (`/api/v1/pods`), which are both a `PodList` of Kubernetes' core API.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::runtime::bounded_labels;

/// Pods that are kept of one list. A node has 110 by default and 250 at most in practice.
const MAX_PODS: usize = 4096;
/// Containers of one pod.
const MAX_CONTAINERS: usize = 64;

/// A pod, by its own word.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Pod {
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Its unique id.
    pub uid: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
}

/// The pods of a host by the ids of their containers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pods(HashMap<Box<str>, Arc<Pod>>);

impl Pods {
    /// Reads a list.
    ///
    /// # Errors
    /// When it is none.
    pub fn from_list(json: &[u8]) -> Result<Self, serde_json::Error> {
        let List { items } = serde_json::from_slice(json)?;
        let mut pods = HashMap::new();
        for Item { metadata, status } in items.into_iter().take(MAX_PODS) {
            let pod = Arc::new(Pod {
                name: metadata.name,
                namespace: metadata.namespace,
                uid: metadata.uid,
                labels: bounded_labels(metadata.labels.unwrap_or_default()),
            });
            let Statuses { of, of_init, of_debug } = status;
            let all = [of, of_init, of_debug].into_iter().flatten().flatten();
            for Container { id } in all.take(MAX_CONTAINERS) {
                // "containerd://ID"; one that has not begun yet has none.
                if let Some((_, id)) = id.as_deref().and_then(|id| id.split_once("://")) {
                    pods.insert(id.into(), Arc::clone(&pod));
                }
            }
        }
        Ok(Self(pods))
    }

    /// The pod that this container belongs to.
    #[must_use]
    pub fn of_container(&self, id: &str) -> Option<&Arc<Pod>> {
        self.0.get(id)
    }
}

/// `PodList`: what is wanted of it.
#[derive(Deserialize)]
struct List {
    items: Vec<Item>,
}

#[derive(Deserialize)]
struct Item {
    metadata: Metadata,
    #[serde(default)]
    status: Statuses,
}

#[derive(Deserialize)]
struct Metadata {
    #[serde(default)]
    name: String,
    #[serde(default)]
    namespace: String,
    #[serde(default)]
    uid: String,
    labels: Option<BTreeMap<String, String>>,
}

#[derive(Default, Deserialize)]
struct Statuses {
    #[serde(rename = "containerStatuses")]
    of: Option<Vec<Container>>,
    #[serde(rename = "initContainerStatuses")]
    of_init: Option<Vec<Container>>,
    #[serde(rename = "ephemeralContainerStatuses")]
    of_debug: Option<Vec<Container>>,
}

#[derive(Deserialize)]
struct Container {
    #[serde(rename = "containerID")]
    id: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_as_kubelets_give_it() {
        let list = br#"{"kind":"PodList","apiVersion":"v1","metadata":{},"items":[
            {"metadata":{"name":"files-7d9","namespace":"tools","uid":"u-1","labels":{"app":"files","tier":"mcp"}},
             "spec":{"nodeName":"n1"},
             "status":{"phase":"Running","containerStatuses":[{"name":"server","containerID":"containerd://aa11"},
                {"name":"late","containerID":""}],
              "initContainerStatuses":[{"name":"init","containerID":"containerd://bb22"}]}},
            {"metadata":{"name":"static-n1","namespace":"kube-system"},"status":{"phase":"Pending"}},
            {"metadata":{"name":"one","namespace":"x","uid":"u-2"},
             "status":{"containerStatuses":[{"containerID":"cri-o://cc33"}]}}]}"#;
        let pods = Pods::from_list(list).unwrap();
        let files = pods.of_container("aa11").unwrap();
        assert_eq!(
            (&*files.name, &*files.namespace, &*files.uid),
            ("files-7d9", "tools", "u-1")
        );
        assert_eq!(files.labels["app"], "files");
        assert_eq!(pods.of_container("bb22"), Some(files));
        assert_eq!(pods.of_container("cc33").map(|pod| pod.labels.len()), Some(0));
        assert_eq!(pods.of_container(""), None);
    }

    #[test]
    fn what_is_no_list() {
        for text in ["", "{}", "[]", r#"{"items":3}"#, "Unauthorized"] {
            assert!(Pods::from_list(text.as_bytes()).is_err(), "{text}");
        }
        assert_eq!(Pods::from_list(br#"{"items":[]}"#).unwrap(), Pods::default());
    }
}
