//! Deviations from the protocol that are seen in the bytes.

use std::sync::Arc;

use super::pressure::IntoValue;
use crate::flags::board::Weighing;
use crate::flags::engine::shortened;
use crate::flags::{Engine, Evidence, FaultInput, Flag, Subject};

impl Engine {
    pub(in crate::flags) fn weigh_fault(&mut self, fault: &FaultInput<'_>) {
        // The rest of them are the agent's own losses, and are told as such.
        let flag = match fault.code {
            "stdout_pollution" => Flag::StdoutPollution,
            "malformed_frame" => Flag::MalformedFrame,
            "content_length_framing" => Flag::ContentLengthFraming,
            "unknown_response_id" => Flag::UnknownResponseId,
            "id_reuse" => Flag::IdReuse,
            "response_after_cancel" => Flag::ResponseAfterCancel,
            _ => return,
        };
        let known = fault.writer.and_then(|writer| self.processes.get(&writer.pid));
        let named = fault.writer.and_then(|writer| writer.name);
        let name: Arc<str> = known.map_or_else(
            || shortened(named.unwrap_or("unknown")),
            |known| Arc::clone(&known.name),
        );
        let weighing = Weighing {
            level: self.levels.of(flag, Some(&name), None),
            subject: fault
                .writer
                .map_or(Subject::Host, |writer| Subject::Process { pid: writer.pid }),
            name: Some(&name),
            value: 0.0,
        };
        self.board.strike(weighing, 1, fault.at, |count| {
            Evidence::default()
                .with("count", count.into_value())
                .with("bytes", fault.bytes.into_value())
                .with("writer", name.as_ref().into_value())
        });
    }
}
