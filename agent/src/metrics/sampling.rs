//! From samples to series: what is measured at an instant, rather than as it happens. A sample
//! replaces the one before, so that a process that is gone has no series any more.

use std::collections::BTreeMap;

use super::{
    attributes::{Admission, Attributes, Given},
    family::Series,
    recorder::Recorder,
    samples::{ConnectionCount, FlagCount, HostSample, LoadCount, ProcessSample, StreamCount},
    snapshot::{Data, Family, Snapshot},
    table::{Id, TABLE},
};
use crate::semconv;

/// Within a sample no time passes: nothing in it is idle.
const NOW: u64 = 0;

/// Rows of a sample, by instrument.
#[derive(Default)]
pub(super) struct Sample {
    admission: Admission,
    rows: BTreeMap<Id, Vec<(Attributes, u64, Data)>>,
}

impl Sample {
    /// One that is about these instruments: what it has no row of is gone.
    pub(super) fn of(ids: &[Id]) -> Self {
        Self {
            rows: ids.iter().map(|&id| (id, Vec::new())).collect(),
            ..Self::default()
        }
    }

    /// Of an instrument that the sample is about there is a row only when something is known.
    pub(super) fn row(&mut self, id: Id, service: &str, given: &[Given<'_>], start: u64, data: Option<Data>) {
        let rows = self.rows.entry(id).or_default();
        if let Some(data) = data {
            let attributes = self
                .admission
                .attributes(id.instrument().attributes, service, given, NOW);
            rows.push((attributes, start, data));
        }
    }
}

impl Recorder {
    pub(super) fn take(&mut self, sample: Sample, now: u64) {
        for (id, rows) in sample.rows {
            self.series[id as usize].observe(rows, now);
        }
    }

    /// The processes of all MCP endpoints.
    pub fn processes(&mut self, processes: &[ProcessSample<'_>], now_unix_ns: u64) {
        let mut sample = Sample::default();
        for instrument in TABLE {
            if instrument
                .attributes
                .iter()
                .any(|attribute| attribute.name == semconv::PROCESS_PID)
            {
                sample.rows.insert(instrument.id, Vec::new());
            }
        }
        for process in processes {
            process_rows(&mut sample, process, now_unix_ns);
        }
        let total = |field: fn(&ProcessSample<'_>) -> Option<u64>| {
            let known = processes.iter().filter_map(field);
            known.fold(None, |sum: Option<u64>, bytes| {
                Some(sum.unwrap_or(0).saturating_add(bytes))
            })
        };
        for (name, bytes) in [
            ("rss", total(|process| process.resident_bytes)),
            ("pss", total(|process| process.proportional_bytes)),
            ("swap", total(|process| process.swapped_bytes)),
            ("virtual", total(|process| process.virtual_bytes)),
        ] {
            sample.row(Id::MemoryUsage, "", &[name.into()], now_unix_ns, bytes.map(Data::Count));
        }
        self.take(sample, now_unix_ns);
    }

    /// The host.
    pub fn host(&mut self, host: &HostSample<'_>, now_unix_ns: u64) {
        let mut sample = Sample::of(&[Id::CpuUsage, Id::Pressure, Id::PressureTime]);
        for (core, percent) in host.core_percent {
            let core = core.to_string();
            let data = Some(Data::Number(*percent));
            sample.row(Id::CpuUsage, "", &[core.as_str().into()], now_unix_ns, data);
        }
        for pressure in host.pressure {
            let what = [pressure.resource.into(), pressure.stall.into()];
            for (window, share) in ["10s", "1m", "5m"].into_iter().zip(pressure.shares) {
                let [resource, stall] = what;
                let data = Some(Data::Number(share));
                sample.row(Id::Pressure, "", &[resource, stall, window.into()], now_unix_ns, data);
            }
            let total = Some(Data::Number(pressure.total_seconds));
            sample.row(Id::PressureTime, "", &what, host.booted_unix_ns, total);
        }
        self.take(sample, now_unix_ns);
    }

    /// All flags that are up or have been.
    pub fn flags(&mut self, flags: &[FlagCount<'_>], now_unix_ns: u64) {
        let mut sample = Sample::of(&[Id::FlagsActive, Id::FlagsRaised]);
        for flag in flags {
            let given = [flag.code.into(), flag.severity.into()];
            let started = self.started_unix_ns;
            sample.row(Id::FlagsActive, "", &given, started, Some(Data::Count(flag.active)));
            sample.row(Id::FlagsRaised, "", &given, started, Some(Data::Count(flag.raised)));
        }
        self.take(sample, now_unix_ns);
    }

    /// All open connections.
    pub fn connections(&mut self, connections: &[ConnectionCount<'_>], now_unix_ns: u64) {
        let mut sample = Sample::of(&[Id::Connections, Id::ActiveConnections]);
        for count in connections {
            let server = count.server.unwrap_or(semconv::UNKNOWN_SERVICE);
            let open = Some(Data::Count(count.open));
            let given = [server.into(), count.transport.into()];
            sample.row(Id::Connections, server, &given, self.started_unix_ns, open.clone());
            sample.row(Id::ActiveConnections, server, &[server.into()], now_unix_ns, open);
        }
        self.take(sample, now_unix_ns);
    }

    /// All streams.
    pub fn streams(&mut self, streams: &[StreamCount], now_unix_ns: u64) {
        let mut sample = Sample::of(&[Id::Streams]);
        for count in streams {
            let data = Some(Data::Count(count.streams));
            sample.row(Id::Streams, "", &[count.state.into()], self.started_unix_ns, data);
        }
        self.take(sample, now_unix_ns);
    }

    /// What services have to answer.
    pub fn loads(&mut self, loads: &[LoadCount<'_>], now_unix_ns: u64) {
        let mut sample = Sample::of(&[Id::CallsInFlight]);
        for load in loads {
            let service = load.service.unwrap_or(semconv::UNKNOWN_SERVICE);
            for (state, calls) in [("unread", load.unread), ("read", load.read)] {
                let given = [service.into(), state.into()];
                let data = Some(Data::Count(calls));
                sample.row(Id::CallsInFlight, service, &given, self.started_unix_ns, data);
            }
        }
        self.take(sample, now_unix_ns);
    }

    /// Every series as it is now.
    #[must_use]
    pub fn snapshot(&self, now_unix_ns: u64) -> Snapshot {
        let mut own = Sample::default();
        let kept: usize = self.series.iter().map(Series::len).sum();
        let kept = Some(Data::Count(kept as u64));
        own.row(Id::AgentSeries, "", &[], self.started_unix_ns, kept);
        for full in self.series.iter().filter(|series| series.overflows > 0) {
            let name = full.instrument().name.into();
            let data = Some(Data::Count(full.overflows));
            own.row(Id::AgentOverflows, "", &[name], self.started_unix_ns, data);
        }
        let families = self.series.iter().map(|series| {
            let instrument = series.instrument();
            own.rows.remove(&instrument.id).map_or_else(
                || series.snapshot(),
                |rows| {
                    let mut of_recorder = Series::new(instrument, false);
                    of_recorder.observe(rows, now_unix_ns);
                    of_recorder.snapshot()
                },
            )
        });
        let families: Vec<Family> = families.filter(|family| !family.points.is_empty()).collect();
        Snapshot {
            at_unix_ns: now_unix_ns,
            families,
        }
    }
}

fn process_rows(sample: &mut Sample, process: &ProcessSample<'_>, now: u64) {
    let service = process.service.or(process.program).unwrap_or(semconv::UNKNOWN_SERVICE);
    let start = process.started_unix_ns;
    let [name, pid, program] = [service.into(), process.pid.into(), process.program.into()];

    let counts = [
        (Id::ProcessMemoryUsage, process.resident_bytes),
        (Id::ProcessMemoryVirtual, process.virtual_bytes),
        (Id::ProcessProportional, process.proportional_bytes),
        (Id::ProcessSwap, process.swapped_bytes),
        (Id::ProcessThreads, process.threads),
        (Id::ProcessDescriptors, process.descriptors),
        (Id::ProcessDescriptorLimit, process.descriptor_limit),
        (Id::GroupMemory, process.group.memory_bytes),
        (Id::GroupMemoryLimit, process.group.memory_limit_bytes),
    ];
    for (id, count) in counts {
        sample.row(id, service, &[name, pid, program], start, count.map(Data::Count));
    }
    let counts = [
        (Id::ProcessDiskIo, "read", process.disk_read_bytes),
        (Id::ProcessDiskIo, "write", process.disk_written_bytes),
        (Id::ProcessSwitches, "voluntary", process.switches_voluntary),
        (Id::ProcessSwitches, "involuntary", process.switches_involuntary),
        (Id::ProcessFaults, "major", process.faults_major),
        (Id::ProcessFaults, "minor", process.faults_minor),
    ];
    for (id, which, count) in counts {
        sample.row(
            id,
            service,
            &[name, pid, program, which.into()],
            start,
            count.map(Data::Count),
        );
    }
    let numbers = [
        (Id::ProcessCpuTime, "user", process.cpu_user_seconds),
        (Id::ProcessCpuTime, "system", process.cpu_system_seconds),
        (Id::ProcessCpuUtilization, "user", process.cpu_user_share),
        (Id::ProcessCpuUtilization, "system", process.cpu_system_share),
    ];
    for (id, mode, number) in numbers {
        sample.row(
            id,
            service,
            &[name, pid, program, mode.into()],
            start,
            number.map(Data::Number),
        );
    }
    #[expect(clippy::cast_precision_loss, reason = "exact up to 104 days")]
    let uptime = now.checked_sub(start).map(|nanos| nanos as f64 / 1e9);
    for (id, start, number) in [
        (Id::ProcessRunQueue, start, process.run_queue_seconds),
        (Id::ProcessUptime, start, uptime),
        (Id::GroupCpuLimit, start, process.group.cpu_limit),
        (
            Id::GroupThrottled,
            process.group.since_unix_ns,
            process.group.throttled_seconds,
        ),
    ] {
        sample.row(id, service, &[name, pid, program], start, number.map(Data::Number));
    }
}
