use std::time::Duration;

use super::*;
use crate::flags::Flag;
use crate::sink::SignalSettings;

fn load(text: &str, env: &[(&str, &str)], flags: Vec<(String, String, &'static str)>) -> Result<Loaded, ConfigError> {
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
fn thresholds_of_flags() {
    let file = "[flags.host_cpu]\nwarn = 0.7\n[flags.idle]\nenabled = false\n\
        [servers.\"a.b\".flags.slow_tool_calls]\nwarn = 250\n[tools.\"a.b/t\".flags.slow_tool_calls]\nwarn = 9";
    let flags = vec![("flags.host_cpu.clear".to_owned(), "0.2".to_owned(), "--set")];
    let loaded = load(file, &[("MCPSONAR_FLAGS_HOST_CPU_WARN", "0.75")], flags).unwrap();
    let levels = loaded.config.levels();
    let host = levels.of(Flag::HostCpu, None, None);
    assert_eq!((host.warn, host.clear), (0.75, 0.2));
    assert!(!levels.of(Flag::Idle, None, None).enabled);
    let slow = |tool| levels.of(Flag::SlowToolCalls, Some("a.b"), Some(tool)).warn;
    assert_eq!((slow("x"), slow("t")), (250.0, 9.0));
    let shown: Vec<_> = loaded
        .shown_flags()
        .map(|(name, value, _)| format!("{name}={value}"))
        .collect();
    assert!(
        shown.contains(&"servers.a.b.flags.slow_tool_calls.warn=250".to_owned()),
        "{shown:?}"
    );
    for (file, part) in [
        (
            "[flags.host_cup]\nwarn = 0.7",
            "flags.host_cup: there is no flag of this name; the nearest is host_cpu",
        ),
        (
            "[flags.host_cpu]\nwarn = 7",
            "flags.host_cpu.warn = 7: must be a number from 0 to 1",
        ),
        ("[flags.host_cpu]\nwarn = 'x'", "data did not match"),
    ] {
        let error = load(file, &[], vec![]).unwrap_err().to_string();
        assert!(error.contains(part) && error.contains("/tmp"), "{error}");
    }
    let wrong = vec![("flags.idle.enabled".to_owned(), "maybe".to_owned(), "--set")];
    let error = load("", &[], wrong).unwrap_err().to_string();
    assert!(
        error.contains("flag: --set") && error.contains("true, false or a number"),
        "{error}"
    );
}

#[test]
fn later_sources_win() {
    let env = [
        ("MCPSONAR_HISTORY_MAX_AGE", "2d"),
        ("MCPSONAR_HISTORY_SLOW", "3s"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://a:4317"),
    ];
    let flags = vec![("history.slow".to_owned(), "4s".to_owned(), "--slow")];
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
        "otlp.protocol = \"http/json\": allowed: grpc or http/protobuf; http/json is not spoken",
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
fn the_documentation_has_every_standard_variable() {
    let page = include_str!("../../../docs/otlp.md");
    for key in keys() {
        let Some(variable) = key.otel else { continue };
        let line = format!("| `{variable}` | `{}` |\n", key.name);
        assert!(page.contains(&line), "docs/otlp.md lacks\n{line}");
    }
}

#[test]
fn standard_variables_mean_what_they_mean_elsewhere() {
    let env = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://c:4318"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://t/x"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "api-key=a%20b"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "2500"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/ca.pem"),
        ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "api-key=spans"),
        ("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "none"),
        ("OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", "/t.pem"),
        ("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "grpc"),
        ("OTEL_EXPORTER_OTLP_METRICS_TIMEOUT", "100"),
        ("OTEL_EXPORTER_OTLP_METRICS_CLIENT_CERTIFICATE", "/m.crt"),
        ("OTEL_EXPORTER_OTLP_METRICS_CLIENT_KEY", "/m.key"),
        (
            "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION",
            "base2_exponential_bucket_histogram",
        ),
        ("OTEL_TRACES_SAMPLER", "traceidratio"),
        ("OTEL_TRACES_SAMPLER_ARG", "0.25"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "99"),
        ("OTEL_BSP_SCHEDULE_DELAY", "100"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "5000"),
        ("OTEL_RESOURCE_ATTRIBUTES", "team=a,env=b%2Cc"),
        ("OTEL_SERVICE_NAME", "watcher"),
        ("OTEL_EXPORTER_OTLP_INSECURE", "True"),
        ("OTEL_EXPORTER_OTLP_METRICS_INSECURE", "false"),
        ("OTEL_TRACES_EXPORTER", "otlp"),
        ("OTEL_METRICS_EXPORTER", "otlp"),
        ("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "Delta"),
    ];
    let loaded = load("", &env, vec![]).unwrap();
    let otlp = &loaded.config.otlp;
    let pairs = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        pairs.iter().map(owned).collect()
    };
    let expected = OtlpSettings {
        endpoint: Some("https://c:4318".to_owned()),
        traces_only: SignalSettings {
            endpoint: Some("https://t/x".to_owned()),
            headers: Some(pairs(&[("api-key", "spans")])),
            gzip: Some(false),
            certificate: Some("/t.pem".into()),
            ..SignalSettings::default()
        },
        metrics_only: SignalSettings {
            protocol: Some(crate::sink::OtlpProtocol::Grpc),
            timeout: Some(Duration::from_millis(100)),
            insecure: Some(false),
            client_certificate: Some("/m.crt".into()),
            client_key: Some("/m.key".into()),
            ..SignalSettings::default()
        },
        insecure: true,
        metrics: true,
        temporality: crate::metrics::Temporality::Delta,
        exponential: true,
        protocol: crate::sink::OtlpProtocol::Http,
        headers: pairs(&[("api-key", "a b")]),
        timeout: Duration::from_millis(2500),
        gzip: true,
        certificate: Some("/ca.pem".into()),
        sampler: crate::sink::Sampler::Ratio,
        ratio: 0.25,
        queue: 99,
        delay: Duration::from_millis(100),
        interval: Duration::from_secs(5),
        resource: pairs(&[("team", "a"), ("env", "b,c")]),
        service_name: Some("watcher".to_owned()),
        ..OtlpSettings::default()
    };
    assert_eq!(*otlp, expected);
    for name in ["otlp.headers", "otlp.traces_headers"] {
        let shown = loaded.shown().find(|(key, ..)| key.name == name).unwrap();
        assert_eq!(shown.1, "api-key=***");
    }
    let wrong = [
        ("OTEL_TRACES_SAMPLER", "jaeger_remote"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "secret"),
        ("OTEL_EXPORTER_OTLP_METRICS_HEADERS", "secret"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "0"),
        ("OTEL_TRACES_EXPORTER", "zipkin"),
        ("OTEL_METRICS_EXPORTER", "console"),
        ("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "LowMemory"),
        ("OTEL_EXPORTER_OTLP_TRACES_INSECURE", "perhaps"),
        ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "collector"),
    ];
    let message = load("", &wrong, vec![]).unwrap_err().to_string();
    for part in [
        "environment: OTEL_TRACES_SAMPLER: otlp.sampler = \"jaeger_remote\": allowed: always_on",
        "environment: OTEL_BSP_MAX_QUEUE_SIZE: otlp.queue = \"0\"",
        "otlp.headers = \"***\"",
        "otlp.metrics_headers = \"***\"",
        "OTEL_TRACES_EXPORTER: otlp.traces = \"zipkin\": allowed: otlp or none",
        "otlp.metrics = \"console\": allowed: off, cumulative or delta; in the OTEL variable none, otlp",
        "otlp.temporality = \"LowMemory\": allowed: cumulative or delta; lowmemory is not to be had",
        "otlp.traces_insecure = \"perhaps\": allowed: true or false",
        "otlp.metrics_endpoint = \"collector\": allowed: the URL of a collector",
    ] {
        assert!(message.contains(part), "{part} is not in {message}");
    }
    assert!(!message.contains("secret"), "{message}");
}

#[test]
fn exporters_that_are_turned_off_and_forms_that_are_said_twice() {
    let otlp = |file: &str, env: &[(&str, &str)]| load(file, env, vec![]).unwrap().config.otlp;
    let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://h");
    assert!(otlp("", &[endpoint]).is_on());
    assert!(!otlp("", &[endpoint, ("OTEL_TRACES_EXPORTER", "none")]).is_on());
    for off in ["none", "prometheus"] {
        let settings = otlp("[otlp]\nmetrics = 'delta'", &[endpoint, ("OTEL_METRICS_EXPORTER", off)]);
        assert!(!settings.metrics, "{off}");
    }
    let preference = ("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "delta");
    let delta = crate::metrics::Temporality::Delta;
    let settings = otlp("", &[endpoint, preference]);
    assert!(!settings.metrics, "a form alone turns nothing on");
    let settings = otlp("[otlp]\nmetrics = 'otlp'", &[endpoint, preference]);
    assert!(settings.metrics && settings.temporality == delta);
    let settings = otlp("", &[preference, ("MCPSONAR_OTLP_METRICS", "cumulative")]);
    assert!(settings.temporality != delta, "our own variable wins");
}

#[test]
fn a_collector_without_a_scheme_is_for_grpc() {
    let nameless = ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4317");
    let settings = load("", &[nameless, ("OTEL_EXPORTER_OTLP_INSECURE", "true")], vec![]).unwrap();
    assert!(settings.config.otlp.insecure);
    let over_http = [nameless, ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")];
    let message = load("", &over_http, vec![]).unwrap_err().to_string();
    let expected = "environment: OTEL_EXPORTER_OTLP_ENDPOINT: otlp.endpoint = \"collector:4317\": allowed: with http/protobuf a URL";
    assert!(message.contains(expected), "{message}");
}
