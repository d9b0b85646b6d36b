//! What is looked at, and what keys do to it. No terminal in here.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use serde_json::Value;

use super::tables::{Row, Tab};

/// Lines that a page key moves by.
const PAGE: usize = 10;
/// Characters of a filter.
const MAX_FILTER: usize = 60;

/// What a key has asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Want {
    Nothing,
    /// The page of this call.
    Call(String),
}

/// What lies over the lists.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Over {
    #[default]
    Nothing,
    Help,
    /// The page of a call, from this line on.
    Page {
        text: String,
        from: u16,
    },
}

/// A list's selected line and order.
#[derive(Clone, Copy, Debug, Default)]
struct Look {
    selected: usize,
    /// Column that it is sorted by; `None`: as the agent tells it.
    sort: Option<usize>,
    ascending: bool,
}

/// The state of the live view.
#[derive(Clone, Debug)]
pub(super) struct App {
    frame: Value,
    tab: Tab,
    looks: [Look; Tab::ALL.len()],
    filter: String,
    editing: bool,
    paused: bool,
    over: Over,
    complaint: Option<String>,
    ended: bool,
}

impl App {
    pub(super) fn new(frame: Value) -> Self {
        Self {
            frame,
            tab: Tab::Operations,
            looks: Default::default(),
            filter: String::new(),
            editing: false,
            paused: false,
            over: Over::Nothing,
            complaint: None,
            ended: false,
        }
    }

    /// Another frame.
    pub(super) fn show(&mut self, frame: Value) {
        self.frame = frame;
        self.complaint = None;
    }

    /// The agent does not answer: what was last known stays, and says so.
    pub(super) fn complain(&mut self, why: String) {
        self.complaint = Some(why);
    }

    /// The page of a call has come.
    pub(super) fn explain(&mut self, text: String) {
        self.over = Over::Page { text, from: 0 };
    }

    pub(super) fn frame(&self) -> &Value {
        &self.frame
    }

    pub(super) fn tab(&self) -> Tab {
        self.tab
    }

    pub(super) fn over(&self) -> &Over {
        &self.over
    }

    pub(super) fn filter(&self) -> (&str, bool) {
        (&self.filter, self.editing)
    }

    pub(super) fn complaint(&self) -> Option<&str> {
        self.complaint.as_deref()
    }

    pub(super) fn is_over(&self) -> bool {
        self.ended
    }

    pub(super) fn is_paused(&self) -> bool {
        self.paused
    }

    /// Column that the list is sorted by, and whether the smallest comes first.
    pub(super) fn sort(&self) -> (Option<usize>, bool) {
        let look = &self.looks[self.tab as usize];
        (look.sort, look.ascending)
    }

    /// The lines that are shown, and which of them is selected.
    pub(super) fn rows(&self) -> (Vec<Row>, usize) {
        let mut rows = self.tab.rows(&self.frame);
        let wanted = self.filter.to_lowercase();
        if !wanted.is_empty() {
            rows.retain(|row| row.cells.iter().any(|cell| cell.text.to_lowercase().contains(&wanted)));
        }
        let look = self.looks[self.tab as usize];
        if let Some(by) = look.sort {
            rows.sort_by(|a, b| {
                let (a, b) = (&a.cells[by], &b.cells[by]);
                let order = match (a.number, b.number) {
                    (Some(a), Some(b)) => a.total_cmp(&b),
                    // What is not known is less than anything.
                    (None, Some(_)) => std::cmp::Ordering::Less,
                    (Some(_), None) => std::cmp::Ordering::Greater,
                    (None, None) => a.text.cmp(&b.text),
                };
                if look.ascending { order } else { order.reverse() }
            });
        }
        let selected = look.selected.min(rows.len().saturating_sub(1));
        (rows, selected)
    }

    /// Takes a key.
    pub(super) fn key(&mut self, key: KeyEvent) -> Want {
        if key.modifiers.contains(KeyModifiers::CONTROL) && key.code == KeyCode::Char('c') {
            self.ended = true;
            return Want::Nothing;
        }
        if self.editing {
            self.edit(key.code);
            return Want::Nothing;
        }
        if self.over != Over::Nothing {
            self.over_key(key.code);
            return Want::Nothing;
        }
        match key.code {
            KeyCode::Char('q') => self.ended = true,
            KeyCode::Esc => self.filter.clear(),
            KeyCode::Char('?' | 'h') => self.over = Over::Help,
            KeyCode::Char('/') => self.editing = true,
            KeyCode::Char('p' | ' ') => self.paused = !self.paused,
            KeyCode::Char('s') => self.next_sort(),
            KeyCode::Char('r') => self.look().ascending = !self.look().ascending,
            KeyCode::Tab | KeyCode::Right | KeyCode::Char('l') => self.turn(1),
            KeyCode::BackTab | KeyCode::Left => self.turn(Tab::ALL.len() - 1),
            KeyCode::Char(digit @ '1'..='5') => self.tab = Tab::ALL[digit as usize - '1' as usize],
            KeyCode::Up | KeyCode::Char('k') => self.step(|at| at.saturating_sub(1)),
            KeyCode::Down | KeyCode::Char('j') => self.step(|at| at + 1),
            KeyCode::PageUp => self.step(|at| at.saturating_sub(PAGE)),
            KeyCode::PageDown => self.step(|at| at + PAGE),
            KeyCode::Home | KeyCode::Char('g') => self.step(|_| 0),
            KeyCode::End | KeyCode::Char('G') => self.step(|_| usize::MAX),
            KeyCode::Enter => {
                let (rows, selected) = self.rows();
                let call = rows.get(selected).and_then(|row| row.call.clone());
                return call.map_or(Want::Nothing, Want::Call);
            }
            _ => {}
        }
        Want::Nothing
    }

    fn edit(&mut self, code: KeyCode) {
        match code {
            KeyCode::Enter => self.editing = false,
            KeyCode::Esc => {
                self.editing = false;
                self.filter.clear();
            }
            KeyCode::Backspace => {
                self.filter.pop();
            }
            KeyCode::Char(c) if self.filter.chars().count() < MAX_FILTER => self.filter.push(c),
            _ => {}
        }
    }

    fn over_key(&mut self, code: KeyCode) {
        let Over::Page { text, from } = &mut self.over else {
            self.over = Over::Nothing;
            return;
        };
        let last = u16::try_from(text.lines().count())
            .unwrap_or(u16::MAX)
            .saturating_sub(1);
        match code {
            KeyCode::Up | KeyCode::Char('k') => *from = from.saturating_sub(1),
            KeyCode::Down | KeyCode::Char('j') => *from = from.saturating_add(1).min(last),
            KeyCode::PageUp => *from = from.saturating_sub(PAGE as u16),
            KeyCode::PageDown => *from = from.saturating_add(PAGE as u16).min(last),
            _ => self.over = Over::Nothing,
        }
    }

    fn look(&mut self) -> &mut Look {
        &mut self.looks[self.tab as usize]
    }

    fn turn(&mut self, by: usize) {
        self.tab = Tab::ALL[(self.tab as usize + by) % Tab::ALL.len()];
    }

    fn step(&mut self, to: impl Fn(usize) -> usize) {
        let (rows, selected) = self.rows();
        self.look().selected = to(selected).min(rows.len().saturating_sub(1));
    }

    /// The next column, after the last one none.
    fn next_sort(&mut self) {
        let columns = self.tab.columns().len();
        let look = self.look();
        look.sort = match look.sort {
            None => Some(0),
            Some(by) if by + 1 < columns => Some(by + 1),
            Some(_) => None,
        };
    }
}
