//! What has to hold of every dashboard.

use std::collections::BTreeSet;
use std::fs;

use serde_json::Value;

use super::{Catalog, all, model, promql};
use crate::repo;

fn dashboards() -> Vec<Value> {
    let catalog = Catalog::read().unwrap();
    all(&catalog).unwrap().iter().map(super::Dashboard::json).collect()
}

fn panels(dashboard: &Value) -> &[Value] {
    dashboard["panels"].as_array().unwrap()
}

#[test]
fn the_dashboards_in_the_repository_are_these() {
    super::main(&super::Args { check: true }).unwrap();
    let there = fs::read_dir(repo::root().join("dashboards")).unwrap();
    let there = there.filter(|entry| {
        entry
            .as_ref()
            .unwrap()
            .path()
            .extension()
            .is_some_and(|is| is == "json")
    });
    assert_eq!(
        there.count(),
        dashboards().len(),
        "a dashboard is there that nothing makes"
    );
}

#[test]
fn ids_are_unique() {
    let mut uids = BTreeSet::new();
    for dashboard in dashboards() {
        assert!(uids.insert(dashboard["uid"].as_str().unwrap().to_owned()));
        let ids: BTreeSet<_> = panels(&dashboard)
            .iter()
            .map(|panel| panel["id"].as_u64().unwrap())
            .collect();
        assert_eq!(ids.len(), panels(&dashboard).len());
    }
}

#[test]
fn titles_are_unique_within_a_dashboard() {
    for dashboard in dashboards() {
        let titles: BTreeSet<_> = panels(&dashboard)
            .iter()
            .map(|panel| panel["title"].as_str().unwrap())
            .collect();
        // A section may be called as a panel in it.
        let panels = panels(&dashboard).iter().filter(|panel| panel["type"] != "row").count();
        assert!(titles.len() >= panels, "{}", dashboard["title"]);
    }
}

#[test]
fn panels_do_not_overlap_and_stay_within_the_grid() {
    for dashboard in dashboards() {
        let mut taken = BTreeSet::new();
        for panel in panels(&dashboard) {
            let [x, y, w, h] = ["x", "y", "w", "h"].map(|side| panel["gridPos"][side].as_u64().unwrap());
            assert!(x + w <= u64::from(model::COLUMNS), "{}", panel["title"]);
            for cell in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
                assert!(taken.insert(cell), "{} overlaps at {cell:?}", panel["title"]);
            }
        }
    }
}

#[test]
fn every_figure_has_a_unit_of_grafanas() {
    let known = ["none", "s", "bytes", "Bps", "reqps", "ops", "percent", "percentunit"];
    for dashboard in all(&Catalog::read().unwrap()).unwrap() {
        for model::Panel { title, unit, .. } in dashboard.panels() {
            assert!(known.contains(unit), "{title}: {unit}");
        }
    }
}

#[test]
fn every_variable_is_used_and_every_used_one_is_there() {
    for dashboard in dashboards() {
        let queries: Vec<_> = panels(&dashboard)
            .iter()
            .flat_map(|panel| panel["targets"].as_array().into_iter().flatten())
            .flat_map(|target| [&target["expr"], &target["datasource"]["uid"]])
            .map(|text| text.as_str().unwrap().replace("$__", ""))
            .collect();
        let text = queries.join(" ");
        let variables = dashboard["templating"]["list"].as_array().unwrap();
        let names: Vec<_> = variables
            .iter()
            .map(|variable| variable["name"].as_str().unwrap())
            .collect();
        for name in &names {
            let used = text.contains(&format!("${name}")) || text.contains(&format!("${{{name}}}"));
            assert!(used, "{}: ${name} is not used", dashboard["title"]);
        }
        for used in text.split('$').skip(1) {
            let used: String = used
                .trim_start_matches('{')
                .chars()
                .take_while(char::is_ascii_alphabetic)
                .collect();
            assert!(
                names.contains(&used.as_str()),
                "{}: there is no ${used}",
                dashboard["title"]
            );
        }
    }
}

#[test]
fn links_lead_to_dashboards_that_are_there() {
    let all = dashboards();
    let there: BTreeSet<_> = all.iter().map(|dashboard| dashboard["uid"].as_str().unwrap()).collect();
    let mut links = 0;
    for panel in all.iter().flat_map(panels) {
        for link in panel["fieldConfig"]["defaults"]["links"]
            .as_array()
            .into_iter()
            .flatten()
        {
            let to = link["url"]
                .as_str()
                .unwrap()
                .strip_prefix("/d/")
                .unwrap()
                .split('?')
                .next()
                .unwrap();
            assert!(there.contains(to), "{to}");
            links += 1;
        }
    }
    assert!(links > 0);
}

#[test]
fn every_query_is_of_what_the_agent_has() {
    let catalog = Catalog::read().unwrap();
    for dashboard in all(&catalog).unwrap() {
        for panel in dashboard.panels() {
            assert_eq!(
                panel.kind == model::Kind::Text,
                panel.queries.is_empty(),
                "{}",
                panel.title
            );
            for query in &panel.queries {
                promql::check(&query.expr, &catalog).unwrap();
            }
        }
    }
}

#[test]
fn every_instrument_is_on_a_dashboard() {
    let catalog = Catalog::read().unwrap();
    let text: String = dashboards().iter().map(Value::to_string).collect();
    for instrument in &catalog.instruments {
        let name = instrument.prometheus.as_str();
        // Committed memory says little, its share of all CPUs is less telling than cores used, and the
        // client's own view is what mcp_request_duration_seconds shows where the client was seen.
        let left_out = [
            "process_memory_virtual_bytes",
            "process_cpu_utilization_ratio",
            "mcp_client_operation_duration_seconds",
            "mcp_client_session_duration_seconds",
        ];
        assert!(text.contains(name) != left_out.contains(&name), "{name}");
    }
}
