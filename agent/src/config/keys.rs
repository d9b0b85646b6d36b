//! Every key: the file, the environment, `config show` and the documentation come from here. Those of OTLP
//! are in `otlp_keys`.

use std::path::PathBuf;
use std::time::Duration;

use super::value::{bytes, duration, show_bytes, show_duration};
use super::{Key, otlp_keys};

/// The least that a history can live in.
const LEAST_HISTORY: u64 = 4 << 20;

/// Every key.
pub fn keys() -> impl Iterator<Item = &'static Key> {
    KEYS.iter().chain(otlp_keys::keys())
}

const KEYS: &[Key] = &[
    Key {
        name: "socket.path",
        otel: None,
        allowed: "an absolute path",
        about: "Unix socket of the API. Taken at start only.",
        set: |config, text| absolute(text).map(|path| config.socket_path = path),
        get: |config| config.socket_path.display().to_string(),
    },
    Key {
        name: "socket.group",
        otel: None,
        allowed: "the name of a group",
        about: "Who may use the socket besides root, where the group exists. Taken at start only.",
        set: |config, text| (!text.is_empty()).then(|| text.clone_into(&mut config.socket_group)),
        get: |config| config.socket_group.clone(),
    },
    Key {
        name: "history.enabled",
        otel: None,
        allowed: "true or false",
        about: "Whether a history is kept. Taken at start only.",
        set: |config, text| text.parse().ok().map(|on| config.history = on),
        get: |config| config.history.to_string(),
    },
    Key {
        name: "history.path",
        otel: None,
        allowed: "an absolute path",
        about: "Its file. Taken at start only.",
        set: |config, text| absolute(text).map(|path| config.history_path = path),
        get: |config| config.history_path.display().to_string(),
    },
    Key {
        name: "history.max_size",
        otel: None,
        allowed: "at least 4MiB, as KiB, MiB or GiB",
        about: "What the file may grow to; whole calls go first, the oldest before others.",
        set: |config, text| {
            let value = bytes(text).filter(|&value| value >= LEAST_HISTORY)?;
            config.limits.max_bytes = value;
            Some(())
        },
        get: |config| show_bytes(config.limits.max_bytes),
    },
    Key {
        name: "history.max_age",
        otel: None,
        allowed: "a duration of at least 1h: 24h, 7d",
        about: "How long anything is kept.",
        set: |config, text| {
            let value = duration(text).filter(|&value| value >= Duration::from_secs(3600))?;
            config.limits.max_age = value;
            Some(())
        },
        get: |config| show_duration(config.limits.max_age),
    },
    Key {
        name: "history.slow",
        otel: None,
        allowed: "a duration: 250ms, 1s, 2m",
        about: "Calls that take longer are slow: kept whole, and always sent as spans.",
        set: |config, text| duration(text).map(|value| config.limits.slow = value),
        get: |config| show_duration(config.limits.slow),
    },
    Key {
        name: "history.sample",
        otel: None,
        allowed: "a share from 0 to 1",
        about: "Share of the other calls that is kept whole, decided by the trace id.",
        set: |config, text| {
            let value = text.parse().ok().filter(|value| (0.0..=1.0).contains(value))?;
            config.limits.sample_ratio = value;
            Some(())
        },
        get: |config| config.limits.sample_ratio.to_string(),
    },
    Key {
        name: "prometheus.address",
        otel: None,
        allowed: "an address and a port: 127.0.0.1:9464, [::]:9464; or off",
        about: "Where metrics are served at /metrics. When it cannot be listened on, the agent says so, goes on without and tries again every 10 s.",
        set: |config, text| {
            config.prometheus_address = if matches!(text, "" | "off") {
                None
            } else {
                Some(text.parse().ok()?)
            };
            Some(())
        },
        get: |config| {
            config
                .prometheus_address
                .map_or_else(|| "off".to_owned(), |address| address.to_string())
        },
    },
    Key {
        name: "kubernetes.pods",
        otel: None,
        allowed: "the URL of a list of pods, http://… or https://…, or nothing",
        about: "Where names and labels of pods come from: a kubelet's https://127.0.0.1:10250/pods, or the API server's /api/v1/pods?fieldSelector=spec.nodeName%3DNAME. Without it nobody is asked.",
        set: |config, text| {
            config.pods.url = url(text)?;
            Some(())
        },
        get: |config| config.pods.url.clone().unwrap_or_default(),
    },
    Key {
        name: "kubernetes.token_file",
        otel: None,
        allowed: "an absolute path",
        about: "The token that is shown there, if the file exists.",
        set: |config, text| absolute(text).map(|path| config.pods.token_file = path),
        get: |config| config.pods.token_file.display().to_string(),
    },
    Key {
        name: "kubernetes.ca_file",
        otel: None,
        allowed: "an absolute path",
        about: "The authorities that are believed there; where the file does not exist, those of the system.",
        set: |config, text| absolute(text).map(|path| config.pods.ca_file = path),
        get: |config| config.pods.ca_file.display().to_string(),
    },
    Key {
        name: "log.level",
        otel: None,
        allowed: "off, error, warn, info, debug or trace",
        about: "What is logged.",
        set: |config, text| text.parse().ok().map(|level| config.log_level = level),
        get: |config| config.log_level.to_string().to_ascii_lowercase(),
    },
    Key {
        name: "log.format",
        otel: None,
        allowed: "text or json",
        about: "How it is logged. Taken at start only.",
        set: |config, text| {
            config.log_json = match text {
                "json" => true,
                "text" => false,
                _ => return None,
            };
            Some(())
        },
        get: |config| if config.log_json { "json" } else { "text" }.to_owned(),
    },
];

/// A URL, or nothing; `None` for what is neither.
fn url(text: &str) -> Option<Option<String>> {
    if text.is_empty() {
        return Some(None);
    }
    let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"))?;
    (!rest.is_empty()).then(|| Some(text.to_owned()))
}

fn absolute(text: &str) -> Option<PathBuf> {
    let path = PathBuf::from(text);
    path.is_absolute().then_some(path)
}
