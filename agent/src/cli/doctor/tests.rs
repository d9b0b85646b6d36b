use super::{
    host::{chosen, is_older},
    *,
};

fn findings(hooks: Vec<HookStatus>) -> Findings {
    Findings {
        mcpsonar: "0",
        programs_embedded: true,
        host: HostFindings::gather(),
        hooks_error: None,
        hooks,
        tls: Vec::new(),
    }
}

fn hook(name: &str, tier: u8, on: bool) -> HookStatus {
    let reason = if on { "" } else { "refused" };
    HookStatus {
        name: name.to_owned(),
        tier,
        on,
        reason: reason.to_owned(),
        lost: "reads".to_owned(),
    }
}

#[test]
fn this_host() {
    let host = HostFindings::gather();
    assert!(host.kernel.is_some() && host.euid.is_some() && host.initial_pid_namespace.is_some());
    assert!(host.hidepid.is_some() && host.capabilities.len() == 6 && host.mounts.len() == 5);
    let json = serde_json::to_value(findings(vec![hook("a", 1, true)])).unwrap();
    assert!(json["kernel"].is_string() && json["hooks"][0]["tier"] == 1);
    assert!(json["capabilities"]["CAP_BPF"].is_boolean());
}

#[test]
fn parsing() {
    assert!(is_older("5.10.0-28-amd64", (5, 11)) && is_older("4.19", (5, 11)));
    assert!(!is_older("5.11.1", (5, 11)) && !is_older("6.1", (5, 11)) && !is_older("x", (5, 11)));
    assert_eq!(chosen("none [integrity] confidentiality"), "integrity");
    assert_eq!(chosen("?"), "?");
}

#[test]
fn the_table_of_hooks() {
    let mut hooks = vec![hook("exit", 0, true), hook("raw b", 2, true)];
    hooks.extend((0..20).map(|n| hook(&format!("fentry {n}"), 1, false)));
    let text = text::render(&findings(hooks));
    assert!(
        text.contains("  tier any  on\n            exit\n  tier 2    on\n            raw b\n"),
        "{text}"
    );
    assert_eq!(text.matches("tier 1    off: refused; lost: reads").count(), 1, "{text}");
    assert!(
        text.contains("            fentry 0, fentry 1,") && text.contains("fentry 19\n"),
        "{text}"
    );
    assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
    assert!(text.contains("tracing works, in tier 2"), "{text}");
    let none = Findings {
        hooks_error: Some("why".to_owned()),
        ..findings(vec![])
    };
    assert!(text::render(&none).contains("none: why"));
}
