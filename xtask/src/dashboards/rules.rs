//! The alert and recording rules: promtool checks them, and runs their tests.

use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::{apt, repo, sh};

/// Debian's package of promtool.
const PACKAGE: &str = "prometheus";

/// Makes sure that there is a promtool.
pub(crate) fn for_test() -> Result<()> {
    promtool().map(|_| ())
}

/// Checks dashboards/alerts.yml and runs dashboards/alerts.test.yml.
pub(crate) fn test() -> Result<()> {
    let folder = repo::root().join("dashboards");
    let promtool = promtool()?;
    for (verb, file) in [("check", "alerts.yml"), ("test", "alerts.test.yml")] {
        sh::run(sh::cmd(&promtool).current_dir(&folder).args([verb, "rules", file]))
            .with_context(|| format!("dashboards/{file} is not right; promtool says above why"))?;
    }
    Ok(())
}

/// promtool: the system's, else unpacked from Debian's package, whose installation would start a server.
fn promtool() -> Result<PathBuf> {
    apt::program("promtool", PACKAGE).context(
        "the alert rules are checked with promtool, which comes with Prometheus: put it on PATH, then run this again",
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;

    use super::super::{Catalog, promql};
    use super::*;

    fn read(path: &str) -> String {
        fs::read_to_string(repo::root().join(path)).unwrap()
    }

    /// What stands behind `key:` on each line that has it.
    fn values<'a>(text: &'a str, key: &str) -> Vec<&'a str> {
        let lines = text.lines().map(|line| line.trim_start().trim_start_matches("- "));
        lines
            .filter_map(|line| line.strip_prefix(key)?.strip_prefix(": "))
            .collect()
    }

    #[test]
    fn every_rule_is_of_what_the_agent_has() {
        let (rules, catalog) = (read("dashboards/alerts.yml"), Catalog::read().unwrap());
        let expressions = values(&rules, "expr");
        assert_eq!(
            expressions.len(),
            values(&rules, "alert").len() + values(&rules, "record").len()
        );
        for expression in expressions {
            promql::check(expression, &catalog).unwrap();
        }
        for recorded in values(&rules, "record") {
            assert!(recorded.matches(':').count() == 2, "{recorded}: level:metric:operation");
        }
    }

    #[test]
    fn every_alert_has_a_severity_a_runbook_and_two_tests() {
        let (rules, tests) = (read("dashboards/alerts.yml"), read("dashboards/alerts.test.yml"));
        let runbooks = read("docs/runbooks.md");
        let alerts = values(&rules, "alert");
        assert_eq!(alerts.iter().collect::<BTreeSet<_>>().len(), alerts.len());
        assert_eq!(alerts.len(), values(&rules, "labels").len());
        let links = values(&rules, "runbook_url");
        assert_eq!(links.len(), alerts.len());
        for (alert, link) in alerts.iter().zip(links) {
            assert!(
                link.ends_with(&format!("docs/runbooks.md#{}", alert.to_lowercase())),
                "{link}"
            );
            assert!(
                runbooks.contains(&format!("\n## {alert}\n")),
                "docs/runbooks.md has no section {alert}"
            );
            for way in ["fires", "does not fire"] {
                let name = format!("- name: {alert} {way}\n");
                assert!(
                    tests.contains(&name),
                    "dashboards/alerts.test.yml does not show that {alert} {way}"
                );
            }
        }
    }
}
