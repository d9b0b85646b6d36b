//! Connections to the collector, in TLS where the URL says so: whom to trust, and who we are.

use std::{fs, path::Path, sync::Arc, time::Duration};

use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

use super::{OtlpError, client::chain, failed, route::Route};

/// While a connection is idle, it is looked after: a collector that has gone away is noticed.
const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// A channel of gRPC. It connects when it is used. Within a tokio runtime.
pub(super) fn channel(route: &Route) -> Result<Channel, OtlpError> {
    let url = &*route.url;
    let failed = |error: tonic::transport::Error| failed(url, &chain(&error));
    let mut endpoint = Endpoint::from_shared(url.to_owned())
        .map_err(failed)?
        .connect_timeout(route.timeout)
        .http2_keep_alive_interval(KEEP_ALIVE)
        .user_agent(concat!("mcpsonar/", env!("CARGO_PKG_VERSION")))
        .map_err(failed)?;
    if url.starts_with("https://") {
        let mut tls = ClientTlsConfig::new();
        tls = match &route.certificate {
            Some(path) => tls.ca_certificate(Certificate::from_pem(read(url, path)?)),
            None => tls.with_native_roots(),
        };
        if let Some((certificate, key)) = identity(route)? {
            tls = tls.identity(Identity::from_pem(read(url, certificate)?, read(url, key)?));
        }
        endpoint = endpoint.tls_config(tls).map_err(failed)?;
    }
    Ok(endpoint.connect_lazy())
}

/// What a client of HTTP connects with.
pub(super) fn connector(route: &Route) -> Result<HttpsConnector<HttpConnector>, OtlpError> {
    let url = &*route.url;
    let mut http = HttpConnector::new();
    http.enforce_http(false);
    http.set_connect_timeout(Some(route.timeout));
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| failed(url, &error))?
        .with_root_certificates(roots(route)?);
    let config = match identity(route)? {
        Some((certificate, key)) => {
            let bad = |path: &Path, error: &dyn std::fmt::Display| failed(url, &format!("{}: {error}", path.display()));
            let chain = certificates(url, certificate)?;
            let private = PrivateKeyDer::from_pem_slice(&read(url, key)?).map_err(|error| bad(key, &error))?;
            builder
                .with_client_auth_cert(chain, private)
                .map_err(|error| bad(certificate, &error))?
        }
        None => builder.with_no_client_auth(),
    };
    let builder = HttpsConnectorBuilder::new().with_tls_config(config);
    Ok(builder.https_or_http().enable_http1().wrap_connector(http))
}

fn roots(route: &Route) -> Result<RootCertStore, OtlpError> {
    let url = &*route.url;
    let mut roots = RootCertStore::empty();
    // Nothing of it is needed for a URL without TLS, and not every host has any.
    if !url.starts_with("https://") {
        return Ok(roots);
    }
    match &route.certificate {
        Some(path) => {
            for certificate in certificates(url, path)? {
                let added = roots.add(certificate);
                added.map_err(|error| failed(url, &format!("{}: {error}", path.display())))?;
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if roots.is_empty() {
                return Err(failed(
                    url,
                    &"the system has no certificates of authorities; name a file with otlp.certificate",
                ));
            }
        }
    }
    Ok(roots)
}

fn certificates(url: &str, path: &Path) -> Result<Vec<CertificateDer<'static>>, OtlpError> {
    let pem = read(url, path)?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match certificates {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        Ok(_none) => Err(failed(
            url,
            &format!("{}: there is no certificate in it", path.display()),
        )),
        Err(error) => Err(failed(url, &format!("{}: {error}", path.display()))),
    }
}

/// Certificate and key, which are nothing without each other.
fn identity(route: &Route) -> Result<Option<(&Path, &Path)>, OtlpError> {
    let url = &*route.url;
    match (&route.client_certificate, &route.client_key) {
        (Some(certificate), Some(key)) => Ok(Some((certificate, key))),
        (None, None) => Ok(None),
        (Some(_), None) => Err(failed(url, &"otlp.client_certificate needs otlp.client_key")),
        (None, Some(_)) => Err(failed(url, &"otlp.client_key needs otlp.client_certificate")),
    }
}

fn read(url: &str, path: &Path) -> Result<Vec<u8>, OtlpError> {
    fs::read(path).map_err(|error| failed(url, &format!("{}: {error}", path.display())))
}
