//! Which of the two formats a client wants.

/// A text format of Prometheus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// `text/plain; version=0.0.4`: every scraper and every person reads it; no exemplars.
    Text,
    /// `application/openmetrics-text; version=1.0.0`.
    OpenMetrics,
}

impl Format {
    /// The better one by the `Accept` headers. Without any preference it is the plain one.
    pub(super) fn negotiate<'a>(accept: impl Iterator<Item = &'a str>) -> Self {
        let (mut plain, mut open) = (None, None);
        for range in accept.flat_map(|header| header.split(',')) {
            let mut parts = range.split(';').map(str::trim);
            let kind = parts.next().unwrap_or_default().to_ascii_lowercase();
            let (mut quality, mut version) = (1.0, None);
            for parameter in parts {
                match parameter.split_once('=') {
                    Some(("q", value)) => quality = value.trim().parse().unwrap_or(0.0),
                    Some(("version", value)) => version = Some(value.trim_matches('"')),
                    _ => {}
                }
            }
            let slot = match (kind.as_str(), version) {
                ("application/openmetrics-text", None | Some("1.0.0" | "0.0.1")) => &mut open,
                ("text/plain", None | Some("0.0.4")) | ("text/*" | "*/*", _) => &mut plain,
                _ => continue,
            };
            *slot = Some(slot.unwrap_or(0.0_f64).max(quality));
        }
        match (open, plain) {
            (Some(open), plain) if open > 0.0 && open >= plain.unwrap_or(0.0) => Self::OpenMetrics,
            _ => Self::Text,
        }
    }

    pub(super) fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_gets_what() {
        let of = |accept: &str| Format::negotiate(std::iter::once(accept));
        for accept in [
            // Prometheus 2.42 and 3.
            "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1",
            "application/openmetrics-text",
            "Application/OpenMetrics-Text; q=0.3, text/plain; q=0.2",
        ] {
            assert_eq!(of(accept), Format::OpenMetrics, "{accept}");
        }
        for accept in [
            "",
            "*/*",
            "text/html,*/*;q=0.8",
            "text/plain, application/openmetrics-text;q=0.5",
            "application/openmetrics-text;q=0",
            "application/openmetrics-text;version=2.0.0",
            "application/openmetrics-text;q=x",
            ";;;q=,,=",
        ] {
            assert_eq!(of(accept), Format::Text, "{accept}");
        }
        assert_eq!(Format::negotiate(std::iter::empty()), Format::Text);
    }
}
