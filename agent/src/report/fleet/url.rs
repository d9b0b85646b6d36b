//! The address of a database, and who asks it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::percent_decode_str;

use super::FleetError;

/// Where to ask, and as whom.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Address {
    /// Without name and password, and without a slash at its end.
    pub(super) base: String,
    /// `Basic ...`, if the URL has a name in it.
    pub(super) authorization: Option<String>,
}

impl Address {
    /// From `https://name:password@host:port/path`; the path may go down to `/api/v1`.
    pub(super) fn parse(url: &str) -> Result<Self, FleetError> {
        let bad = |reason| FleetError::Url {
            url: crate::host::redact_args(&[url]).pop().unwrap_or_default(),
            reason,
        };
        let (scheme, rest) = url.split_once("://").ok_or_else(|| bad("it has no scheme"))?;
        if !matches!(scheme, "http" | "https") {
            return Err(bad("its scheme is neither http nor https"));
        }
        if rest.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Err(bad("it has spaces in it"));
        }
        if rest.contains(['?', '#']) {
            return Err(bad("it has a query in it"));
        }
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (user, host) = match authority.rsplit_once('@') {
            Some((user, host)) => (Some(user), host),
            None => (None, authority),
        };
        if host.is_empty() || host.starts_with(':') {
            return Err(bad("it names no host"));
        }
        let path = path.trim_end_matches('/');
        let path = path.strip_suffix("api/v1").unwrap_or(path).trim_end_matches('/');
        let base = format!("{scheme}://{host}{}{path}", if path.is_empty() { "" } else { "/" });
        let authorization = user.map(|user| {
            let user = if user.contains(':') {
                user.to_owned()
            } else {
                format!("{user}:")
            };
            let decoded: Vec<u8> = percent_decode_str(&user).collect();
            format!("Basic {}", STANDARD.encode(decoded))
        });
        Ok(Self { base, authorization })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let base = |url| Address::parse(url).unwrap().base;
        assert_eq!(base("http://h:9090"), "http://h:9090");
        assert_eq!(base("http://h:9090/"), "http://h:9090");
        assert_eq!(base("https://h/prometheus/"), "https://h/prometheus");
        assert_eq!(
            base("http://h/select/0/prometheus/api/v1/"),
            "http://h/select/0/prometheus"
        );
        assert_eq!(base("http://[::1]:9090/api/v1"), "http://[::1]:9090");
        let named = Address::parse("http://u:p%40ss@h").unwrap();
        assert_eq!(named.base, "http://h");
        // printf 'u:p@ss' | base64
        assert_eq!(named.authorization.as_deref(), Some("Basic dTpwQHNz"));
        for bad in [
            "h:9090",
            "ftp://h",
            "http://",
            "http:///x",
            "http://:1",
            "http://a b",
            "http://h?x=1",
            "http://u:p@",
        ] {
            let error = Address::parse(bad).unwrap_err().to_string();
            assert!(
                error.contains("http://prometheus:9090") && !error.contains("u:p"),
                "{error}"
            );
        }
    }
}
