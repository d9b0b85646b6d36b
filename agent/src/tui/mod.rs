//! `mcpsonar top`: what is so at the moment, in the whole terminal. [`state`] knows what is looked at
//! and what keys do, [`tables`] what is in the lists, [`view`] how it is drawn.

mod state;
mod tables;
mod view;

use std::io::{self, IsTerminal as _};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyEventKind};
use serde_json::Value;

use self::state::{App, Want};
use crate::cli::{ConfigArgs, Failure, TopArgs, ask_all, escape, print};
use crate::sink::{CallDocument, Colour, FlagDocument, waterfall};

/// Pause between two looks at the keyboard.
const LOOK: Duration = Duration::from_millis(50);

/// Shows everything live, or once.
///
/// # Errors
/// When no agent answers at the beginning, or the terminal fails.
pub(crate) fn run(args: &TopArgs) -> Result<u8, Failure> {
    let answer = ask_all(&args.config, "/v1/live")?;
    if args.json {
        return print(&[answer.as_slice(), b"\n"].concat()).map(|()| 0);
    }
    let frame = parse(&answer);
    if args.once || !io::stdout().is_terminal() {
        return print(tables::text(&frame).as_bytes()).map(|()| 0);
    }
    let mut app = App::new(frame);
    let asker = Asker::start(&args.config)?;
    // It also puts the terminal right when there is a panic.
    let mut terminal = ratatui::init();
    let ended = live(&mut terminal, &mut app, &asker, Duration::from_millis(args.interval));
    ratatui::restore();
    ended.map(|()| 0).map_err(|source| Failure::Io {
        what: "the terminal failed".to_owned(),
        source,
    })
}

fn live(terminal: &mut DefaultTerminal, app: &mut App, asker: &Asker, interval: Duration) -> io::Result<()> {
    let mut asked = Instant::now();
    let mut stale = true;
    while !app.is_over() {
        if stale {
            terminal.draw(|frame| view::draw(frame, app))?;
            stale = false;
        }
        if event::poll(LOOK)? {
            stale = true;
            match event::read()? {
                Event::Key(key) if key.kind != KeyEventKind::Release => match app.key(key) {
                    Want::Call(id) => asker.ask(format!("/v1/calls/{}", escape(&id))),
                    Want::Nothing => {}
                },
                _ => {}
            }
        }
        if asked.elapsed() >= interval && !app.is_paused() {
            asked = Instant::now();
            asker.ask("/v1/live".to_owned());
        }
        while let Ok((question, answer)) = asker.answers.try_recv() {
            stale = true;
            match answer {
                Ok(answer) if question == "/v1/live" => app.show(parse(&answer)),
                Ok(answer) => app.explain(explanation(&parse(&answer))),
                Err(why) if question == "/v1/live" => app.complain(why),
                Err(why) => app.explain(why),
            }
        }
    }
    Ok(())
}

fn parse(answer: &[u8]) -> Value {
    serde_json::from_slice(answer).unwrap_or_default()
}

/// The page of a call.
fn explanation(call: &Value) -> String {
    let flags = call["flags"].as_array().into_iter().flatten();
    let flags: Vec<FlagDocument> = flags
        .filter_map(|flag| serde_json::from_value(flag.clone()).ok())
        .collect();
    match serde_json::from_value::<CallDocument>(call.clone()) {
        Ok(document) => waterfall(&document, &flags, Colour::Off),
        Err(error) => format!("the call is not understood: {error}"),
    }
}

/// Asks the agent without making the keyboard wait.
struct Asker {
    questions: Sender<String>,
    answers: Receiver<(String, Result<Vec<u8>, String>)>,
}

impl Asker {
    fn start(config: &ConfigArgs) -> Result<Self, Failure> {
        let (questions, asked) = channel::<String>();
        let (told, answers) = channel();
        let config = config.clone();
        let run = move || {
            for question in asked {
                let answer = ask_all(&config, &question).map_err(|error| error.to_string());
                if told.send((question, answer)).is_err() {
                    return;
                }
            }
        };
        thread::Builder::new()
            .name("asker".to_owned())
            .spawn(run)
            .map_err(|source| Failure::Io {
                what: "cannot start a thread: for questions".to_owned(),
                source,
            })?;
        Ok(Self { questions, answers })
    }

    fn ask(&self, question: String) {
        // Its thread lives as long as this.
        self.questions.send(question).unwrap_or_default();
    }
}
