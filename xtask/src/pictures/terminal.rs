//! The screen of `mcpsonar top`, as a page: what the program writes to a terminal, drawn by a terminal.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::num::NonZero;
use std::path::Path;
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::stage::Stage;
use crate::sh;

const ROWS: u16 = 36;
const COLUMNS: u16 = 128;
/// Of the picture.
pub(super) const PIXELS: (u64, u64) = (COLUMNS as u64 * 8 + 32, ROWS as u64 * 17 + 32);
/// Leaves out whom the workload does not consist of, as a user would.
const FILTER: &[u8] = b"/shop-\r";
/// How long it takes until there is a screen.
const START: Duration = Duration::from_secs(1);
/// How long it is looked at.
const LOOK: Duration = Duration::from_secs(4);
const STYLE: &str =
    "body{margin:0;background:#11151c}pre{margin:16px;font:13.3px/17px 'DejaVu Sans Mono',monospace;color:#d8dee9}";
/// The eight colours of terminals, and their bright ones.
const PALETTE: [&str; 16] = [
    "#2e3440", "#e06c75", "#98c379", "#e5c07b", "#61afef", "#c678dd", "#56b6c2", "#d8dee9", "#6b7689", "#ff7b86",
    "#b5e890", "#ffd78a", "#7cc4ff", "#df9bf0", "#73d8e4", "#ffffff",
];

/// What `top` of the stage's agent shows after some seconds.
pub(super) fn screen(agent: &Path, stage: &Stage) -> Result<String> {
    let command = format!(
        "stty rows {ROWS} cols {COLUMNS}; exec {} top --interval 500 --socket {}",
        agent.display(),
        stage.socket().display()
    );
    // A terminal of its own, of util-linux.
    let mut script = sh::cmd("script");
    script
        .args(["--quiet", "--flush", "--command", &command, "/dev/null"])
        .env("TERM", "xterm-256color")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut child = script.spawn().context("cannot run `script` of util-linux")?;
    let (input, output) = (child.stdin.take(), child.stdout.take());
    let (mut input, mut output) = input.zip(output).context("`script` has no pipes")?;
    let reader = thread::spawn(move || {
        let mut bytes = Vec::new();
        output.read_to_end(&mut bytes).map(|_| bytes)
    });
    thread::sleep(START);
    input.write_all(FILTER).context("cannot filter in `mcpsonar top`")?;
    thread::sleep(LOOK);
    input.write_all(b"q").context("cannot end `mcpsonar top`")?;
    drop(input);
    child.wait()?;
    let bytes = reader.join().ok().context("the reader of the terminal ended")??;
    let size = |cells| NonZero::new(cells).context("a terminal without cells");
    let mut terminal = vt100::Parser::new(size(ROWS)?, size(COLUMNS)?, 0);
    terminal.process(last_screen(&bytes));
    ensure!(
        terminal.screen().contents().contains("mcpsonar"),
        "`mcpsonar top` has drawn no screen"
    );
    Ok(page(terminal.screen()))
}

/// What was written before the program gave the terminal back.
fn last_screen(bytes: &[u8]) -> &[u8] {
    const LEAVE: &[u8] = b"\x1b[?1049l";
    let end = bytes.windows(LEAVE.len()).rposition(|window| window == LEAVE);
    &bytes[..end.unwrap_or(bytes.len())]
}

fn page(screen: &vt100::Screen) -> String {
    let mut html = format!("<!doctype html><meta charset=\"utf-8\"><style>{STYLE}</style><pre>");
    for row in 0..ROWS {
        for column in 0..COLUMNS {
            let Some(cell) = screen.cell(row, column).filter(|cell| !cell.is_wide_continuation()) else {
                continue;
            };
            let style = style(cell);
            let text = match cell.contents() {
                "" => " ",
                "<" => "&lt;",
                "&" => "&amp;",
                text => text,
            };
            // Writing to a string does not fail.
            if style.is_empty() {
                html.push_str(text);
            } else {
                write!(html, "<span style=\"{style}\">{text}</span>").unwrap_or_default();
            }
        }
        html.push('\n');
    }
    html + "</pre>"
}

fn style(cell: &vt100::Cell) -> String {
    let (mut ink, mut paper) = (colour(cell.fgcolor()), colour(cell.bgcolor()));
    if cell.inverse() {
        (ink, paper) = (
            Some(paper.unwrap_or_else(|| "#11151c".to_owned())),
            Some(ink.unwrap_or_else(|| PALETTE[7].to_owned())),
        );
    }
    let mut style = String::new();
    for (property, value) in [("color", ink), ("background", paper)] {
        if let Some(value) = value {
            write!(style, "{property}:{value};").unwrap_or_default();
        }
    }
    if cell.bold() {
        style.push_str("font-weight:bold;");
    }
    if cell.dim() {
        style.push_str("opacity:.65;");
    }
    style
}

fn colour(colour: vt100::Color) -> Option<String> {
    match colour {
        vt100::Color::Default => None,
        vt100::Color::Idx(index) => Some(
            PALETTE
                .get(usize::from(index))
                .copied()
                .unwrap_or(PALETTE[7])
                .to_owned(),
        ),
        vt100::Color::Rgb(red, green, blue) => Some(format!("#{red:02x}{green:02x}{blue:02x}")),
    }
}
