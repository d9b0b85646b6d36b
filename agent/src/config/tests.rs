use std::time::Duration;

use super::*;

fn load(
    text: &str,
    env: &[(&str, &str)],
    flags: Vec<(&'static str, String, &'static str)>,
) -> Result<Loaded, ConfigError> {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), text).unwrap();
    let inputs = Inputs {
        file: Some(file.path().to_owned()),
        flags,
    };
    inputs.load(|name| {
        env.iter()
            .find(|(known, _)| *known == name)
            .map(|(_, value)| (*value).to_owned())
    })
}

#[test]
fn later_sources_win() {
    let env = [
        ("MCPSONAR_HISTORY_MAX_AGE", "2d"),
        ("MCPSONAR_HISTORY_SLOW", "3s"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://a:4317"),
    ];
    let flags = vec![("history.slow", "4s".to_owned(), "--slow")];
    let loaded = load("[history]\nmax_age = '1d'\nslow = '1s'\nsample = 0.5", &env, flags).unwrap();
    let limits = loaded.config.limits;
    assert_eq!(limits.max_age, Duration::from_secs(2 * 86_400));
    assert_eq!((limits.slow, limits.sample_ratio), (Duration::from_secs(4), 0.5));
    assert_eq!(loaded.config.otlp.endpoint.as_deref(), Some("http://a:4317"));
    let sources: Vec<_> = loaded.shown().map(|(_, _, source)| source.to_string()).collect();
    assert!(
        sources
            .iter()
            .any(|source| source == "environment: OTEL_EXPORTER_OTLP_ENDPOINT")
    );
    assert!(sources.iter().any(|source| source == "flag: --slow"));
    let env = [("OTEL_SDK_DISABLED", "true"), env[2], ("MCPSONAR_LOG_LEVEL", "")];
    assert_eq!(load("", &env, vec![]).unwrap().config, Config::default());
}

#[test]
fn all_mistakes_at_once_with_key_value_and_what_is_allowed() {
    let text = "[history]\nmax_size = '1MiB'\nnope = 1\nsample = 2\n[log]\nformat = 'xml'";
    let error = load(text, &[("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json")], vec![]).unwrap_err();
    assert_eq!(error.0.len(), 5, "{error}");
    let message = error.to_string();
    for part in [
        "history.max_size = \"1MiB\": allowed: at least 4MiB",
        "there is no key history.nope",
        "history.sample = \"2\"",
        "otlp.protocol = \"http/json\": allowed: grpc or http/protobuf",
    ] {
        assert!(message.contains(part), "{part} is not in {message}");
    }
    assert!(matches!(
        load("x = [", &[], vec![]).unwrap_err().0[0],
        Problem::Syntax { .. }
    ));
    let missing = Inputs {
        file: Some("/nowhere/at/all".into()),
        flags: vec![],
    };
    assert!(matches!(missing.load(|_| None).unwrap_err().0[0], Problem::File { .. }));
}

#[test]
fn what_is_shown_can_be_set() {
    let loaded = Loaded::default();
    for (key, shown, source) in loaded.shown() {
        assert_eq!(source, Source::Default);
        let mut config = Config::default();
        assert!((key.set)(&mut config, &shown).is_some(), "{}", key.name);
        assert_eq!(config, Config::default(), "{}", key.name);
    }
}

#[test]
fn the_documentation_has_every_key() {
    let page = include_str!("../../../docs/agent.md");
    let mut lacking = String::new();
    for (key, value, _) in Loaded::default().shown() {
        let value = if value.is_empty() {
            "none".to_owned()
        } else {
            format!("`{value}`")
        };
        let line = format!("| `{}` | {value} | {} | {} |\n", key.name, key.allowed, key.about);
        if !page.contains(&line) {
            lacking.push_str(&line);
        }
    }
    assert!(lacking.is_empty(), "docs/agent.md lacks\n{lacking}");
}
