//! The two streams of one conversation: who takes part, and how it ends.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use crate::hash::Seeded;
use crate::originator::Originator;
use crate::output::Output;
use crate::serving::Served;
use crate::slab::{Slab, Slot};
use crate::timeline::Ends;
use crate::{
    Call, Carrier, ConnectionId, Direction, Endpoint, Half, Loss, Nanos, Outcome, ResultType, SessionToken, StreamId,
    Transport,
};

/// A call under way.
#[derive(Debug)]
pub(crate) struct InFlight {
    /// What is known of it so far; completed when it is emitted.
    pub(crate) call: Box<Call>,
    /// The version that `initialize` asked for, which holds when none is negotiated.
    pub(crate) requested_version: Option<Box<str>>,
    pub(crate) progress_token: Option<Box<str>>,
    /// The response has come, at this time.
    pub(crate) answered: Option<Nanos>,
    pub(crate) response_written: bool,
    pub(crate) response_read: bool,
    /// How many requests of its direction had been answered when the responder had all of this one.
    pub(crate) answered_before: Option<u64>,
    /// A process that serves it has passed it on.
    pub(crate) is_relayed: bool,
}

/// Which half of a call a range of bytes is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Request,
    Response,
}

/// The half of a call whose instants are looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ticket {
    pub(crate) connection: ConnectionId,
    pub(crate) slot: Slot,
    pub(crate) part: Part,
}

/// Where the calls are that a stream carries: in one conversation, or over HTTP in many.
pub(crate) trait Conversations {
    fn conversation(&mut self, id: ConnectionId) -> Option<&mut Connection>;
}

impl Conversations for Connection {
    fn conversation(&mut self, id: ConnectionId) -> Option<&mut Connection> {
        (self.id == id).then_some(self)
    }
}

impl Conversations for HashMap<ConnectionId, Box<Connection>, Seeded> {
    fn conversation(&mut self, id: ConnectionId) -> Option<&mut Connection> {
        self.get_mut(&id).map(|connection| &mut **connection)
    }
}

/// A call that is to be continued, and how to know its successor.
#[derive(Debug)]
pub(crate) struct Unfinished {
    pub(crate) direction: Direction,
    pub(crate) sequence: u64,
    pub(crate) state: Option<u64>,
    pub(crate) method: Box<str>,
    pub(crate) target: Option<Box<str>>,
}

/// What goes on beyond one request and its answer.
#[derive(Debug, Default)]
pub(crate) struct Tasks {
    pub(crate) unfinished: VecDeque<Unfinished>,
    /// Tasks and when the request that made them was first written.
    created: VecDeque<(Box<str>, Nanos)>,
}

/// How far the conversation has come to its end.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Ending {
    pub(crate) client_exited: Option<Nanos>,
    pub(crate) server_exited: Option<Nanos>,
    /// The server read the end of its stream.
    pub(crate) client_closed: Option<Nanos>,
    /// The client read the end of its stream.
    pub(crate) server_closed: Option<Nanos>,
    /// A timer runs.
    pub(crate) waits: bool,
}

/// What a conversation over HTTP has besides.
#[derive(Debug)]
pub(crate) struct Web {
    pub(crate) transport: Transport,
    /// What names its session.
    pub(crate) token: Option<Arc<str>>,
}

#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) id: ConnectionId,
    /// Over HTTP it has no streams of its own.
    pub(crate) web: Option<Web>,
    carrier: Carrier,
    pub(crate) client_to_server: Option<StreamId>,
    pub(crate) server_to_client: Option<StreamId>,
    /// The streams, also once they are gone: requests of the client first.
    pub(crate) carried_by: [Option<StreamId>; 2],
    pub(crate) client: Endpoint,
    pub(crate) server: Endpoint,
    /// As negotiated by `initialize`.
    pub(crate) version: Option<Box<str>>,
    pub(crate) calls: Slab<InFlight>,
    pub(crate) from_client: Originator,
    pub(crate) from_server: Originator,
    /// Few conversations have any.
    pub(crate) tasks: Option<Box<Tasks>>,
    /// Not everything was seen: an unknown id is no fault of the peers.
    pub(crate) incomplete: bool,
    /// A stream of answers was lost: what is never answered may have been.
    pub(crate) is_deaf: bool,
    /// The stream that holds responses whose requests have not come.
    pub(crate) early: Option<StreamId>,
    /// The reader's count of a stream cannot be brought together with the writer's.
    pub(crate) unaligned_requests: bool,
    pub(crate) unaligned_responses: bool,
    /// Whether the writer's and the reader's side of each direction have been seen.
    pub(crate) sides_seen: [(bool, bool); 2],
    /// `None`: nothing says that it will.
    ending: Option<Box<Ending>>,
    /// By direction.
    served: [Served; 2],
    /// Calls by age, for eviction; some may have ended.
    ages: VecDeque<Slot>,
}

impl Connection {
    pub(crate) fn new(id: ConnectionId, carrier: Carrier) -> Self {
        Self {
            id,
            web: None,
            carrier,
            client_to_server: None,
            server_to_client: None,
            carried_by: [None, None],
            client: Endpoint::default(),
            server: Endpoint::default(),
            version: None,
            calls: Slab::new(),
            from_client: Originator::default(),
            from_server: Originator::default(),
            tasks: None,
            incomplete: false,
            is_deaf: false,
            early: None,
            unaligned_requests: false,
            unaligned_responses: false,
            sides_seen: [(false, false); 2],
            ending: None,
            served: [Served::default(); 2],
            ages: VecDeque::new(),
        }
    }

    pub(crate) fn stream(&mut self, direction: Direction) -> &mut Option<StreamId> {
        match direction {
            Direction::ClientToServer => &mut self.client_to_server,
            Direction::ServerToClient => &mut self.server_to_client,
        }
    }

    pub(crate) fn originator(&mut self, direction: Direction) -> &mut Originator {
        match direction {
            Direction::ClientToServer => &mut self.from_client,
            Direction::ServerToClient => &mut self.from_server,
        }
    }

    pub(crate) fn is_over(&self) -> bool {
        let over = |ending: &Ending| ending.client_exited.is_some() || ending.server_exited.is_some();
        self.ending.as_deref().is_some_and(over)
    }

    /// Whether a timer runs for its end.
    pub(crate) fn end_waits(&self) -> bool {
        self.ending.as_ref().is_some_and(|ending| ending.waits)
    }

    /// What is to be noted of its end.
    pub(crate) fn ending(&mut self) -> &mut Ending {
        self.ending.get_or_insert_default()
    }

    /// The server has given the conversation a session.
    pub(crate) fn begin_session(&mut self, token: &Arc<str>) {
        if let Some(web) = &mut self.web {
            web.token = Some(Arc::clone(token));
        }
        for it in self.calls.iter_mut() {
            it.call.session = Some(SessionToken(Arc::clone(token)));
        }
    }

    pub(crate) fn transport(&self) -> Transport {
        if let Some(web) = &self.web {
            return web.transport;
        }
        match self.carrier {
            Carrier::Pipe | Carrier::SocketPair => Transport::Stdio,
            Carrier::UnixSocket | Carrier::Tcp => Transport::Socket,
        }
    }

    pub(crate) fn carrier(&self) -> Carrier {
        self.carrier
    }

    /// Bytes went missing: nobody knows whom they concerned.
    pub(crate) fn lost_bytes(&mut self) {
        self.incomplete = true;
        for call in self.calls.iter_mut() {
            note(&mut call.call.loss, Loss::Gap);
        }
    }

    /// Answers went missing; if all that are to come did too, the connection `is_deaf` from here on.
    pub(crate) fn lost_answers(&mut self, is_deaf: bool) {
        self.is_deaf |= is_deaf;
        for call in self.calls.iter_mut().filter(|call| call.answered.is_none()) {
            note(&mut call.call.loss, Loss::Gap);
        }
    }

    /// The writer's instants of a half are settled.
    pub(crate) fn written(&mut self, slot: Slot, part: Part, (first, last): Ends) {
        if part == Part::Response {
            self.answer(slot, first.map_or(Nanos::MAX, |span| span.entered));
        }
        let Some(it) = self.calls.get_mut(slot) else {
            return;
        };
        let half = match part {
            Part::Request => &mut it.call.request,
            Part::Response => {
                it.response_written = true;
                it.call.response.get_or_insert_default()
            }
        };
        half.first_written = first.map(|span| span.entered);
        half.last_written = last.map(|span| span.exited);
    }

    /// The responder began at this time to answer.
    fn answer(&mut self, slot: Slot, began: Nanos) {
        let Some(it) = self.calls.get(slot).filter(|it| !it.response_written) else {
            return;
        };
        let direction = it.call.direction;
        if let Some(before) = it.answered_before {
            let newest_first = self.ages.iter().rev();
            let served = &mut self.served[direction as usize];
            let overlapped = served.answer(direction, before, began, newest_first, &mut self.calls);
            if let Some(it) = self.calls.get_mut(slot) {
                it.call.overlapped = overlapped;
            }
        }
    }

    /// The reader's instants of a half are settled.
    pub(crate) fn read(&mut self, slot: Slot, part: Part, (first, last): Ends) {
        let Some(it) = self.calls.get_mut(slot) else {
            return;
        };
        let half = match part {
            Part::Request => {
                if it.answered_before.is_none()
                    && let Some(last) = last
                {
                    it.answered_before = Some(self.served[it.call.direction as usize].receive(last.exited));
                }
                &mut it.call.request
            }
            Part::Response => {
                it.response_read = true;
                it.call.response.get_or_insert_default()
            }
        };
        half.first_read = first.map(|span| span.exited);
        half.last_read = last.map(|span| span.exited);
    }

    /// Emits an answered call.
    pub(crate) fn complete(&mut self, slot: Slot, output: &mut Output) {
        let Some(it) = self.calls.remove(slot) else {
            return;
        };
        let known = it
            .call
            .response
            .and_then(|half| half.last_read.or(half.first_read).or(half.last_written));
        let ended = known.or(it.answered).unwrap_or(it.call.ended);
        let outcome = it.call.outcome;
        self.emit(it, outcome, ended, output);
    }

    /// Ends a call that was not answered.
    pub(crate) fn end(&mut self, slot: Slot, outcome: Outcome, ended: Nanos, output: &mut Output) {
        let Some(mut it) = self.calls.remove(slot) else {
            return;
        };
        if it.answered_before.is_some() && !it.response_written {
            self.served[it.call.direction as usize].end();
        }
        let originator = self.originator(it.call.direction);
        if originator.by_id(&it.call.request_id.0) == Some(slot) {
            originator.names().ids.remove(&it.call.request_id.0);
        }
        if let Some(token) = &it.progress_token
            && originator.by_token(token) == Some(slot)
        {
            originator.names().tokens.remove(token);
        }
        if self.is_deaf && outcome == Outcome::Pending {
            note(&mut it.call.loss, Loss::Gap);
        }
        self.emit(it, outcome, ended, output);
    }

    /// Ends what is in flight and not answered, in the order of the requests. Answered calls
    /// still wait for their readers.
    pub(crate) fn end_unanswered(&mut self, outcome: Outcome, ended: Nanos, output: &mut Output) {
        for (slot, answered) in self.in_order() {
            if !answered {
                self.end(slot, outcome, ended, output);
            }
        }
    }

    /// Ends everything in flight; answered calls keep their outcome.
    pub(crate) fn end_all(&mut self, outcome: Outcome, ended: Nanos, output: &mut Output) {
        for (slot, answered) in self.in_order() {
            if answered {
                self.complete(slot, output);
            } else {
                self.end(slot, outcome, ended, output);
            }
        }
    }

    fn in_order(&self) -> Vec<(Slot, bool)> {
        let mut calls: Vec<_> = self.calls.slots().collect();
        calls.sort_by_key(|(_, it)| (it.call.direction as u8, it.call.sequence));
        calls
            .into_iter()
            .map(|(slot, it)| (slot, it.answered.is_some()))
            .collect()
    }

    /// How calls in flight end, when it is clear that nobody will answer them. `grace_over` says
    /// that an exit that would explain a closed stream would have been seen.
    pub(crate) fn verdict(&self, grace_over: bool) -> Option<(Outcome, Nanos)> {
        let Ending {
            client_exited,
            server_exited,
            client_closed,
            server_closed,
            ..
        } = *self.ending.as_deref()?;
        if let Some(at) = client_exited
            && server_exited.is_none_or(|server| at <= server || client_closed.is_some())
        {
            return Some((Outcome::ClientExit, at));
        }
        match (server_exited, client_closed, server_closed) {
            (Some(at), None, _) => Some((Outcome::ServerExit, at)),
            (Some(_), Some(at), _) if grace_over => Some((Outcome::Abandoned, at)),
            (None, Some(at), Some(_)) if grace_over => Some((Outcome::Abandoned, at)),
            (None, None, Some(at)) if grace_over => Some((Outcome::ServerExit, at)),
            _ => None,
        }
    }

    /// Takes a call in, and evicts the oldest when there are too many.
    pub(crate) fn admit(&mut self, call: InFlight, output: &mut Output) -> Slot {
        output.in_flight += 1;
        let slot = self.calls.insert(call);
        if self.ages.len() > 2 * self.calls.len() + 64 {
            let Self { ages, calls, .. } = self;
            ages.retain(|slot| calls.get(*slot).is_some());
        }
        self.ages.push_back(slot);
        while output.in_flight > output.limits.calls_in_flight
            && let Some(oldest) = self.ages.pop_front()
        {
            if let Some(it) = self.calls.get_mut(oldest)
                && oldest != slot
            {
                note(&mut it.call.loss, Loss::Evicted);
                let (ended, answered) = (it.call.ended, it.answered.is_some());
                output.stats.calls_evicted += 1;
                if answered {
                    self.complete(oldest, output);
                } else {
                    self.end(oldest, Outcome::Pending, ended, output);
                }
            }
        }
        slot
    }

    /// Whether the reader's instants of a direction have to be left out.
    fn is_unaligned(&self, direction: Direction) -> bool {
        match direction {
            Direction::ClientToServer => self.unaligned_requests,
            Direction::ServerToClient => self.unaligned_responses,
        }
    }

    /// What an answered call lacks of sides that were seen, when no loss explains it yet.
    fn unexplained(&self, call: &Call) -> Option<Loss> {
        let response = call.response.filter(|_| call.loss.is_empty())?;
        let lacks = |half: &Half, direction: Direction| {
            let (writer, reader) = self.sides_seen[direction as usize];
            // Who answers has read the request.
            let answers = direction == call.direction && self.sides_seen[direction.reversed() as usize].0;
            let reader = reader || answers;
            let unwritten = half.first_written.is_none() || half.last_written.is_none();
            let unread = half.first_read.is_none() || half.last_read.is_none();
            (writer && unwritten, reader && unread)
        };
        match (
            lacks(&call.request, call.direction),
            lacks(&response, call.direction.reversed()),
        ) {
            ((false, false), (false, false)) => None,
            ((false, false), (false, true)) => Some(Loss::ResponseUnread),
            _ => Some(Loss::Gap),
        }
    }

    fn emit(&mut self, it: InFlight, outcome: Outcome, ended: Nanos, output: &mut Output) {
        output.in_flight = output.in_flight.saturating_sub(1);
        let InFlight {
            mut call,
            requested_version,
            ..
        } = it;
        let without_reads = |half: &Half| half.first_read.is_none() && half.last_read.is_none();
        let request = without_reads(&call.request) && self.is_unaligned(call.direction);
        let response =
            call.response.as_ref().is_some_and(without_reads) && self.is_unaligned(call.direction.reversed());
        if request || response {
            note(&mut call.loss, Loss::Unaligned);
        }
        for (stream, known) in call.streams.iter_mut().zip(self.carried_by) {
            *stream = stream.or(known);
        }
        call.outcome = outcome;
        call.ended = ended;
        if call.protocol_version.is_none() {
            call.protocol_version = self.version.clone().or(requested_version);
        }
        let name = |own: &mut Endpoint, known: &Endpoint| {
            own.process = own.process.or(known.process);
            if own.name.is_none() {
                own.name.clone_from(&known.name);
                own.version.clone_from(&known.version);
            }
        };
        name(&mut call.client, &self.client);
        name(&mut call.server, &self.server);
        if let Some(loss) = self.unexplained(&call) {
            note(&mut call.loss, loss);
        }
        let created = call.request.first_written.or(call.request.first_read);
        if let Some(task) = &mut call.task {
            if call.result_type == Some(ResultType::Task)
                && let Some(created) = created
            {
                let tasks = &mut self.tasks.get_or_insert_default().created;
                if tasks.len() >= output.limits.tasks {
                    tasks.pop_front();
                }
                tasks.push_back((task.id.clone(), created));
            }
            let mut newest = self.tasks.iter().flat_map(|tasks| tasks.created.iter().rev());
            let known = newest.find(|(id, _)| *id == task.id);
            task.age = known.map(|(_, created)| ended.saturating_sub(*created));
        }
        output.call(call);
        if self.web.is_some() && self.calls.len() == 0 {
            self.rest();
        }
    }

    /// Gives back the room of what is over: for conversations that mostly rest.
    fn rest(&mut self) {
        self.calls.rest();
        self.ages = VecDeque::new();
        for originator in [&mut self.from_client, &mut self.from_server] {
            originator.rest();
        }
    }
}

/// Notes a loss once.
pub(crate) fn note(losses: &mut Vec<Loss>, loss: Loss) {
    if !losses.contains(&loss) {
        losses.push(loss);
    }
}
