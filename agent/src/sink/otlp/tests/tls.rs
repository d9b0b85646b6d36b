//! Who the collector is, and who we are.

use std::{path::PathBuf, sync::Arc, sync::atomic::Ordering};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use rustls::{
    RootCertStore, ServerConfig, ServerConnection, StreamOwned,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
};
use tempfile::TempDir;

use super::{
    collectors::{Collector, Manner, account, small, wait_until},
    *,
};

struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: TempDir,
}

/// Files of a certificate and of its key.
struct Identity {
    certificate: PathBuf,
    key: PathBuf,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.pem"), issuer.pem()).unwrap();
        Self { issuer, folder }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    fn issue(&self, name: &str, until: i32) -> Identity {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.not_before = date_time_ymd(2000, 1, 1);
        params.not_after = date_time_ymd(until, 1, 1);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let at = |end: &str| self.folder.path().join(format!("{name}-{until}.{end}"));
        std::fs::write(at("crt"), certificate.pem()).unwrap();
        std::fs::write(at("key"), key.serialize_pem()).unwrap();
        Identity {
            certificate: at("crt"),
            key: at("key"),
        }
    }

    /// A server that shows `identity`, and asks for one where it is to.
    fn server(&self, identity: &Identity, asks: bool) -> Arc<ServerConfig> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap();
        let builder = if asks {
            let mut roots = RootCertStore::empty();
            roots.add(self.issuer.der().clone()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            builder.with_client_cert_verifier(verifier.build().unwrap())
        } else {
            builder.with_no_client_auth()
        };
        let chain = CertificateDer::pem_file_iter(&identity.certificate).unwrap();
        let key = PrivateKeyDer::from_pem_file(&identity.key).unwrap();
        let config = builder.with_single_cert(chain.map(Result::unwrap).collect(), key);
        Arc::new(config.unwrap())
    }
}

/// A collector in TLS, with the configuration of the moment.
fn listen(collector: &Collector, config: &Arc<std::sync::Mutex<Arc<ServerConfig>>>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (collector, config) = (collector.clone(), Arc::clone(config));
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let connection = ServerConnection::new(config.lock().unwrap().clone()).unwrap();
            let collector = collector.clone();
            thread::spawn(move || drop(collector.serve(StreamOwned::new(connection, stream))));
        }
    });
    format!("https://localhost:{port}")
}

fn failing(otlp: &Otlp, part: &str) -> bool {
    let error = otlp.fate.spans_error.lock().unwrap();
    error.as_ref().is_some_and(|error| error.contains(part))
}

#[test]
fn a_wrong_name_and_an_expired_certificate_until_there_is_a_good_one() {
    let authority = Authority::new();
    for (bad, word) in [
        (authority.issue("other.example", 2090), "not valid for name"),
        (authority.issue("localhost", 2001), "expired"),
    ] {
        let config = Arc::new(std::sync::Mutex::new(authority.server(&bad, false)));
        let collector = Collector::new(Manner::Well);
        let url = listen(&collector, &config);
        let settings = OtlpSettings {
            certificate: Some(authority.file()),
            ..small(&url, OtlpProtocol::Http)
        };
        let mut otlp = Otlp::start(&settings, WhenFull::Drop, None).unwrap();
        otlp.call(&record(call())).unwrap();
        wait_until(word, || failing(&otlp, word));
        *config.lock().unwrap() = authority.server(&authority.issue("localhost", 2091), false);
        wait_until("all of it", || otlp.fate.delivered.load(Ordering::Acquire) == 2);
        assert_eq!(account(&mut otlp, 1), [0, 0]);
        assert_eq!(collector.spans.load(Ordering::Acquire), 2);
    }
}

#[test]
fn a_certificate_of_our_own_over_http() {
    let authority = Authority::new();
    let config = authority.server(&authority.issue("localhost", 2090), true);
    let collector = Collector::new(Manner::Well);
    let url = listen(&collector, &Arc::new(std::sync::Mutex::new(config)));
    let nameless = OtlpSettings {
        certificate: Some(authority.file()),
        ..small(&url, OtlpProtocol::Http)
    };
    let mut otlp = Otlp::start(&nameless, WhenFull::Drop, None).unwrap();
    otlp.call(&record(call())).unwrap();
    wait_until("it asks who we are", || failing(&otlp, "ertificate"));
    let ours = authority.issue("agent", 2090);
    let settings = OtlpSettings {
        client_certificate: Some(ours.certificate),
        client_key: Some(ours.key.clone()),
        ..nameless
    };
    let mut otlp = Otlp::start(&settings, WhenFull::Drop, None).unwrap();
    otlp.call(&record(call())).unwrap();
    assert_eq!(account(&mut otlp, 1), [0, 0]);
    assert_eq!(collector.spans.load(Ordering::Acquire), 2);

    // What cannot work is told at once.
    let told = |change: fn(&mut OtlpSettings)| {
        let mut settings = settings.clone();
        change(&mut settings);
        Otlp::start(&settings, WhenFull::Drop, None).unwrap_err().to_string()
    };
    let keyless = told(|settings| settings.client_key = None);
    assert!(
        keyless.contains("otlp.client_certificate needs otlp.client_key"),
        "{keyless}"
    );
    let missing = told(|settings| settings.certificate = Some("/nowhere/ca.pem".into()));
    assert!(missing.contains("/nowhere/ca.pem"), "{missing}");
    let wrong = told(|settings| settings.certificate.clone_from(&settings.client_key));
    assert!(wrong.contains("there is no certificate in it"), "{wrong}");
}

#[test]
fn a_certificate_of_our_own_over_grpc() {
    let authority = Authority::new();
    let [theirs, ours] = ["localhost", "agent"].map(|name| authority.issue(name, 2090));
    let read = |path: &PathBuf| std::fs::read(path).unwrap();
    let tls = tonic::transport::ServerTlsConfig::new()
        .identity(tonic::transport::Identity::from_pem(
            read(&theirs.certificate),
            read(&theirs.key),
        ))
        .client_ca_root(tonic::transport::Certificate::from_pem(read(&authority.file())));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let (tell, requests) = mpsc::channel();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let mut server = tonic::transport::Server::builder().tls_config(tls).unwrap();
        let server = server.add_service(TraceServiceServer::new(super::Collector(tell)));
        runtime.block_on(server.serve(address)).unwrap();
    });
    let settings = OtlpSettings {
        certificate: Some(authority.file()),
        client_certificate: Some(ours.certificate),
        client_key: Some(ours.key),
        gzip: false,
        ..small(&format!("https://localhost:{}", address.port()), OtlpProtocol::Grpc)
    };
    let mut otlp = Otlp::start(&settings, WhenFull::Drop, None).unwrap();
    otlp.call(&record(call())).unwrap();
    requests.recv_timeout(RECEIVE).unwrap();
    let nameless = OtlpSettings {
        client_certificate: None,
        client_key: None,
        ..settings
    };
    let mut rejected = Otlp::start(&nameless, WhenFull::Drop, None).unwrap();
    rejected.call(&record(call())).unwrap();
    wait_until("it asks who we are", || {
        rejected.fate.spans_error.lock().unwrap().is_some()
    });
    assert_eq!(account(&mut otlp, 1), [0, 0]);
}
