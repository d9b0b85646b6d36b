//! Which response answers which request.
//!
//! The key is (connection, originator's direction, id as its JSON token). There is no time limit:
//! a call ends when it is answered, cancelled, or when a peer or the observation ends.

use crate::connection::{Connection, InFlight, Part, Unfinished, note};
use crate::json::{Envelope, Field};
use crate::mcp::{self, Target};
use crate::originator::Names;
use crate::output::Output;
use crate::rpc::{self, Kind};
use crate::slab::Slot;
use crate::{
    Call, Continuation, Direction, Endpoint, Fault, FaultKind, Half, Loss, Method, Nanos, Notice, Outcome, ProcessId,
    RequestId, ResultType, StreamId, TaskState,
};

/// A message and where it was seen.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    pub(crate) stream: StreamId,
    pub(crate) start: u64,
    pub(crate) end: u64,
    /// Bytes of the message itself: fewer than its range where framing lies in between.
    pub(crate) bytes: u64,
    /// Its middle is missing.
    pub(crate) truncated: bool,
    /// When its first byte was written, as far as is known.
    pub(crate) at: Nanos,
    /// Who wrote it, as far as is known.
    pub(crate) process: Option<ProcessId>,
}

impl Connection {
    /// Takes a message. An error that names no request in flight answers the one that is `meant`.
    /// Returns the half of a call whose instants are to be found.
    pub(crate) fn message(
        &mut self,
        direction: Direction,
        envelope: &Envelope,
        seen: Seen,
        meant: Option<Slot>,
        reported: &mut u32,
        output: &mut Output,
    ) -> Option<(Slot, Part)> {
        let mut fault = |kind, connection, output: &mut Output| {
            let Seen {
                stream,
                at,
                process,
                bytes,
                ..
            } = seen;
            let bytes = if kind == FaultKind::MalformedFrame { bytes } else { 0 };
            output.fault(
                reported,
                Fault {
                    kind,
                    at,
                    stream,
                    connection: Some(connection),
                    process,
                    bytes,
                },
            );
        };
        match rpc::kind(envelope) {
            Kind::Request => {
                output.stats.requests += 1;
                let id: Box<str> = rpc::id(envelope)?.into();
                if let Some(old) = self.originator(direction).by_id(&id) {
                    if !self.incomplete {
                        fault(FaultKind::IdReuse, self.id, output);
                    }
                    // Whichever is answered now, it is not to be known which one was meant.
                    self.end(old, Outcome::Pending, seen.at, output);
                }
                let slot = self.request(direction, id, envelope, seen, output);
                if seen.process.is_some_and(|asker| output.servers.contains(&asker)) {
                    output.asked.push((self.id, slot));
                }
                Some((slot, Part::Request))
            }
            Kind::Notification => {
                output.stats.notifications += 1;
                self.notification(direction, envelope, seen, output);
                None
            }
            kind @ (Kind::Result | Kind::Error) => {
                output.stats.responses += 1;
                match self.find(direction.reversed(), envelope, meant) {
                    Found::Call(slot) => {
                        self.response(slot, kind, envelope, seen);
                        if let Some(tasks) = &mut self.tasks
                            && tasks.unfinished.len() > output.limits.continuations
                        {
                            tasks.unfinished.pop_front();
                        }
                        Some((slot, Part::Response))
                    }
                    Found::Cancelled => {
                        fault(FaultKind::ResponseAfterCancel, self.id, output);
                        None
                    }
                    Found::Nothing => {
                        output.stats.responses_unpaired += 1;
                        if rpc::id(envelope).is_some() && !self.incomplete && !self.is_over() {
                            fault(FaultKind::UnknownResponseId, self.id, output);
                        }
                        None
                    }
                }
            }
            Kind::Invalid => {
                output.stats.lines_malformed += 1;
                fault(FaultKind::MalformedFrame, self.id, output);
                None
            }
        }
    }

    fn request(
        &mut self,
        direction: Direction,
        id: Box<str>,
        envelope: &Envelope,
        seen: Seen,
        output: &mut Output,
    ) -> Slot {
        let name = envelope.bytes(Field::Method).unwrap_or_default();
        let target = mcp::method(name).map_or(Target::None, |known| known.target);
        let boxed = |wanted, field| (target == wanted).then(|| envelope.boxed(field)).flatten();
        let tool = boxed(Target::Tool, Field::Name);
        let prompt = boxed(Target::Prompt, Field::Name);
        let resource = boxed(Target::Resource, Field::Uri).map(|uri| mcp::resource(&uri));
        let task = boxed(Target::Task, Field::ParamsTaskId).or_else(|| envelope.boxed(Field::RelatedTask));
        let method = envelope.boxed(Field::Method).unwrap_or_default();
        let asks = &*method == "initialize";
        if asks && direction == Direction::ClientToServer {
            name_endpoint(&mut self.client, envelope, Field::ClientName, Field::ClientVersion);
        }
        let mut client = Endpoint::default();
        if direction == Direction::ClientToServer {
            name_endpoint(
                &mut self.client,
                envelope,
                Field::MetaClientName,
                Field::MetaClientVersion,
            );
            client.process = seen.process;
        }
        let continues = self.continued(
            direction,
            envelope,
            &method,
            tool.as_deref().or(prompt.as_deref()).or(resource.as_deref()),
        );
        let progress_token = rpc::token(envelope, Field::MetaProgressToken).map(Box::from);
        let (connection, transport, carrier) = (self.id, self.transport(), self.carrier());
        let originator = self.originator(direction);
        let sequence = originator.sequence;
        originator.sequence += 1;
        if let Some(Names { cancelled, .. }) = originator.names.as_deref_mut()
            && let Some(at) = cancelled.iter().position(|cancelled| *cancelled == id)
        {
            cancelled.remove(at);
        }
        let server = match direction {
            Direction::ClientToServer => Endpoint::default(),
            Direction::ServerToClient => Endpoint {
                process: seen.process,
                ..Endpoint::default()
            },
        };
        let call = Box::new(Call {
            connection,
            streams: [None, None],
            sequence,
            transport,
            carrier,
            protocol_version: envelope.boxed(Field::MetaVersion),
            direction,
            method: Method(method),
            tool,
            prompt,
            resource,
            request_id: RequestId(id.clone()),
            client,
            server,
            request: Half {
                bytes: seen.bytes,
                ..Half::default()
            },
            request_hash: envelope.request_hash(&output.limits),
            response: None,
            outcome: Outcome::Pending,
            ended: seen.at,
            error_code: None,
            result_type: None,
            task: task.map(|id| TaskState {
                id,
                status: None,
                age: None,
            }),
            continues,
            notifications: 0,
            notices: Vec::new(),
            session: None,
            http_status: None,
            http_version: None,
            position: None,
            relays: None,
            overlapped: false,
            trace_context: envelope
                .text(Field::Traceparent)
                .and_then(|text| mcp::trace_context(&text)),
            ambient_context: None,
            loss: if seen.truncated {
                vec![Loss::RequestTruncated]
            } else {
                Vec::new()
            },
        });
        let requested_version = if asks {
            envelope.boxed(Field::RequestedVersion)
        } else {
            None
        };
        let other_token = progress_token.as_ref().filter(|token| **token != id).cloned();
        let in_flight = InFlight {
            call,
            requested_version,
            progress_token,
            answered: None,
            response_written: false,
            response_read: false,
            answered_before: None,
            is_relayed: false,
        };
        let slot = self.admit(in_flight, output);
        let names = self.originator(direction).names();
        names.ids.insert(id, slot);
        if let Some(token) = other_token {
            names.tokens.insert(token, slot);
        }
        slot
    }

    /// The earlier call that a request continues (multi round-trip requests, 2026-07-28).
    fn continued(
        &mut self,
        direction: Direction,
        envelope: &Envelope,
        method: &str,
        target: Option<&str>,
    ) -> Option<Continuation> {
        let unfinished = &mut self.tasks.as_mut()?.unfinished;
        if unfinished.is_empty() {
            return None;
        }
        let state = envelope.request_state(Field::ParamsRequestState);
        if state.is_none() && !envelope.has(Field::InputResponses) {
            return None;
        }
        let same =
            |it: &Unfinished| it.direction == direction && &*it.method == method && it.target.as_deref() == target;
        let by_state = unfinished
            .iter()
            .rposition(|it| state.is_some() && it.state == state && it.direction == direction);
        let at = by_state.or_else(|| unfinished.iter().rposition(same))?;
        let sequence = unfinished.remove(at)?.sequence;
        Some(Continuation { sequence })
    }

    fn find(&mut self, direction: Direction, envelope: &Envelope, meant: Option<Slot>) -> Found {
        match self.find_by_id(direction, envelope) {
            Found::Nothing => self.find_meant(direction, meant),
            found => found,
        }
    }

    fn find_meant(&mut self, direction: Direction, meant: Option<Slot>) -> Found {
        let Some(slot) = meant else {
            return Found::Nothing;
        };
        let Some(it) = self.calls.get(slot).filter(|it| it.answered.is_none()) else {
            return Found::Nothing;
        };
        let id = it.call.request_id.0.clone();
        self.originator(direction).names().ids.remove(&id);
        Found::Call(slot)
    }

    fn find_by_id(&mut self, direction: Direction, envelope: &Envelope) -> Found {
        let Some(id) = rpc::id(envelope) else {
            return Found::Nothing;
        };
        let Some(names) = self.originator(direction).names.as_deref_mut() else {
            return Found::Nothing;
        };
        let slot = names
            .ids
            .remove(id)
            .or_else(|| rpc::unquoted_number(id).and_then(|number| names.ids.remove(number)));
        if let Some(slot) = slot {
            return Found::Call(slot);
        }
        let number = rpc::unquoted_number(id);
        let matches = |cancelled: &str| cancelled == id || number == Some(cancelled);
        match names.cancelled.iter().position(|cancelled| matches(cancelled)) {
            Some(at) => {
                names.cancelled.remove(at);
                Found::Cancelled
            }
            None => Found::Nothing,
        }
    }

    fn response(&mut self, slot: Slot, kind: Kind, envelope: &Envelope, seen: Seen) {
        let Some(it) = self.calls.get_mut(slot) else {
            return;
        };
        it.answered = Some(seen.at);
        let call = &mut it.call;
        let direction = call.direction;
        call.response = Some(Half {
            bytes: seen.bytes,
            ..Half::default()
        });
        if seen.truncated {
            note(&mut call.loss, Loss::ResponseTruncated);
        }
        // Who reads the requests is the responder, even if a child of it writes the responses.
        let (responder, reader) = match direction {
            Direction::ClientToServer => (&mut call.server, self.server.process),
            Direction::ServerToClient => (&mut call.client, self.client.process),
        };
        responder.process = reader.or(seen.process).or(responder.process);
        if kind == Kind::Error {
            call.outcome = Outcome::RpcError;
            call.error_code = envelope.text(Field::ErrorCode).and_then(|code| code.parse().ok());
        } else {
            let is_error = envelope.bytes(Field::IsError) == Some(b"true");
            call.outcome = if is_error { Outcome::ToolError } else { Outcome::Ok };
            let result_type = mcp::result_type(envelope);
            let status = || {
                envelope
                    .boxed(Field::CreatedTaskStatus)
                    .or_else(|| envelope.boxed(Field::ResultStatus))
            };
            match &mut call.task {
                Some(task) => task.status = status(),
                None => {
                    let created = envelope.boxed(Field::CreatedTaskId);
                    let flat = || {
                        (result_type == ResultType::Task)
                            .then(|| envelope.boxed(Field::ResultTaskId))
                            .flatten()
                    };
                    let id = created.or_else(flat);
                    call.task = id.map(|id| TaskState {
                        id,
                        status: status(),
                        age: None,
                    });
                }
            }
            if result_type == ResultType::InputRequired {
                let target = call.tool.as_ref().or(call.prompt.as_ref()).or(call.resource.as_ref());
                self.tasks.get_or_insert_default().unfinished.push_back(Unfinished {
                    direction,
                    sequence: call.sequence,
                    state: envelope.request_state(Field::ResultRequestState),
                    method: call.method.0.clone(),
                    target: target.cloned(),
                });
            }
            call.result_type = Some(result_type);
            if direction == Direction::ClientToServer {
                if &*call.method.0 == "initialize"
                    && let Some(version) = envelope.boxed(Field::NegotiatedVersion)
                {
                    self.version = Some(version);
                }
                name_endpoint(&mut self.server, envelope, Field::ServerName, Field::ServerVersion);
                name_endpoint(
                    &mut self.server,
                    envelope,
                    Field::MetaServerName,
                    Field::MetaServerVersion,
                );
            }
        }
        let token = it.progress_token.take();
        if let Some(token) = token {
            let originator = self.originator(direction);
            if originator.by_token(&token) == Some(slot) {
                originator.names().tokens.remove(&token);
            }
        }
    }

    fn notification(&mut self, direction: Direction, envelope: &Envelope, seen: Seen, output: &mut Output) {
        let asked = direction.reversed();
        let notice = Notice {
            at: seen.at,
            method: envelope.bytes(Field::Method).and_then(mcp::notification),
        };
        match envelope.bytes(Field::Method) {
            Some(b"notifications/cancelled") => {
                let Some(id) = rpc::token(envelope, Field::RequestId) else {
                    return;
                };
                let own = self.originator(direction).by_id(id).map(|slot| (direction, slot));
                // A server ends a subscription by cancelling the client's request.
                let found = own.or_else(|| {
                    let slot = self.originator(asked).by_id(id)?;
                    let listens = self
                        .calls
                        .get(slot)
                        .is_some_and(|it| &*it.call.method.0 == "subscriptions/listen");
                    listens.then_some((asked, slot))
                });
                let Some((originator, slot)) = found else {
                    return;
                };
                let bound = output.limits.cancelled_ids;
                let cancelled = &mut self.originator(originator).names().cancelled;
                if cancelled.len() >= bound {
                    cancelled.pop_front();
                }
                cancelled.push_back(id.into());
                self.end(slot, Outcome::Cancelled, seen.at, output);
            }
            Some(b"notifications/progress") => {
                let Some(token) = rpc::token(envelope, Field::ProgressToken) else {
                    return;
                };
                let originator = self.originator(asked);
                let by_id = originator.by_id(token);
                let by_token = originator.by_token(token);
                let same = by_id.filter(|slot| {
                    self.calls
                        .get(*slot)
                        .is_some_and(|it| it.progress_token.as_deref() == Some(token))
                });
                self.count(same.or(by_token), notice, output.limits.notices);
            }
            _ => {
                let id = rpc::token(envelope, Field::SubscriptionId);
                let slot = id.and_then(|id| self.originator(asked).by_id(id));
                self.count(slot, notice, output.limits.notices);
            }
        }
    }

    fn count(&mut self, slot: Option<Slot>, notice: Notice, kept: usize) {
        if let Some(it) = slot.and_then(|slot| self.calls.get_mut(slot)) {
            it.call.notifications = it.call.notifications.saturating_add(1);
            if it.call.notices.len() < kept {
                it.call.notices.push(notice);
            }
        }
    }
}

enum Found {
    Call(Slot),
    Cancelled,
    Nothing,
}

/// Takes what a peer says of itself: a label, for display only.
fn name_endpoint(endpoint: &mut Endpoint, envelope: &Envelope, name: Field, version: Field) {
    if let Some(said) = envelope.text(name) {
        if endpoint.name.as_deref() != Some(&*said) {
            endpoint.name = Some(said.into());
        }
        let said = envelope.text(version);
        if endpoint.version.as_deref() != said.as_deref() {
            endpoint.version = said.map(Box::from);
        }
    }
}
