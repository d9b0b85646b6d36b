//! Dashboards as Grafana's JSON model (schema 39, Grafana 10.4 and later).

use serde_json::{Value, json};

use super::promql;

/// Columns of Grafana's grid.
pub(crate) const COLUMNS: u32 = 24;
const ROW_HEIGHT: u32 = 1;
/// Where every dashboard's metrics come from.
const SOURCE: &str = "${datasource}";
/// The tag that the links between dashboards go by.
const TAG: &str = "mcpsonar";

/// One dashboard.
#[derive(Debug)]
pub(crate) struct Dashboard {
    /// Stable; also the name of its file.
    pub(crate) uid: &'static str,
    pub(crate) title: &'static str,
    /// One sentence: which question it answers.
    pub(crate) about: &'static str,
    pub(crate) server: Server,
    pub(crate) sections: Vec<Section>,
}

/// How a dashboard lets its reader choose servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Server {
    /// Any number, all at first.
    Many,
    /// One.
    One,
    /// Not at all.
    None,
}

/// Panels under a heading, laid out from left to right.
#[derive(Debug)]
pub(crate) struct Section {
    pub(crate) title: &'static str,
    pub(crate) panels: Vec<Panel>,
}

/// One panel.
#[derive(Clone, Debug)]
pub(crate) struct Panel {
    pub(crate) kind: Kind,
    pub(crate) title: String,
    /// What it shows and what to do about it: the text behind the panel's `i`.
    pub(crate) about: String,
    /// Grafana's name of the unit.
    pub(crate) unit: &'static str,
    pub(crate) queries: Vec<Query>,
    /// From this value on this colour; green before.
    pub(crate) thresholds: Vec<(f64, &'static str)>,
    pub(crate) stacked: bool,
    pub(crate) max: Option<f64>,
    /// The label that names a server: its series open *MCP server*.
    server_label: Option<&'static str>,
    width: u32,
    height: u32,
}

/// How a panel shows its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Lines over time.
    Series,
    /// One figure for each series, now.
    Stat,
    /// Bars, the longest first.
    Bars,
    /// Markdown; needs no data.
    Text,
}

/// One query of a panel.
#[derive(Clone, Debug)]
pub(crate) struct Query {
    pub(crate) expr: String,
    /// Name of its series; `{{label}}` is the label's value.
    pub(crate) legend: &'static str,
    /// Whether calls that stand for it are shown as points, with a link to their trace.
    pub(crate) exemplars: bool,
}

impl Panel {
    fn new(kind: Kind, title: impl Into<String>, unit: &'static str, (width, height): (u32, u32)) -> Self {
        Self {
            kind,
            title: title.into(),
            about: String::new(),
            unit,
            queries: Vec::new(),
            thresholds: Vec::new(),
            stacked: false,
            max: None,
            server_label: None,
            width,
            height,
        }
    }

    /// Lines over time, half a screen wide.
    pub(crate) fn series(title: &str, unit: &'static str) -> Self {
        Self::new(Kind::Series, title, unit, (12, 8))
    }

    /// One figure.
    pub(crate) fn stat(title: &str, unit: &'static str) -> Self {
        Self::new(Kind::Stat, title, unit, (4, 4))
    }

    /// Bars.
    pub(crate) fn bars(title: &str, unit: &'static str) -> Self {
        Self::new(Kind::Bars, title, unit, (12, 8))
    }

    /// What to do, as Markdown.
    pub(crate) fn text(title: &str, markdown: impl Into<String>, height: u32) -> Self {
        let mut panel = Self::new(Kind::Text, title, "none", (COLUMNS, height));
        panel.about = markdown.into();
        panel
    }

    /// Adds a query, in the notation of [`promql::query`].
    pub(crate) fn query(mut self, expr: &str, legend: &'static str) -> Self {
        self.queries.push(Query {
            expr: promql::query(expr),
            legend,
            exemplars: false,
        });
        self
    }

    /// Adds the percentiles of a histogram: p50, p95 and p99 over all of `labels`.
    pub(crate) fn percentiles(mut self, histogram: &str, matchers: &str) -> Self {
        for (share, legend) in [("0.5", "p50"), ("0.95", "p95"), ("0.99", "p99")] {
            let expr = format!("histogram_quantile({share}, sum by (le) (rate({histogram}_bucket{{{matchers}}}[#])))");
            self = self.query(&expr, legend);
        }
        if let Some(last) = self.queries.last_mut() {
            last.exemplars = true;
        }
        self
    }

    /// What it shows, and what to do about it.
    pub(crate) fn about(mut self, text: &str) -> Self {
        text.clone_into(&mut self.about);
        self
    }

    /// From `warn` on yellow, from `critical` on red.
    pub(crate) fn thresholds(mut self, warn: f64, critical: Option<f64>) -> Self {
        self.thresholds.push((warn, "yellow"));
        self.thresholds.extend(critical.map(|value| (value, "red")));
        self
    }

    /// Series add up.
    pub(crate) fn stacked(mut self) -> Self {
        self.stacked = true;
        self
    }

    /// Where the axis ends.
    pub(crate) fn max(mut self, max: f64) -> Self {
        self.max = Some(max);
        self
    }

    /// A click on a series opens the dashboard of the server that this label names.
    pub(crate) fn opens_server(mut self, label: &'static str) -> Self {
        self.server_label = Some(label);
        self
    }

    /// So many of the 24 columns.
    pub(crate) fn width(mut self, width: u32) -> Self {
        self.width = width;
        self
    }

    fn json(&self, id: u32, (x, y): (u32, u32)) -> Value {
        let place = json!({"x": x, "y": y, "w": self.width, "h": self.height});
        if self.kind == Kind::Text {
            return json!({
                "id": id, "type": "text", "title": self.title, "gridPos": place,
                "options": {"mode": "markdown", "content": self.about},
            });
        }
        let now = matches!(self.kind, Kind::Stat | Kind::Bars);
        let targets = self.queries.iter().zip('A'..).map(|(query, reference)| {
            json!({
                "refId": reference.to_string(),
                "datasource": {"type": "prometheus", "uid": SOURCE},
                "expr": query.expr,
                "legendFormat": query.legend,
                "instant": now, "range": !now,
                "exemplar": query.exemplars,
            })
        });
        let targets: Vec<_> = targets.collect();
        let mut steps = vec![json!({"color": "green", "value": null})];
        steps.extend(
            self.thresholds
                .iter()
                .map(|(value, color)| json!({"color": color, "value": value})),
        );
        json!({
            "id": id, "type": self.kind.plugin(), "title": self.title, "description": self.about, "gridPos": place,
            "datasource": {"type": "prometheus", "uid": SOURCE},
            "targets": targets,
            "fieldConfig": {
                "defaults": {
                    "unit": self.unit, "min": 0, "max": self.max,
                    "thresholds": {"mode": "absolute", "steps": steps},
                    "color": {"mode": if now { "thresholds" } else { "palette-classic" }},
                    "custom": self.drawing(),
                    "links": self.links(),
                },
                "overrides": [],
            },
            "options": self.options(),
        })
    }

    fn links(&self) -> Value {
        let kept = "${datasource:queryparam}&${job:queryparam}&${instance:queryparam}&${__url_time_range}";
        match self.server_label {
            Some(label) => json!([{
                "title": "Open MCP server",
                "url": format!("/d/mcp-server?var-server=${{__field.labels.{label}}}&{kept}"),
            }]),
            None => json!([]),
        }
    }

    fn drawing(&self) -> Value {
        if self.kind != Kind::Series {
            return json!({});
        }
        json!({
            "drawStyle": "line", "lineWidth": 1, "showPoints": "never", "spanNulls": false,
            "fillOpacity": if self.stacked { 40 } else { 8 },
            "stacking": {"mode": if self.stacked { "normal" } else { "none" }, "group": "A"},
            "thresholdsStyle": {"mode": if self.thresholds.is_empty() { "off" } else { "dashed" }},
        })
    }

    fn options(&self) -> Value {
        let last = json!({"calcs": ["lastNotNull"], "fields": "", "values": false});
        match self.kind {
            Kind::Series => json!({
                "legend": {"displayMode": "table", "placement": "bottom", "showLegend": true, "calcs": ["mean", "max"]},
                "tooltip": {"mode": "multi", "sort": "desc"},
            }),
            Kind::Stat => json!({"reduceOptions": last, "colorMode": "value", "graphMode": "none", "textMode": "auto"}),
            Kind::Bars => {
                json!({"reduceOptions": last, "orientation": "horizontal", "displayMode": "basic", "showUnfilled": true})
            }
            Kind::Text => json!({}),
        }
    }
}

impl Kind {
    fn plugin(self) -> &'static str {
        match self {
            Self::Series => "timeseries",
            Self::Stat => "stat",
            Self::Bars => "bargauge",
            Self::Text => "text",
        }
    }
}

impl Dashboard {
    /// Every panel with a query.
    pub(crate) fn panels(&self) -> impl Iterator<Item = &Panel> {
        self.sections.iter().flat_map(|section| &section.panels)
    }

    /// As Grafana imports it.
    pub(crate) fn json(&self) -> Value {
        json!({
            "uid": self.uid, "title": self.title, "description": self.about, "tags": [TAG],
            "schemaVersion": 39, "version": 1, "editable": true, "graphTooltip": 1, "refresh": "30s",
            "time": {"from": "now-1h", "to": "now"}, "timezone": "browser",
            "templating": {"list": self.variables()},
            "links": [{
                "type": "dashboards", "title": "mcpsonar", "tags": [TAG], "asDropdown": false,
                "includeVars": true, "keepTime": true, "targetBlank": false, "icon": "external link",
            }],
            "annotations": {"list": []},
            "panels": self.laid_out(),
        })
    }

    fn variables(&self) -> Vec<Value> {
        let mut list = vec![json!({
            "name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus",
            "description": "Prometheus, Mimir or VictoriaMetrics",
        })];
        let mut labels = vec![
            ("job", "Job", "mcpsonar_agent_series", true),
            ("instance", "Agent", r#"mcpsonar_agent_series{job=~"$job"}"#, true),
        ];
        let servers = r#"mcp_requests_total{job=~"$job",instance=~"$instance"}"#;
        match self.server {
            Server::Many => labels.push(("server", "Server", servers, true)),
            Server::One => labels.push(("server", "Server", servers, false)),
            Server::None => {}
        }
        for (name, label, metric, many) in labels {
            let query = format!("label_values({metric}, {name})");
            let mut variable = json!({
                "name": name, "label": label, "type": "query", "definition": query,
                "datasource": {"type": "prometheus", "uid": SOURCE},
                "query": {"query": query, "refId": name}, "refresh": 2, "sort": 1,
                "multi": many, "includeAll": many,
            });
            if many {
                variable["allValue"] = json!(".*");
                variable["current"] = json!({"text": "All", "value": "$__all"});
            }
            list.push(variable);
        }
        list
    }

    /// The panels with their places: each section begins with its heading, and a row of panels ends
    /// where the next one does not fit.
    fn laid_out(&self) -> Vec<Value> {
        let mut panels = Vec::new();
        let mut next_id = 1..;
        let mut id = || next_id.next().unwrap_or_default();
        let mut y = 0;
        for section in &self.sections {
            panels.push(json!({
                "id": id(), "type": "row", "title": section.title, "collapsed": false, "panels": [],
                "gridPos": {"x": 0, "y": y, "w": COLUMNS, "h": ROW_HEIGHT},
            }));
            y += ROW_HEIGHT;
            let (mut x, mut tallest) = (0, 0);
            for panel in &section.panels {
                if x + panel.width > COLUMNS {
                    y += tallest;
                    (x, tallest) = (0, 0);
                }
                panels.push(panel.json(id(), (x, y)));
                x += panel.width;
                tallest = tallest.max(panel.height);
            }
            y += tallest;
        }
        panels
    }
}
