//! How the agent itself is.

use super::pressure::IntoValue;
use crate::flags::board::Weighing;
use crate::flags::{AgentInput, Engine, Evidence, Flag, Subject};

impl Engine {
    pub(in crate::flags) fn weigh_agent(&mut self, agent: &AgentInput<'_>) {
        let about = |flag, value| Weighing {
            level: self.levels.of(flag, None, None),
            subject: Subject::Host,
            name: None,
            value,
        };
        let paused = if agent.history_paused.is_some() { 1.0 } else { 0.0 };
        self.board.weigh(about(Flag::HistoryPaused, paused), agent.at, || {
            Evidence::default()
                .with("reason", agent.history_paused.map(Into::into))
                .with("lost", agent.history_lost.into_value())
        });
        if agent.records_lost > 0 {
            let weighing = about(Flag::RecordsLost, 0.0);
            self.board.strike(weighing, agent.records_lost, agent.at, |count| {
                Evidence::default().with("count", count.into_value())
            });
        }
    }
}
