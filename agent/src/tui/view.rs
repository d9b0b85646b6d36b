//! How the live view is drawn.

use ratatui::Frame;
use ratatui::layout::{Alignment, Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style, Stylize as _};
use ratatui::text::{Line, Span, Text};
use ratatui::widgets::{Block, Cell, Clear, Paragraph, Row, Table, TableState};

use super::state::{App, Over};
use super::tables::{Tab, headline};

const HELP: &str = "\
 Tab, 1 to 5     the next list, or that one
 arrows, j k     select; PgUp PgDn Home End go further
 Enter           the page of a call (list Calls)
 s               sort by the next column; r the other way
 /               filter: lines that hold the text; Esc clears
 p, space        pause
 q, Ctrl-C       quit

 Figures are of the last minute. TREND: mean latency of each
 10 s, the latest at the right. OPEN: calls that are under way.
 unread: the server has not read the request yet.

 Any key closes this.";

const KEYS: &str = "q quit  ? help  Tab list  s sort  r reverse  / filter  p pause  Enter explain";

pub(super) fn draw(frame: &mut Frame<'_>, app: &App) {
    let parts = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Min(3),
        Constraint::Length(1),
    ]);
    let [head, tabs, list, foot] = parts.areas(frame.area());
    frame.render_widget(Line::from(headline(app.frame())).bold(), head);
    frame.render_widget(tab_line(app), tabs);
    table(frame, app, list);
    frame.render_widget(foot_line(app), foot);
    match app.over() {
        Over::Nothing => {}
        Over::Help => over(frame, "Help", HELP, 0),
        Over::Page { text, from } => over(frame, "Call: Up and Down scroll, any other key closes", text, *from),
    }
}

fn tab_line(app: &App) -> Line<'static> {
    let spans = Tab::ALL.into_iter().zip(1..).flat_map(|(tab, number)| {
        let style = if tab == app.tab() {
            Style::new().add_modifier(Modifier::REVERSED)
        } else {
            Style::new()
        };
        let count = tab.rows(app.frame()).len();
        let title = format!(" {number} {} {count} ", tab.title());
        [Span::styled(title, style), Span::raw(" ")]
    });
    Line::from(spans.collect::<Vec<_>>())
}

fn foot_line(app: &App) -> Line<'static> {
    if let Some(complaint) = app.complaint() {
        return Line::styled(complaint.to_owned(), Style::new().fg(Color::Red));
    }
    let (filter, editing) = app.filter();
    if editing || !filter.is_empty() {
        let cursor = if editing { "_" } else { "" };
        return Line::from(format!("filter: {filter}{cursor}"));
    }
    let paused = if app.is_paused() { "PAUSED  " } else { "" };
    Line::styled(format!("{paused}{KEYS}"), Style::new().add_modifier(Modifier::DIM))
}

fn table(frame: &mut Frame<'_>, app: &App, area: Rect) {
    let columns = app.tab().columns();
    let (sorted, ascending) = app.sort();
    let aligned = |text: String, right: bool| {
        let side = if right { Alignment::Right } else { Alignment::Left };
        Text::from(text).alignment(side)
    };
    let titles = columns.iter().enumerate().map(|(index, column)| {
        let mark = match (sorted == Some(index), ascending) {
            (false, _) => "",
            (true, false) => "v",
            (true, true) => "^",
        };
        Cell::from(aligned(format!("{}{mark}", column.title), column.right))
    });
    let header = Row::new(titles).style(Style::new().add_modifier(Modifier::UNDERLINED));
    let (rows, selected) = app.rows();
    let lines = rows.into_iter().map(|row| {
        let fields = row.cells.into_iter().zip(columns);
        let cells = fields.map(|(cell, column)| Cell::from(aligned(cell.text, column.right)));
        let style = if row.bad {
            Style::new().fg(Color::Yellow)
        } else {
            Style::new()
        };
        Row::new(cells).style(style)
    });
    let widths = columns.iter().map(|column| {
        if column.grows {
            Constraint::Min(column.width)
        } else {
            Constraint::Length(column.width)
        }
    });
    let table = Table::new(lines, widths)
        .header(header)
        .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED));
    let mut state = TableState::new().with_selected(selected);
    frame.render_stateful_widget(table, area, &mut state);
}

fn over(frame: &mut Frame<'_>, title: &'static str, text: &str, from: u16) {
    let whole = frame.area();
    let wanted = u16::try_from(text.lines().count())
        .unwrap_or(u16::MAX)
        .saturating_add(2);
    let height = wanted.min(whole.height);
    let width = whole.width.min(110);
    let area = Rect {
        x: (whole.width - width) / 2,
        y: (whole.height - height) / 2,
        width,
        height,
    };
    frame.render_widget(Clear, area);
    let page = Paragraph::new(text.to_owned())
        .scroll((from, 0))
        .block(Block::bordered().title(title));
    frame.render_widget(page, area);
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
    use serde_json::{Value, json};

    use super::super::state::Want;
    use super::super::tables;
    use super::*;

    fn frame() -> Value {
        let operation = |server: &str, tool: &str, rate: f64, p95: f64| {
            json!({"server": server, "method": "tools/call", "tool": tool, "in_flight": 1, "calls": 10, "failed": 1,
                "per_second": rate, "p50_us": 900.0, "p95_us": p95, "trend_us": [null, 1.0, 2.0, 4.0, 8.0, 16.0],
                "cause": "disk"})
        };
        json!({
            "host": "box", "at_unix_ms": 0,
            "frame": {
                "operations": [operation("files", "read", 2.0, 5000.0), operation("web", "fe\u{1b}tch", 9.0, 700.0)],
                "endpoints": [{"pid": 7, "role": "server", "name": "files", "sessions": 1, "in_flight": 0, "cpu": 0.25,
                    "rss_bytes": 1048576, "flags": ["hung"], "recent": {"per_second": 2.0, "p95_us": 5000.0}}],
                "in_flight": [{"age_us": 2e6, "client": {"comm": "node"}, "server": {"name": "files"},
                    "method": "tools/call", "tool": "read", "stage": "unread", "call": "abcdef0123456789"}],
                "flags": [{"severity": "critical", "flag": "hung", "target": "files[7]", "since_unix_ns": 0,
                    "value": 61.0, "threshold": 60.0}],
                "open_calls": 1, "host_cpu": 0.5, "host_memory": null,
            },
            "last_calls": [{"call": "00ff", "method": "ping", "outcome": "ok", "latency_us": 12.0, "start_unix_ns": 0}],
        })
    }

    fn screen(app: &App, width: u16, height: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(frame, app)).unwrap();
        let buffer = terminal.backend().buffer();
        let rows = buffer.content().chunks(usize::from(width));
        rows.map(|row| row.iter().map(ratatui::buffer::Cell::symbol).collect::<String>() + "\n")
            .collect()
    }

    fn press(app: &mut App, codes: &[KeyCode]) -> Want {
        let mut want = Want::Nothing;
        for code in codes {
            want = app.key(KeyEvent::new(*code, KeyModifiers::NONE));
        }
        want
    }

    fn keys(text: &str) -> Vec<KeyCode> {
        text.chars().map(KeyCode::Char).collect()
    }

    #[test]
    fn everything_fits_a_small_terminal() {
        let app = App::new(frame());
        let shown = screen(&app, 80, 24);
        for part in [
            "11.0 calls/s",
            "1 Operations 2",
            "files",
            "read",
            "5.00ms",
            "10.0",
            "▁▂▃▅█",
            "disk",
            "q quit",
        ] {
            assert!(shown.contains(part), "{part} is missing:\n{shown}");
        }
        assert!(!shown.contains('\u{1b}'));
        for (size, tab) in [(24, 1), (3, 2), (1, 3), (10, 4)] {
            let mut app = App::new(frame());
            press(&mut app, &vec![KeyCode::Tab; tab]);
            screen(&app, 80, size);
            screen(&app, 7, size);
        }
    }

    #[test]
    fn every_list_is_shown_and_sorted_and_filtered() {
        let mut app = App::new(frame());
        for (digit, part) in [('2', "hung"), ('3', "unread"), ('4', "ping"), ('5', "files[7]")] {
            press(&mut app, &[KeyCode::Char(digit)]);
            let shown = screen(&app, 80, 24);
            assert!(shown.contains(part), "{shown}");
        }
        press(&mut app, &keys("1ssss"));
        let first = |app: &App| app.rows().0[0].cells[0].text.clone();
        assert_eq!(first(&app), "web", "by calls a second, the most first");
        press(&mut app, &keys("r"));
        assert_eq!(first(&app), "files");
        press(&mut app, &keys("/WEB"));
        assert!(screen(&app, 80, 24).contains("filter: WEB_"));
        press(&mut app, &[KeyCode::Enter]);
        assert_eq!(app.rows().0.len(), 1);
        press(&mut app, &[KeyCode::Esc]);
        assert_eq!(app.rows().0.len(), 2);
    }

    #[test]
    fn a_call_is_explained_and_the_rest_goes_on() {
        let mut app = App::new(frame());
        assert_eq!(
            press(&mut app, &[KeyCode::Enter]),
            Want::Nothing,
            "an operation is no call"
        );
        let want = press(&mut app, &[KeyCode::Char('4'), KeyCode::Enter]);
        assert_eq!(want, Want::Call("00ff".to_owned()));
        app.explain("first line\nsecond line\n".to_owned());
        assert!(screen(&app, 80, 24).contains("first line"));
        press(&mut app, &[KeyCode::Down]);
        assert!(!screen(&app, 80, 24).contains("first line"));
        press(&mut app, &[KeyCode::Esc]);
        press(&mut app, &keys("?"));
        assert!(screen(&app, 80, 24).contains("the page of a call"));
        press(&mut app, &keys("xp"));
        assert!(screen(&app, 80, 24).contains("PAUSED") && app.is_paused());
        app.complain("no agent is running".to_owned());
        assert!(screen(&app, 80, 24).contains("no agent is running"));
        press(&mut app, &keys("q"));
        assert!(app.is_over());
    }

    #[test]
    fn a_thousand_endpoints_scroll() {
        let mut all = frame();
        let endpoint = |pid: u64| json!({"pid": pid, "role": "server", "name": format!("s{pid}"), "flags": []});
        all["frame"]["endpoints"] = (1..=1000).map(endpoint).collect();
        let mut app = App::new(all);
        press(&mut app, &[KeyCode::Char('2'), KeyCode::End]);
        assert!(screen(&app, 80, 24).contains("s1000"));
    }

    #[test]
    fn nothing_is_known_yet() {
        let app = App::new(Value::Null);
        assert!(screen(&app, 80, 24).contains("0.0 calls/s"));
        assert_eq!(tables::text(&Value::Null).lines().count(), 1);
        let text = tables::text(&frame());
        assert!(text.contains("Operations\n") && text.contains("files[7]"), "{text}");
    }
}
