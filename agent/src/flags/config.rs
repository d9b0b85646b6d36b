//! Thresholds as an operator sets them.

use std::collections::BTreeMap;

use mcp_proto::Nanos;
use serde::{Deserialize, Serialize};

use super::{Definition, Flag, Level, Levels, Threshold, definition, definitions};

/// Settings of flags, for all servers and for some.
///
/// ```json
/// {"flags": {"host_cpu": {"warn": 0.9}, "idle": {"enabled": false}},
///  "servers": {"files": {"flags": {"slow_tool_calls": {"warn": 250}}}},
///  "tools": {"search": {"flags": {"slow_tool_calls": {"warn": 2000}}}, "files/read": {"flags": {}}}}
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FlagsConfig {
    /// For all, by code of the flag.
    pub flags: BTreeMap<String, FlagConfig>,
    /// For servers, by their name.
    pub servers: BTreeMap<String, ScopeConfig>,
    /// For tools, by `TOOL` or `SERVER/TOOL`.
    pub tools: BTreeMap<String, ScopeConfig>,
}

/// Settings for one server or tool.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ScopeConfig {
    /// By code of the flag.
    pub flags: BTreeMap<String, FlagConfig>,
}

/// Settings of one flag by their key: `enabled`, `warn`, `critical`, `clear`, `raise`, `of`, `calm`
/// `quiet_s` and the flag's own parameters.
pub type FlagConfig = BTreeMap<String, Setting>;

/// One setting.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Setting {
    /// On or off.
    Switch(bool),
    /// A figure.
    Number(f64),
}

/// A setting that makes no sense.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ConfigError {
    /// No such flag.
    #[error("{at}: there is no flag of this name; the nearest is {nearest}, and docs/flags.md lists all")]
    NoFlag {
        /// Where.
        at: String,
        /// The one that may be meant.
        nearest: &'static str,
    },
    /// The flag has no such setting.
    #[error("{at}: {flag} has no such setting; it has {allowed}")]
    NoSetting {
        /// Where.
        at: String,
        /// The flag.
        flag: &'static str,
        /// What it has.
        allowed: String,
    },
    /// A value that is not allowed.
    #[error("{at} = {value}: {allowed}")]
    Value {
        /// Where.
        at: String,
        /// What it says.
        value: String,
        /// What it may say.
        allowed: String,
    },
}

impl ConfigError {
    /// Where: the dotted name of the flag or of its setting.
    #[must_use]
    pub fn at(&self) -> &str {
        match self {
            Self::NoFlag { at, .. } | Self::NoSetting { at, .. } | Self::Value { at, .. } => at,
        }
    }
}

impl FlagsConfig {
    /// The value of a setting by its dotted name, as it was written.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<String> {
        let mut scoped = [("servers.", &self.servers), ("tools.", &self.tools)].into_iter();
        let (flags, rest) = match name.strip_prefix("flags.") {
            Some(rest) => (&self.flags, rest),
            None => scoped.find_map(|(prefix, scopes)| {
                let rest = name.strip_prefix(prefix)?;
                scopes.iter().find_map(|(scope, settings)| {
                    let rest = rest.strip_prefix(scope.as_str())?.strip_prefix(".flags.")?;
                    Some((&settings.flags, rest))
                })
            })?,
        };
        let (code, key) = rest.split_once('.')?;
        Some(match flags.get(code)?.get(key)? {
            Setting::Switch(on) => on.to_string(),
            Setting::Number(number) => number.to_string(),
        })
    }

    /// The thresholds that these settings make.
    ///
    /// # Errors
    /// At the first setting that makes no sense, with its place and what is allowed there.
    pub fn levels(&self) -> Result<Levels, ConfigError> {
        let mut levels = Levels::default();
        apply(&self.flags, "flags", &mut levels.all)?;
        for (server, scope) in &self.servers {
            let mut own = levels.all.clone();
            apply(&scope.flags, &format!("servers.{server}.flags"), &mut own)?;
            levels.servers.insert(server.clone(), own);
        }
        for (tool, scope) in &self.tools {
            let server = tool.rsplit_once('/').map(|(server, _)| server);
            let mut own = server
                .and_then(|server| levels.servers.get(server))
                .unwrap_or(&levels.all)
                .clone();
            apply(&scope.flags, &format!("tools.{tool}.flags"), &mut own)?;
            levels.tools.insert(tool.clone(), own);
        }
        Ok(levels)
    }
}

fn apply(flags: &BTreeMap<String, FlagConfig>, at: &str, levels: &mut [Level]) -> Result<(), ConfigError> {
    for (code, settings) in flags {
        let at = format!("{at}.{code}");
        let Some(flag) = Flag::from_code(code) else {
            return Err(ConfigError::NoFlag {
                at,
                nearest: nearest(code),
            });
        };
        set(settings, &at, definition(flag), &mut levels[flag as usize])?;
    }
    Ok(())
}

fn set(settings: &FlagConfig, at: &str, definition: &Definition, level: &mut Level) -> Result<(), ConfigError> {
    let before = *level;
    for (key, &setting) in settings {
        let at = format!("{at}.{key}");
        let range = definition.threshold.range;
        let number = |range| number(&at, setting, range);
        match key.as_str() {
            "enabled" => match setting {
                Setting::Switch(enabled) => level.enabled = enabled,
                Setting::Number(value) => return Err(wrong(&at, value, "must be true or false")),
            },
            "warn" => level.warn = number(range)?,
            "critical" => level.critical = Some(number(range)?),
            "clear" => level.clear = number((0.0, f64::MAX))?,
            "raise" => level.raise = whole(&at, setting)?,
            "of" => level.of = whole(&at, setting)?,
            "calm" => level.calm = whole(&at, setting)?,
            "quiet_s" => level.quiet = seconds(number((1.0, 604_800.0))?),
            key => match definition.parameters.iter().position(|parameter| parameter.key == key) {
                Some(position) => level.parameters[position] = number(definition.parameters[position].range)?,
                None => {
                    return Err(ConfigError::NoSetting {
                        at,
                        flag: definition.code,
                        allowed: keys(definition),
                    });
                }
            },
        }
    }
    follow(settings, &before, definition, level);
    check(at, level)
}

/// A threshold that is moved takes those along that were not set.
fn follow(settings: &FlagConfig, before: &Level, definition: &Definition, level: &mut Level) {
    let factor = level.warn / before.warn;
    if !settings.contains_key("clear") {
        level.clear = before.clear * factor;
    }
    if !settings.contains_key("critical") {
        let (least, most) = definition.threshold.range;
        level.critical = before.critical.map(|critical| (critical * factor).clamp(least, most));
    }
    if !settings.contains_key("of") {
        level.of = level.of.max(level.raise);
    }
}

fn check(at: &str, level: &Level) -> Result<(), ConfigError> {
    let side = match level.sense {
        super::Sense::Above => "below",
        super::Sense::Below => "above",
    };
    if Threshold::is_passed(level.sense, level.warn, level.clear) {
        let allowed = format!("must be {side} warn, which is {}", level.warn);
        return Err(wrong(&format!("{at}.clear"), level.clear, &allowed));
    }
    if let Some(critical) = level.critical
        && !Threshold::is_passed(level.sense, level.warn, critical)
    {
        let allowed = format!("must not be {side} warn, which is {}", level.warn);
        return Err(wrong(&format!("{at}.critical"), critical, &allowed));
    }
    if level.raise > level.of {
        let allowed = format!("must be at most `of`, which is {}", level.of);
        return Err(wrong(&format!("{at}.raise"), level.raise, &allowed));
    }
    Ok(())
}

fn number(at: &str, setting: Setting, (least, most): (f64, f64)) -> Result<f64, ConfigError> {
    let allowed = if most >= f64::MAX {
        format!("must be a number from {least} up")
    } else {
        format!("must be a number from {least} to {most}")
    };
    match setting {
        Setting::Number(value) if (least..=most).contains(&value) => Ok(value),
        Setting::Number(value) => Err(wrong(at, value, &allowed)),
        Setting::Switch(value) => Err(wrong(at, value, &allowed)),
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "whole and 1 to 32"
)]
fn whole(at: &str, setting: Setting) -> Result<u8, ConfigError> {
    let value = number(at, setting, (1.0, 32.0))?;
    if value.fract() == 0.0 {
        Ok(value as u8)
    } else {
        Err(wrong(at, value, "must be a whole number from 1 to 32"))
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "up to a week, positive"
)]
fn seconds(value: f64) -> Nanos {
    (value * 1e9) as Nanos
}

fn wrong(at: &str, value: impl std::fmt::Display, allowed: &str) -> ConfigError {
    ConfigError::Value {
        at: at.to_owned(),
        value: value.to_string(),
        allowed: allowed.to_owned(),
    }
}

fn keys(definition: &Definition) -> String {
    let mut keys = vec!["enabled", "warn", "critical", "clear", "raise", "of", "calm", "quiet_s"];
    keys.extend(definition.parameters.iter().map(|parameter| parameter.key));
    keys.join(", ")
}

/// The code that shares most pairs of letters with `code`.
fn nearest(code: &str) -> &'static str {
    let shared = |other: &str| {
        let pairs = other.as_bytes().windows(2);
        pairs
            .filter(|pair| code.as_bytes().windows(2).any(|own| own == *pair))
            .count()
    };
    definitions()
        .map(|definition| definition.code)
        .max_by_key(|other| (shared(other), usize::MAX - other.len()))
        .unwrap_or("host_cpu")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn levels(json: &str) -> Result<Levels, ConfigError> {
        serde_json::from_str::<FlagsConfig>(json).unwrap().levels()
    }

    #[test]
    fn the_narrowest_applies() {
        let levels = levels(
            r#"{"flags": {"slow_tool_calls": {"warn": 50}, "idle": {"enabled": false}},
                "servers": {"s": {"flags": {"slow_tool_calls": {"warn": 200, "raise": 2}}}},
                "tools": {"t": {"flags": {"slow_tool_calls": {"warn": 300}}}, "s/u": {"flags": {"scale_out": {"cpu": 0.5}}}}}"#,
        )
        .unwrap();
        let of = |server, tool| levels.of(Flag::SlowToolCalls, server, tool);
        assert_eq!((of(None, None).warn, of(Some("x"), Some("y")).warn), (50.0, 50.0));
        assert_eq!(
            (of(Some("s"), Some("y")).warn, of(Some("s"), Some("y")).raise),
            (200.0, 2)
        );
        assert_eq!(of(Some("s"), Some("t")).warn, 300.0);
        assert_eq!(of(Some("s"), Some("u")).warn, 200.0, "built on its server's");
        assert_eq!(levels.of(Flag::ScaleOut, Some("s"), Some("u")).parameter("cpu"), 0.5);
        assert_eq!(levels.of(Flag::ScaleOut, Some("s"), None).parameter("cpu"), 0.8);
        assert!(!levels.of(Flag::Idle, Some("s"), None).enabled);
        assert_eq!(
            (of(None, None).clear, of(None, None).critical),
            (45.0, Some(1000.0)),
            "they follow"
        );
    }

    #[test]
    fn errors_name_key_value_and_what_is_allowed() {
        for (json, message) in [
            (
                r#"{"flags":{"hosts_cpu":{}}}"#,
                "flags.hosts_cpu: there is no flag of this name; the nearest is host_cpu",
            ),
            (
                r#"{"flags":{"host_cpu":{"warn":1.4}}}"#,
                "flags.host_cpu.warn = 1.4: must be a number from 0 to 1",
            ),
            (
                r#"{"flags":{"host_cpu":{"warn":true}}}"#,
                "flags.host_cpu.warn = true: must be a number",
            ),
            (
                r#"{"flags":{"idle":{"enabled":1}}}"#,
                "flags.idle.enabled = 1: must be true or false",
            ),
            (
                r#"{"servers":{"a":{"flags":{"idle":{"x":1}}}}}"#,
                "servers.a.flags.idle.x: idle has no such setting; it has enabled, warn",
            ),
            (
                r#"{"tools":{"t":{"flags":{"host_cpu":{"clear":0.9}}}}}"#,
                "tools.t.flags.host_cpu.clear = 0.9: must be below warn, which is 0.8",
            ),
            (
                r#"{"flags":{"host_cpu":{"critical":0.5}}}"#,
                "flags.host_cpu.critical = 0.5: must not be below warn",
            ),
            (
                r#"{"flags":{"host_cpu":{"raise":6,"of":5}}}"#,
                "flags.host_cpu.raise = 6: must be at most `of`",
            ),
            (
                r#"{"flags":{"host_cpu":{"calm":1.5}}}"#,
                "flags.host_cpu.calm = 1.5: must be a whole number",
            ),
        ] {
            let error = levels(json).unwrap_err().to_string();
            assert!(error.starts_with(message), "{json}: {error}");
        }
        assert!(serde_json::from_str::<FlagsConfig>(r#"{"flagz":{}}"#).is_err());
    }

    #[test]
    fn every_default_can_be_written_out() {
        for definition in definitions() {
            let mut settings = FlagConfig::new();
            settings.insert("warn".into(), Setting::Number(definition.threshold.warn));
            let config = FlagsConfig {
                flags: BTreeMap::from([(definition.code.to_owned(), settings)]),
                ..FlagsConfig::default()
            };
            assert_eq!(config.levels(), Ok(Levels::default()), "{}", definition.code);
        }
    }
}
