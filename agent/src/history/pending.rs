//! What has come in and is not written yet, added up and bounded.

use std::collections::HashMap;

use super::Sketch;
use super::entry::{FlagRow, Reason, ServerUse, ended, is_error, is_timeout};
use super::limits::{MAX_KEPT_A_MINUTE, MAX_PENDING, MAX_PENDING_ROWS, MAX_SAMPLED_A_MINUTE, MAX_SERVERS_A_MINUTE};
use super::names::bounded;
use super::state::UnixMillis;
use crate::calls::{CallRecord, FaultRecord, Party};

const MILLIS_A_MINUTE: u64 = 60_000;

/// What the calls of one series and minute came to.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    pub(super) calls: u64,
    pub(super) errors: u64,
    pub(super) timeouts: u64,
    pub(super) request_bytes: u64,
    pub(super) response_bytes: u64,
    pub(super) sketch: Sketch,
}

/// A call to be kept whole.
#[derive(Debug)]
pub(super) struct Whole {
    pub(super) at: UnixMillis,
    pub(super) call: String,
    pub(super) series: i64,
    pub(super) latency_us: Option<f64>,
    pub(super) outcome: &'static str,
    pub(super) reason: Reason,
    pub(super) cause: Option<&'static str>,
    /// Deflated JSON.
    pub(super) body: Vec<u8>,
}

/// When something was seen first and last, and how many calls it had.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    pub(super) first: UnixMillis,
    pub(super) last: UnixMillis,
    pub(super) calls: u64,
    pub(super) errors: u64,
}

#[derive(Clone, Debug)]
pub(super) struct Session {
    pub(super) server: String,
    pub(super) client: String,
    pub(super) transport: &'static str,
    pub(super) version: Option<String>,
    pub(super) seen: Seen,
}

/// Process, its start and its role.
pub(super) type EndpointKey = (u32, u64, &'static str);

#[derive(Clone, Debug)]
pub(super) struct Endpoint {
    pub(super) name: String,
    pub(super) version: Option<String>,
    pub(super) exe: Option<String>,
    pub(super) transport: &'static str,
    pub(super) seen: Seen,
}

/// What a server used in a minute.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Used {
    pub(super) looks: u64,
    pub(super) processes: u64,
    pub(super) cores_sum: f64,
    pub(super) cores_peak: f64,
    pub(super) memory_sum: f64,
    pub(super) memory_peak: u64,
}

/// Everything that waits to be written.
#[derive(Debug, Default)]
pub(super) struct Pending {
    pub(super) tallies: HashMap<(u64, i64), Tally>,
    pub(super) wholes: Vec<Whole>,
    pub(super) faults: HashMap<(u64, &'static str, String), u64>,
    pub(super) flags: Vec<FlagRow>,
    pub(super) sessions: HashMap<String, Session>,
    pub(super) endpoints: HashMap<EndpointKey, Endpoint>,
    pub(super) resources: HashMap<(u64, String), Used>,
    /// Entries that found no room.
    pub(super) lost: u64,
}

impl Pending {
    /// Whether nothing is urgent: what servers use is written with the rest, or when the file is trimmed.
    pub(super) fn is_empty(&self) -> bool {
        self.tallies.is_empty() && self.faults.is_empty() && self.flags.is_empty() && self.wholes.is_empty()
    }

    /// Counts a call.
    pub(super) fn count(&mut self, call: &CallRecord, series: i64) {
        let at = ended(call);
        let (error, timeout) = (is_error(call), is_timeout(call));
        let key = (at / MILLIS_A_MINUTE, series);
        if let Some(tally) = room(&mut self.tallies, key, &mut self.lost, Tally::default) {
            tally.calls += 1;
            tally.errors += u64::from(error);
            tally.timeouts += u64::from(timeout);
            tally.request_bytes += call.request_bytes;
            tally.response_bytes += call.response_bytes;
            if let Some(latency) = call.latency_us {
                tally.sketch.add(latency);
            }
        }
        let once = Seen {
            first: at,
            last: at,
            calls: 0,
            errors: 0,
        };
        if let Some(id) = &call.session {
            let session = || Session {
                server: name_of(call.server.as_ref()),
                client: name_of(call.client.as_ref()),
                transport: call.transport,
                version: call.protocol_version.as_deref().map(bounded),
                seen: once,
            };
            if let Some(session) = room(&mut self.sessions, id.to_string(), &mut self.lost, session) {
                session.seen.again(at, error);
            }
        }
        for (role, party) in [("client", &call.client), ("server", &call.server)] {
            let Some((party, facts)) = party.as_ref().and_then(|party| Some((party, party.facts.as_ref()?))) else {
                continue;
            };
            let key = (facts.pid, facts.start_time.unwrap_or(0), role);
            let endpoint = || Endpoint {
                name: name_of(Some(party)),
                version: party.version.as_deref().map(bounded),
                exe: facts.exe.clone(),
                transport: call.transport,
                seen: once,
            };
            if let Some(endpoint) = room(&mut self.endpoints, key, &mut self.lost, endpoint) {
                endpoint.seen.again(at, error);
            }
        }
    }

    pub(super) fn fault(&mut self, fault: &FaultRecord) {
        let minute = fault.at_unix_ns / 1_000_000 / MILLIS_A_MINUTE;
        let key = (minute, fault.fault, bounded(fault.comm.as_deref().unwrap_or("?")));
        if let Some(count) = room(&mut self.faults, key, &mut self.lost, || 0) {
            *count += 1;
        }
    }

    /// Servers were looked at.
    #[expect(clippy::cast_precision_loss, reason = "bytes of memory stay below 2^52")]
    pub(super) fn uses(&mut self, at: UnixMillis, uses: Vec<ServerUse>) {
        for server in uses.into_iter().take(MAX_SERVERS_A_MINUTE) {
            let key = (at / MILLIS_A_MINUTE, bounded(&server.server));
            if let Some(used) = room(&mut self.resources, key, &mut self.lost, Used::default) {
                used.looks += 1;
                used.processes = used.processes.max(server.processes);
                used.cores_sum += server.cores;
                used.cores_peak = used.cores_peak.max(server.cores);
                used.memory_sum += server.memory as f64;
                used.memory_peak = used.memory_peak.max(server.memory);
            }
        }
    }

    pub(super) fn flag(&mut self, flag: FlagRow) {
        if self.flags.len() < MAX_PENDING_ROWS {
            self.flags.push(flag);
        } else {
            self.lost += 1;
        }
    }

    pub(super) fn whole(&mut self, whole: Whole) {
        if self.wholes.len() < MAX_PENDING_ROWS {
            self.wholes.push(whole);
        } else {
            self.lost += 1;
        }
    }

    /// Gives series other numbers.
    pub(super) fn renumber(&mut self, moved: &HashMap<i64, i64>) {
        let number = |old: i64| moved.get(&old).copied().unwrap_or(old);
        self.tallies = std::mem::take(&mut self.tallies)
            .into_iter()
            .map(|((minute, series), tally)| ((minute, number(series)), tally))
            .collect();
        for whole in &mut self.wholes {
            whole.series = number(whole.series);
        }
    }

    /// Everything has been written.
    pub(super) fn clear(&mut self) {
        *self = Self {
            lost: self.lost,
            ..Self::default()
        };
    }
}

impl Seen {
    fn again(&mut self, at: UnixMillis, error: bool) {
        self.first = self.first.min(at);
        self.last = self.last.max(at);
        self.calls += 1;
        self.errors += u64::from(error);
    }
}

fn name_of(party: Option<&Party>) -> String {
    bounded(party.and_then(Party::label).unwrap_or("?"))
}

/// The value of a key that is there, or for which there is room.
fn room<'a, K: Eq + std::hash::Hash, V>(
    map: &'a mut HashMap<K, V>,
    key: K,
    lost: &mut u64,
    new: impl FnOnce() -> V,
) -> Option<&'a mut V> {
    if map.len() >= MAX_PENDING && !map.contains_key(&key) {
        *lost += 1;
        return None;
    }
    Some(map.entry(key).or_insert_with(new))
}

/// How many calls of this minute have been kept whole.
#[derive(Debug, Default)]
pub(super) struct Allowance {
    minute: u64,
    kept: u32,
    sampled: u32,
    slowest: f64,
}

impl Allowance {
    /// Whether there is room for one more. Beyond the bound only those that are slower than all
    /// before: there are few of them (their number grows with the logarithm of all).
    pub(super) fn take(&mut self, call: &CallRecord, reason: Reason) -> bool {
        let minute = ended(call) / MILLIS_A_MINUTE;
        if minute > self.minute {
            *self = Self {
                minute,
                ..Self::default()
            };
        }
        if reason == Reason::Sampled {
            self.sampled += 1;
            return self.sampled <= MAX_SAMPLED_A_MINUTE;
        }
        self.kept += 1;
        let latency = call.latency_us.unwrap_or(0.0);
        let record = latency > self.slowest;
        if record {
            self.slowest = latency;
        }
        record || self.kept <= MAX_KEPT_A_MINUTE
    }
}
