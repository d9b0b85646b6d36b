//! The pods of this host, asked for now and then: `kubernetes.pods` says whom.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use hyper_rustls::HttpsConnectorBuilder;
use opentelemetry_http::hyper::HyperClient;
use opentelemetry_http::{Bytes, HttpClient as _, HttpError, Request};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use crate::config::PodsConfig;
use crate::host::{Pod, Pods};

/// Pause between two questions. A container that is younger has no pod yet.
const EVERY: Duration = Duration::from_secs(30);
/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Asks on a thread of its own, which ends when this is dropped.
#[derive(Debug)]
pub(super) struct PodWatch {
    latest: Arc<Mutex<Arc<Pods>>>,
    /// Dropped, it wakes the thread.
    _alive: SyncSender<()>,
}

impl PodWatch {
    /// # Errors
    /// When the system gives no thread.
    pub(super) fn start(config: PodsConfig) -> io::Result<Self> {
        let latest = Arc::new(Mutex::new(Arc::new(Pods::default())));
        let (alive, ended) = sync_channel(0);
        let to = Arc::clone(&latest);
        thread::Builder::new()
            .name("pods".to_owned())
            .spawn(move || watch(&config, &to, &ended))?;
        Ok(Self { latest, _alive: alive })
    }

    /// The pod of this container, as far as is known.
    pub(super) fn of_container(&self, id: &str) -> Option<Arc<Pod>> {
        let latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        latest.of_container(id).cloned()
    }
}

fn watch(config: &PodsConfig, to: &Mutex<Arc<Pods>>, ended: &Receiver<()>) {
    let mut told = None;
    loop {
        // What was known stays so while nobody answers.
        match list(config) {
            Ok(pods) => {
                *to.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(pods);
                told = None;
            }
            Err(error) => {
                let error = format!("{error}");
                if told.as_ref() != Some(&error) {
                    tracing::warn!(%error, url = config.url.as_deref(), "the pods of this host are not known: see kubernetes.*");
                    told = Some(error);
                }
            }
        }
        if ended.recv_timeout(EVERY) != Err(RecvTimeoutError::Timeout) {
            return;
        }
    }
}

/// Asks once.
fn list(config: &PodsConfig) -> Result<Pods, HttpError> {
    let url = config.url.as_deref().unwrap_or_default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let builder = HttpsConnectorBuilder::new();
        let builder = if config.ca_file.exists() {
            builder.with_tls_config(tls(&config.ca_file)?)
        } else {
            builder.with_native_roots()?
        };
        let connector = builder.https_or_http().enable_http1().build();
        let client = HyperClient::new(connector, TIMEOUT, None);
        let mut request = Request::get(url);
        if let Ok(token) = fs::read_to_string(&config.token_file) {
            request = request.header("authorization", format!("Bearer {}", token.trim()));
        }
        let answer = client.send_bytes(request.body(Bytes::new())?).await?;
        if !answer.status().is_success() {
            return Err(format!("the answer is {}", answer.status()).into());
        }
        Ok(Pods::from_list(answer.body())?)
    })
}

/// Believes the authorities of the file and no others.
fn tls(authorities: &Path) -> Result<rustls::ClientConfig, HttpError> {
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(authorities)? {
        roots.add(certificate?)?;
    }
    let provider = rustls::crypto::ring::default_provider();
    let builder = rustls::ClientConfig::builder_with_provider(provider.into()).with_safe_default_protocol_versions()?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader, Write as _};
    use std::net::TcpListener;
    use std::path::PathBuf;

    use super::*;

    /// Answers every question like a kubelet, and gives what each showed as its right to ask.
    fn kubelet(status: &'static str, body: &'static str) -> (String, Receiver<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/pods", listener.local_addr().unwrap());
        let (told, asked) = sync_channel(16);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let lines = BufReader::new(stream.try_clone().unwrap()).lines().map(Result::unwrap);
                let head: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
                let right = head
                    .iter()
                    .find(|line| line.to_lowercase().starts_with("authorization: "));
                let about = format!("{} {}", head[0], right.map_or("-", |line| &line[15..]));
                let length = body.len();
                write!(stream, "HTTP/1.1 {status}\r\ncontent-length: {length}\r\n\r\n{body}").unwrap();
                if told.send(about).is_err() {
                    return;
                }
            }
        });
        (url, asked)
    }

    fn config(url: String, token_file: PathBuf) -> PodsConfig {
        PodsConfig {
            url: Some(url),
            token_file,
            ca_file: "/nowhere".into(),
        }
    }

    const LIST: &str = r#"{"items":[{"metadata":{"name":"files-0","namespace":"tools","uid":"u","labels":{"app":"files"}},
        "status":{"containerStatuses":[{"containerID":"containerd://aa11"}]}}]}"#;

    #[test]
    fn a_kubelet_is_asked_with_the_token() {
        let folder = tempfile::tempdir().unwrap();
        let token = folder.path().join("token");
        fs::write(&token, "t0ken\n").unwrap();
        let (url, asked) = kubelet("200 OK", LIST);
        let watch = PodWatch::start(config(url, token)).unwrap();
        let about = asked.recv_timeout(TIMEOUT).unwrap();
        assert_eq!(about, "GET /pods HTTP/1.1 Bearer t0ken");
        let known = (0..500).find_map(|_| {
            thread::sleep(Duration::from_millis(10));
            watch.of_container("aa11")
        });
        assert_eq!(known.unwrap().labels["app"], "files");
        assert_eq!(watch.of_container("bb22"), None);
    }

    #[test]
    fn refusals_say_why() {
        let (url, _asked) = kubelet("403 Forbidden", "Forbidden (user=system:anonymous)");
        let refused = list(&config(url, "/nowhere".into())).unwrap_err().to_string();
        assert!(refused.contains("403"), "{refused}");
        let (url, _asked) = kubelet("200 OK", "{}");
        assert!(list(&config(url, "/nowhere".into())).is_err());
        assert!(list(&config("http://127.0.0.1:1/pods".into(), "/nowhere".into())).is_err());
    }
}
