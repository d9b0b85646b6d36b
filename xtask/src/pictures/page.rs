//! A dashboard as a page, and as the picture that headless Chromium takes of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::answers::{Answers, Series, Verdict};
use super::stage::Stage;
use crate::dashboards::{Dashboard, Panel};
use crate::{apt, repo, setup, sh};

const TEMPLATE: &str = include_str!("../../assets/pictures.html");
/// The plotting library.
const UPLOT: &str = "uplot@1.6.32";
/// In pixels: 24 columns and the margins; a line of the grid; the heading.
const WIDTH: u64 = 1456;
const LINE: u64 = 36;
const HEAD: u64 = 76;
const DRAW_LIMIT: Duration = Duration::from_secs(90);

/// Draws `dashboard` into the file `picture`.
pub(super) fn draw(dashboard: &Dashboard, answers: &Answers, stage: &Stage, picture: &Path) -> Result<()> {
    let model = dashboard.json();
    let panels: Vec<_> = dashboard.panels().collect();
    let mut panels = panels.into_iter();
    let places = model["panels"].as_array().map_or(&[][..], Vec::as_slice);
    let drawn: Vec<Value> = places
        .iter()
        .map(|place| match place["type"].as_str() {
            Some("row") => json!({"kind": "row", "title": place["title"], "place": place["gridPos"]}),
            _ => panel(place, panels.next(), answers),
        })
        .collect();
    let lines = places
        .iter()
        .filter_map(|place| Some(place["gridPos"]["y"].as_u64()? + place["gridPos"]["h"].as_u64()?));
    let height = HEAD + LINE * lines.max().unwrap_or(0);
    let library = uplot()?;
    let read = |file: &str| fs::read_to_string(library.join(file)).with_context(|| format!("{UPLOT} has no {file}"));
    let html = TEMPLATE
        .replace("__TITLE__", dashboard.title)
        .replace("__ABOUT__", dashboard.about)
        .replace("__CSS__", &read("dist/uPlot.min.css")?)
        .replace("__UPLOT__", &read("dist/uPlot.iife.min.js")?)
        .replace(
            "__DATA__",
            &json!({"panels": drawn}).to_string().replace('<', "\\u003c"),
        );
    shoot(&html, dashboard.uid, (WIDTH, height), stage, picture)
}

/// Takes a picture of an HTML page, of so many pixels in width and height.
pub(super) fn shoot(html: &str, name: &str, size: (u64, u64), stage: &Stage, picture: &Path) -> Result<()> {
    let page = stage.folder.join(format!("{name}.html"));
    fs::write(&page, html).with_context(|| format!("cannot write {}", page.display()))?;
    let mut browser = sh::cmd(browser()?);
    browser
        .args([
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--hide-scrollbars",
            "--virtual-time-budget=5000",
        ])
        .arg(format!("--user-data-dir={}", stage.folder.join("browser").display()))
        .arg(format!("--window-size={},{}", size.0, size.1))
        .arg(format!("--screenshot={}", picture.display()))
        .arg(format!("file://{}", page.display()))
        .stderr(std::process::Stdio::null());
    sh::run_within(&mut browser, DRAW_LIMIT)?;
    if !picture.is_file() {
        bail!("Chromium left no {}", picture.display());
    }
    Ok(())
}

/// What the page needs to draw one panel.
fn panel(place: &Value, panel: Option<&Panel>, answers: &Answers) -> Value {
    let Some(panel) = panel else {
        return json!({"kind": "text", "title": place["title"], "place": place["gridPos"], "text": ""});
    };
    let (mut series, mut why) = (Vec::new(), String::from("nothing of this kind happened"));
    for query in &panel.queries {
        match answers.of(&query.expr) {
            Some(Verdict::Answered(all)) => {
                series.extend(
                    all.iter()
                        .map(|one| json!({"name": named(query.legend, one), "points": one.points})),
                );
            }
            Some(Verdict::Expected(reason)) => why = format!("none, as {reason}"),
            Some(Verdict::NotFed(metrics)) => why = format!("no series of {} so far", metrics.join(", ")),
            _ => {}
        }
    }
    json!({
        "kind": place["type"], "title": panel.title, "place": place["gridPos"], "unit": panel.unit,
        "thresholds": panel.thresholds, "stacked": panel.stacked, "max": panel.max,
        "series": series, "why": why, "text": panel.about,
    })
}

/// The name of a series: `{{label}}` is the label's value.
fn named(legend: &str, series: &Series) -> String {
    let mut name = legend.to_owned();
    for (label, value) in &series.labels {
        name = name.replace(&format!("{{{{{label}}}}}"), value);
    }
    name
}

/// Gets what pictures are drawn with: before minutes have gone into what they show.
pub(super) fn prepare() -> Result<()> {
    uplot()?;
    browser()?;
    Ok(())
}

/// The folder of the plotting library.
fn uplot() -> Result<PathBuf> {
    let folder = repo::cache().join("pictures");
    let library = folder.join("node_modules/uplot");
    if !library.is_dir() {
        setup::for_pictures()?;
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        sh::run(
            sh::cmd("npm")
                .args(["install", "--silent", "--no-audit", "--no-fund", "--prefix"])
                .arg(&folder)
                .arg(UPLOT),
        )
        .context("the pictures are plotted by uPlot, which comes from npm")?;
    }
    Ok(library)
}

fn browser() -> Result<PathBuf> {
    if sh::which("chromium").is_none() {
        apt::install(&["chromium", "fonts-dejavu-core"])?;
    }
    sh::which("chromium").context("Debian's chromium was installed and is not on PATH")
}
