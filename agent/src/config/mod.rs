//! The configuration of the agent: defaults, a TOML file, the environment and flags, later ones
//! above earlier ones, into one value that is checked as a whole.

mod flag_keys;
mod keys;
mod otlp_keys;
mod page;
mod problem;
mod route_keys;
mod value;

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use crate::flags::{FlagsConfig, Levels};
use crate::history::Limits;
use crate::sink::{DEFAULT_PROMETHEUS_ADDRESS, OtlpSettings};

pub use keys::keys;
pub use page::page;
pub use problem::{ConfigError, Problem};
pub use value::duration;

/// Where the file is looked for when none is named.
pub const DEFAULT_FILE: &str = "/etc/mcpsonar/config.toml";

/// What the agent does.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The socket of the API.
    pub socket_path: PathBuf,
    /// The group that may use it, if there is one of that name.
    pub socket_group: String,
    /// Whether a history is kept.
    pub history: bool,
    /// Its file.
    pub history_path: PathBuf,
    /// How much of it, and what.
    pub limits: Limits,
    /// What goes to a collector, and how.
    pub otlp: OtlpSettings,
    /// Where metrics are served.
    pub prometheus_address: Option<SocketAddr>,
    /// Where pods are asked for.
    pub pods: PodsConfig,
    /// Settings of flags.
    pub flags: FlagsConfig,
    /// What is logged.
    pub log_level: log::LevelFilter,
    /// As JSON.
    pub log_json: bool,
}

/// Whom to ask for the pods of this host, and as whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodsConfig {
    /// The URL of a list of pods: of a kubelet (`https://127.0.0.1:10250/pods`) or of the API server.
    pub url: Option<String>,
    /// The file with the token to show, if there is one: read each time, for it is renewed.
    pub token_file: PathBuf,
    /// The file with the certificates of authorities that are believed, else those of the system.
    pub ca_file: PathBuf,
}

impl Default for PodsConfig {
    /// Nobody is asked; the files are where Kubernetes puts them.
    fn default() -> Self {
        let file = |name| Path::new("/var/run/secrets/kubernetes.io/serviceaccount").join(name);
        Self {
            url: None,
            token_file: file("token"),
            ca_file: file("ca.crt"),
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            socket_path: "/run/mcpsonar/mcpsonar.sock".into(),
            socket_group: "mcpsonar".to_owned(),
            history: true,
            history_path: "/var/lib/mcpsonar/history.db".into(),
            limits: Limits::default(),
            otlp: OtlpSettings::default(),
            prometheus_address: DEFAULT_PROMETHEUS_ADDRESS.parse().ok(),
            pods: PodsConfig::default(),
            flags: FlagsConfig::default(),
            log_level: log::LevelFilter::Info,
            log_json: false,
        }
    }
}

/// One thing that can be configured.
#[derive(Debug)]
pub struct Key {
    /// `table.key` in the file.
    pub name: &'static str,
    /// OpenTelemetry's variable of the same meaning.
    pub otel: Option<&'static str>,
    /// What values it takes.
    pub allowed: &'static str,
    /// What it does.
    pub about: &'static str,
    set: fn(&mut Config, &str) -> Option<()>,
    get: fn(&Config) -> String,
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Nowhere: it is as built.
    Default,
    /// A file.
    File(PathBuf),
    /// A variable of the environment.
    Environment(String),
    /// The command line.
    Flag(&'static str),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Environment(name) => write!(f, "environment: {name}"),
            Self::Flag(name) => write!(f, "flag: {name}"),
        }
    }
}

/// A configuration, and where each of its values comes from.
#[derive(Clone, Debug, Default)]
pub struct Loaded {
    /// The values.
    pub config: Config,
    sources: BTreeMap<&'static str, Source>,
    /// Of settings of flags, by their dotted names.
    flag_sources: BTreeMap<String, Source>,
}

/// What a configuration is made of: kept, so that it can be made again.
#[derive(Clone, Debug, Default)]
pub struct Inputs {
    /// The file; without one the default file, if it is there.
    pub file: Option<PathBuf>,
    /// Key, value and name of each flag.
    pub flags: Vec<(String, String, &'static str)>,
}

impl Inputs {
    /// Puts it together, with the variables of the environment that `env` knows.
    ///
    /// # Errors
    /// All mistakes at once.
    pub fn load(&self, env: impl Fn(&str) -> Option<String>) -> Result<Loaded, ConfigError> {
        let mut loaded = Loaded::default();
        let mut problems = Vec::new();
        match self.read_file() {
            Ok(Some((path, mut table))) => {
                loaded.take_flags(&mut table, &path, &mut problems);
                let mut values = Vec::new();
                flatten("", &table, &mut values);
                for (key, value) in values {
                    loaded.set(&key, &value, Source::File(path.clone()), &mut problems);
                }
            }
            Ok(None) => {}
            Err(problem) => problems.push(problem),
        }
        loaded.set_from_environment(keys(), &env, &mut problems);
        if is_disabled(&env) {
            let off = &mut loaded.config.otlp;
            (off.endpoint, off.traces_only.endpoint, off.metrics_only.endpoint) = (None, None, None);
            for key in ["otlp.endpoint", "otlp.traces_endpoint", "otlp.metrics_endpoint"] {
                let source = Source::Environment("OTEL_SDK_DISABLED".to_owned());
                loaded.sources.insert(key, source);
            }
        }
        for key in flag_keys::all() {
            let name = variable(&key);
            if let Some(value) = env(&name).filter(|value| !value.is_empty()) {
                loaded.set(&key, &value, Source::Environment(name), &mut problems);
            }
        }
        for (key, value, flag) in &self.flags {
            loaded.set(key, value, Source::Flag(flag), &mut problems);
        }
        problems.extend(loaded.endpoint_without_scheme());
        if let Err(error) = loaded.config.flags.levels() {
            problems.push(Problem::Flags {
                source_: loaded.source_of_flags(&error),
                message: error.to_string(),
            });
        }
        if problems.is_empty() {
            Ok(loaded)
        } else {
            Err(ConfigError(problems))
        }
    }

    fn read_file(&self) -> Result<Option<(PathBuf, Table)>, Problem> {
        let path = self.file.as_deref().unwrap_or(Path::new(DEFAULT_FILE));
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound && self.file.is_none() => return Ok(None),
            Err(source) => {
                let path = path.to_owned();
                return Err(Problem::File { path, source });
            }
        };
        let table = text.parse().map_err(|error: toml::de::Error| Problem::Syntax {
            path: path.to_owned(),
            message: error.to_string().trim_end().to_owned(),
        })?;
        Ok(Some((path.to_owned(), table)))
    }
}

/// What the environment alone says of the collector: for commands that take no file.
///
/// # Errors
/// All mistakes at once.
pub fn otlp_environment(env: impl Fn(&str) -> Option<String>) -> Result<OtlpSettings, ConfigError> {
    let mut loaded = Loaded::default();
    let mut problems = Vec::new();
    loaded.set_from_environment(otlp_keys::keys(), &env, &mut problems);
    if problems.is_empty() {
        Ok(loaded.config.otlp)
    } else {
        Err(ConfigError(problems))
    }
}

fn is_disabled(env: impl Fn(&str) -> Option<String>) -> bool {
    env("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"))
}

impl Config {
    /// The thresholds of flags. They were found right when the configuration was put together.
    #[must_use]
    pub fn levels(&self) -> Levels {
        self.flags.levels().unwrap_or_default()
    }
}

impl Loaded {
    fn set_from_environment(
        &mut self,
        keys: impl Iterator<Item = &'static Key>,
        env: &impl Fn(&str) -> Option<String>,
        problems: &mut Vec<Problem>,
    ) {
        // An empty variable is as good as none (OpenTelemetry, environment variables).
        let get = |name: &str| env(name).filter(|value| !value.is_empty());
        for key in keys {
            let own = variable(key.name);
            let standard = key.otel.and_then(|name| Some((name.to_owned(), get(name)?)));
            let found = get(&own).map(|value| (own, value)).or(standard);
            if let Some((name, value)) = found {
                self.set(key.name, &value, Source::Environment(name), problems);
            }
        }
    }

    fn set(&mut self, name: &str, value: &str, source: Source, problems: &mut Vec<Problem>) {
        if flag_keys::is_one(name) {
            return self.set_flag(name, value, source, problems);
        }
        let Some(key) = keys().find(|key| key.name == name) else {
            problems.push(Problem::Unknown {
                key: name.to_owned(),
                source_: source,
            });
            return;
        };
        if (key.set)(&mut self.config, value).is_some() {
            self.sources.insert(key.name, source);
        } else {
            problems.push(Problem::Value {
                key: key.name,
                // Headers are credentials as often as not.
                value: if key.name.ends_with("headers") { "***" } else { value }.to_owned(),
                source_: source,
                allowed: key.allowed,
            });
        }
    }

    /// What is right by itself and wrong together.
    fn endpoint_without_scheme(&self) -> Option<Problem> {
        let (key, value) = self.config.otlp.endpoint_without_scheme()?;
        Some(Problem::Value {
            key,
            value: value.to_owned(),
            source_: self.sources.get(key).cloned().unwrap_or(Source::Default),
            allowed: "with http/protobuf a URL with its scheme, http://… or https://…",
        })
    }

    /// Every key with its value and where that comes from.
    pub fn shown(&self) -> impl Iterator<Item = (&'static Key, String, Source)> {
        keys().map(|key| {
            let source = self.sources.get(key.name).cloned().unwrap_or(Source::Default);
            (key, (key.get)(&self.config), source)
        })
    }
}

/// A variable of the process's own environment.
#[must_use]
pub fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// `MCPSONAR_HISTORY_MAX_AGE` for `history.max_age`.
#[must_use]
pub fn variable(key: &str) -> String {
    format!("MCPSONAR_{}", key.replace('.', "_").to_ascii_uppercase())
}

/// Dotted keys and values as text.
fn flatten(prefix: &str, table: &Table, out: &mut Vec<(String, String)>) {
    for (name, value) in table {
        let key = if prefix.is_empty() {
            name.clone()
        } else {
            format!("{prefix}.{name}")
        };
        match value {
            Value::Table(table) => flatten(&key, table, out),
            Value::String(text) => out.push((key, text.clone())),
            other => out.push((key, other.to_string())),
        }
    }
}

#[cfg(test)]
mod tests;
