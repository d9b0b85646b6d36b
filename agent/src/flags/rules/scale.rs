//! Whether a server needs more instances, or fewer.

use std::collections::BTreeMap;
use std::sync::Arc;

use mcp_proto::Nanos;

use super::pressure::IntoValue;
use crate::flags::board::{Weighing, as_f64};
use crate::flags::{Engine, Evidence, Flag, Subject};

/// Slots of calls that make the last minute.
const MINUTE: usize = 2;

/// What all instances of a server come to.
#[derive(Debug, Default)]
struct Fleet {
    instances: u64,
    /// Those that are not one client's own: of such there are as many as clients.
    shared: u64,
    cpu: Mean,
    memory: Mean,
    waiting: u64,
    is_contained: bool,
}

#[derive(Debug, Default)]
struct Mean {
    sum: f64,
    count: u64,
}

impl Mean {
    fn add(&mut self, value: Option<f64>) {
        if let Some(value) = value {
            self.sum += value;
            self.count += 1;
        }
    }

    fn value(&self) -> Option<f64> {
        (self.count > 0).then(|| self.sum / as_f64(self.count))
    }
}

impl Engine {
    pub(in crate::flags) fn weigh_scale(&mut self, now: Nanos) {
        let mut fleets: BTreeMap<Arc<str>, Fleet> = BTreeMap::new();
        for known in self.processes.values().filter(|known| known.is_server) {
            let fleet = fleets.entry(Arc::clone(&known.name)).or_default();
            fleet.instances += 1;
            fleet.shared += u64::from(!known.is_private);
            fleet.cpu.add(known.usage.cpu);
            fleet.memory.add(known.usage.memory);
            fleet.waiting += u64::from(known.flight.waiting);
            fleet.is_contained |= known.usage.is_limited;
        }
        for (server, fleet) in fleets {
            let minute = self
                .servers
                .get(&server)
                .map(|state| state.counts(now, MINUTE))
                .unwrap_or_default();
            let response = minute.response_ms();
            let (cpu, memory) = (fleet.cpu.value(), fleet.memory.value());
            let of = |flag| Weighing {
                level: self.levels.of(flag, Some(&server), None),
                subject: Subject::Server {
                    server: Arc::clone(&server),
                },
                name: Some(&server),
                value: 0.0,
            };
            let evidence = || {
                Evidence::default()
                    .with("cpu", cpu.map(Into::into))
                    .with("memory", memory.map(Into::into))
                    .with("response_ms", response.map(Into::into))
                    .with("waiting", fleet.waiting.into_value())
                    .with("instances", fleet.instances.into_value())
            };
            let mut out = of(Flag::ScaleOut);
            let over = [
                (cpu, "cpu"),
                (memory, "memory"),
                (response, "response_ms"),
                (Some(as_f64(fleet.waiting)), "waiting"),
            ];
            let over = over
                .into_iter()
                .filter(|(value, key)| value.is_some_and(|value| value > out.level.parameter(key)));
            out.value = as_f64(over.count() as u64);
            self.board.weigh(out, now, evidence);
            let mut less = of(Flag::ScaleIn);
            let below = |value: Option<f64>, key| value.is_some_and(|value| value < less.level.parameter(key));
            let low = below(cpu, "cpu") && below(memory, "memory") && below(response, "response_ms");
            // One instance that nobody scales cannot be fewer.
            let scalable = fleet.shared > 1 || fleet.is_contained;
            let used = as_f64(minute.timed) >= less.level.parameter("min_calls");
            less.value = f64::from(u8::from(low && scalable && used));
            self.board.weigh(less, now, evidence);
        }
    }
}
