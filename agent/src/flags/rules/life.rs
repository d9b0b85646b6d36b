//! Servers that have no business living, or do not work.

use std::collections::BTreeSet;

use mcp_proto::Nanos;

use super::pressure::IntoValue;
use crate::flags::board::{Weighing, as_f64};
use crate::flags::limits::MAX_PIDS;
use crate::flags::{Engine, Evidence, Flag, Subject, Value};
use crate::host::{End, Ends};

impl Engine {
    /// Whether a server has been found to be orphaned or abandoned.
    pub(super) fn is_without_client(&self, pid: u32) -> bool {
        let subject = Subject::Process { pid };
        self.board.is_raised(Flag::Orphaned, &subject) || self.board.is_raised(Flag::Abandoned, &subject)
    }

    /// Who is at the other ends of a server's standard input and output.
    pub(in crate::flags) fn weigh_ends(&mut self, pid: u32, ends: &Ends, now: Nanos) {
        // A client may well have no standard streams.
        let Some(known) = self.processes.get(&pid).filter(|known| known.is_server) else {
            return;
        };
        if known.client.is_none()
            && !known.client_is_dead
            && let Some(&client) = ends.holders.first().filter(|&&holder| holder != pid)
        {
            self.clients.entry(client).or_default().insert(pid);
            if let Some(known) = self.processes.get_mut(&pid) {
                known.client = Some(client);
            }
        }
        let Some(known) = self.processes.get_mut(&pid) else {
            return;
        };
        known.parent = ends.parent;
        let first_parent = *known.first_parent.get_or_insert(ends.parent);
        let is_adopted = ends.parent <= 1 || ends.parent != first_parent;
        let closed = ends.stdin == End::Closed || (ends.stdin == End::None && ends.stdout == End::Closed);
        let half_closed = closed || ends.stdout == End::Closed;
        let has_stream = ends.stdin != End::None || ends.stdout != End::None;
        // A server over a network has no other ends and may well be init's child.
        known.is_private = has_stream;
        // A server that has moved its streams elsewhere, as the Python SDK does, was its client's child.
        let was_child = known.client.is_some() && known.first_parent == known.client;
        let is_orphan = (has_stream && (known.client_is_dead || (closed && is_adopted)))
            || (was_child && is_adopted && known.client_is_dead);
        let is_abandoned = half_closed && !is_orphan;
        let name = known.name.clone();
        let (client, rss) = (known.client.unwrap_or(0), known.usage.rss);
        let of = |flag, holds: bool| Weighing {
            level: self.levels.of(flag, Some(&name), None),
            subject: Subject::Process { pid },
            name: Some(&name),
            value: f64::from(u8::from(holds)),
        };
        self.board.weigh(of(Flag::Orphaned, is_orphan), now, || {
            let mut holders = ends.holders.clone();
            holders.truncate(MAX_PIDS);
            Evidence::default()
                .with("client_pid", client.into_value())
                .with("parent_pid", ends.parent.into_value())
                .with("held_by", Value::Pids(holders))
                .with("rss_bytes", rss.into_value())
        });
        self.board.weigh(of(Flag::Abandoned, is_abandoned), now, || {
            Evidence::default()
                .with("client_pid", client.into_value())
                .with("stdin", ends.stdin.code().into_value())
                .with("stdout", ends.stdout.code().into_value())
                .with("rss_bytes", rss.into_value())
        });
    }

    /// What a process does about its calls, and how long it has been idle.
    pub(in crate::flags) fn weigh_life(&mut self, pid: u32, now: Nanos) {
        let without_client = self.is_without_client(pid);
        let Some(known) = self.processes.get(&pid).filter(|known| known.is_server) else {
            return;
        };
        let (flight, usage) = (known.flight, &known.usage);
        let of = |flag, value| Weighing {
            level: self.levels.of(flag, Some(&known.name), None),
            subject: Subject::Process { pid },
            name: Some(&known.name),
            value,
        };
        let age = flight.oldest.map_or(0, |oldest| now.saturating_sub(oldest));
        // As far as it has been looked at: what it did since is not known.
        let looked = usage.quiet_since.map_or(0, |since| usage.at.saturating_sub(since));
        let silent = looked.min(now.saturating_sub(known.last_byte));
        let stuck = if flight.pending > 0 { age.min(silent) } else { 0 };
        self.board.weigh(of(Flag::Hung, as_f64(stuck) / 1e9), now, || {
            Evidence::default()
                .with("pending", flight.pending.into_value())
                .with("oldest_s", (as_f64(age) / 1e9).into_value())
                .with("silent_s", (as_f64(silent) / 1e9).into_value())
                .with("state", Value::from(&*usage.state.to_string()))
        });
        let overtaken = flight.pending > 0 && flight.oldest.is_some_and(|oldest| known.answered > oldest);
        let unanswered = if overtaken { as_f64(age) / 1e9 } else { 0.0 };
        self.board.weigh(of(Flag::UnansweredRequest, unanswered), now, || {
            Evidence::default()
                .with("oldest_s", unanswered.into_value())
                .with("pending", flight.pending.into_value())
        });
        let idle = if flight.pending > 0 || without_client || known.client_is_dead {
            0.0
        } else {
            as_f64(now.saturating_sub(known.last_byte)) / 1e9
        };
        self.board.weigh(of(Flag::Idle, idle), now, || {
            Evidence::default()
                .with("idle_s", idle.into_value())
                .with("rss_bytes", usage.rss.into_value())
        });
    }

    /// Servers of one client that are alike.
    pub(in crate::flags) fn weigh_groups(&mut self, now: Nanos) {
        let mut weighed = BTreeSet::new();
        for (&client, servers) in &self.clients {
            let mut alike: Vec<(u64, u32)> = servers
                .iter()
                .filter_map(|&pid| Some((self.processes.get(&pid)?.program, pid)))
                .filter(|&(program, _)| program != 0)
                .collect();
            alike.sort_unstable();
            for group in alike.chunk_by(|(one, _), (other, _)| one == other) {
                let pids: Vec<u32> = group.iter().map(|&(_, pid)| pid).collect();
                let known = |pid: &u32| self.processes.get(pid);
                let Some(first) = pids.first().and_then(known) else {
                    continue;
                };
                let subject = Subject::Group {
                    client_pid: client,
                    program: first.program,
                };
                weighed.insert(subject.clone());
                let weighing = Weighing {
                    level: self.levels.of(Flag::DuplicateServers, Some(&first.name), None),
                    subject,
                    name: Some(&first.name),
                    value: as_f64(pids.len() as u64),
                };
                self.board.weigh(weighing, now, || {
                    let rss: u64 = pids.iter().filter_map(known).map(|known| known.usage.rss).sum();
                    Evidence::default()
                        .with("count", (pids.len() as u64).into_value())
                        .with("pids", Value::Pids(pids.iter().copied().take(MAX_PIDS).collect()))
                        .with("rss_bytes", rss.into_value())
                });
            }
        }
        // All servers of a group may have ended, or its client.
        self.board
            .keep(Flag::DuplicateServers, |subject| weighed.contains(subject), now);
    }

    /// The kernel kills a process for want of memory.
    pub(in crate::flags) fn weigh_kill(&mut self, pid: u32, now: Nanos) {
        // A process that speaks no MCP is not our concern; its group's count tells of it.
        let Some(known) = self.processes.get(&pid) else { return };
        let pending = known.flight.pending;
        let weighing = Weighing {
            level: self.levels.of(Flag::OomKilled, Some(&known.name), None),
            subject: Subject::Process { pid },
            name: Some(&known.name),
            value: 0.0,
        };
        self.board.strike(weighing, 1, now, |kills| {
            Evidence::default()
                .with("kills", kills.into_value())
                .with("pending", pending.into_value())
        });
    }
}
