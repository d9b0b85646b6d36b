//! How each signal gets to its collector: what it has for itself, else what both have.

use std::{path::PathBuf, time::Duration};

use super::settings::{OtlpProtocol, OtlpSettings, Pairs, SignalSettings};

/// A kind of telemetry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Signal {
    Traces,
    Metrics,
}

impl Signal {
    /// Where it is posted to, below a base URL.
    pub(super) fn path(self) -> &'static str {
        match self {
            Self::Traces => "/v1/traces",
            Self::Metrics => "/v1/metrics",
        }
    }

    /// The method of gRPC that takes it.
    pub(super) fn method(self) -> &'static str {
        match self {
            Self::Traces => "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
            Self::Metrics => "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
        }
    }

    /// A base that is the URL of one signal already is that of its sibling too.
    fn below(self, base: &str) -> String {
        let base = base.trim_end_matches('/');
        let ends = [Self::Traces, Self::Metrics].map(Self::path);
        let base = ends.iter().find_map(|end| base.strip_suffix(end)).unwrap_or(base);
        format!("{base}{}", self.path())
    }
}

/// How one signal gets to its collector.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Route {
    pub(super) signal: Signal,
    /// Of gRPC only the authority counts.
    pub(super) url: String,
    pub(super) protocol: OtlpProtocol,
    pub(super) headers: Pairs,
    /// Of one request.
    pub(super) timeout: Duration,
    pub(super) gzip: bool,
    pub(super) certificate: Option<PathBuf>,
    pub(super) client_certificate: Option<PathBuf>,
    pub(super) client_key: Option<PathBuf>,
}

impl OtlpSettings {
    /// `None` for what is sent nowhere.
    pub(super) fn route(&self, signal: Signal) -> Option<Route> {
        if signal == Signal::Traces && !self.traces {
            return None;
        }
        let own = self.only(signal);
        let protocol = own.protocol.unwrap_or(self.protocol);
        let url = match (&own.endpoint, &self.endpoint, protocol) {
            (Some(own), _, _) => own.clone(),
            (None, Some(base), OtlpProtocol::Grpc) => base.clone(),
            (None, Some(base), OtlpProtocol::Http) => signal.below(base),
            (None, None, _) => return None,
        };
        // Only gRPC's may lack it (OpenTelemetry, OTLP exporter: OTEL_EXPORTER_OTLP_INSECURE).
        let url = match protocol {
            OtlpProtocol::Grpc if !url.contains("://") => {
                let insecure = own.insecure.unwrap_or(self.insecure);
                format!("{}://{url}", if insecure { "http" } else { "https" })
            }
            _ => url,
        };
        Some(Route {
            signal,
            url,
            protocol,
            headers: own.headers.as_ref().unwrap_or(&self.headers).clone(),
            timeout: own.timeout.unwrap_or(self.timeout),
            gzip: own.gzip.unwrap_or(self.gzip),
            certificate: own.certificate.as_ref().or(self.certificate.as_ref()).cloned(),
            client_certificate: own
                .client_certificate
                .as_ref()
                .or(self.client_certificate.as_ref())
                .cloned(),
            client_key: own.client_key.as_ref().or(self.client_key.as_ref()).cloned(),
        })
    }

    fn only(&self, signal: Signal) -> &SignalSettings {
        match signal {
            Signal::Traces => &self.traces_only,
            Signal::Metrics => &self.metrics_only,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: [Signal; 2] = [Signal::Traces, Signal::Metrics];

    #[test]
    fn where_signals_go() {
        let urls = |settings: &OtlpSettings| BOTH.map(|signal| settings.route(signal).map(|route| route.url));
        for (base, traces, metrics) in [
            ("http://h:4318", "http://h:4318/v1/traces", "http://h:4318/v1/metrics"),
            ("http://h/otlp/", "http://h/otlp/v1/traces", "http://h/otlp/v1/metrics"),
            ("http://h/v1/traces", "http://h/v1/traces", "http://h/v1/metrics"),
        ] {
            let settings = OtlpSettings::to(base, OtlpProtocol::Http);
            assert_eq!(urls(&settings), [traces, metrics].map(|url| Some(url.to_owned())));
        }
        let apart = OtlpSettings {
            metrics_only: SignalSettings {
                endpoint: Some("http://m/x".to_owned()),
                ..SignalSettings::default()
            },
            ..OtlpSettings::to("http://h:1", OtlpProtocol::Grpc)
        };
        assert_eq!(
            urls(&apart),
            ["http://h:1", "http://m/x"].map(|url| Some(url.to_owned()))
        );
        assert!(apart.is_on() && !OtlpSettings::default().is_on());
        let silent = OtlpSettings {
            traces: false,
            ..apart.clone()
        };
        assert_eq!(urls(&silent), [None, Some("http://m/x".to_owned())]);
        assert!(!silent.is_on(), "nobody asked for metrics");
        let nameless = OtlpSettings {
            traces_only: SignalSettings {
                insecure: Some(true),
                ..SignalSettings::default()
            },
            ..OtlpSettings::to("h:4317", OtlpProtocol::Grpc)
        };
        assert_eq!(
            urls(&nameless),
            ["http://h:4317", "https://h:4317"].map(|url| Some(url.to_owned()))
        );
        assert_eq!(nameless.endpoint_without_scheme(), None);
        let over_http = OtlpSettings::to("h:4318", OtlpProtocol::Http);
        assert_eq!(over_http.endpoint_without_scheme(), Some(("otlp.endpoint", "h:4318")));
    }

    #[test]
    fn what_a_signal_has_for_itself_wins() {
        let pairs = |value: &str| vec![("key".to_owned(), value.to_owned())];
        let settings = OtlpSettings {
            headers: pairs("both"),
            gzip: true,
            certificate: Some("/both.pem".into()),
            traces_only: SignalSettings {
                protocol: Some(OtlpProtocol::Http),
                headers: Some(pairs("spans")),
                timeout: Some(Duration::from_millis(7)),
                gzip: Some(false),
                client_key: Some("/spans.key".into()),
                ..SignalSettings::default()
            },
            ..OtlpSettings::to("http://h:1", OtlpProtocol::Grpc)
        };
        let [traces, metrics] = BOTH.map(|signal| settings.route(signal).unwrap());
        let expected = Route {
            signal: Signal::Traces,
            url: "http://h:1/v1/traces".to_owned(),
            protocol: OtlpProtocol::Http,
            headers: pairs("spans"),
            timeout: Duration::from_millis(7),
            gzip: false,
            certificate: Some("/both.pem".into()),
            client_certificate: None,
            client_key: Some("/spans.key".into()),
        };
        assert_eq!(traces, expected);
        let expected = Route {
            signal: Signal::Metrics,
            url: "http://h:1".to_owned(),
            protocol: OtlpProtocol::Grpc,
            headers: pairs("both"),
            timeout: settings.timeout,
            gzip: true,
            certificate: Some("/both.pem".into()),
            client_certificate: None,
            client_key: None,
        };
        assert_eq!(metrics, expected);
    }
}
