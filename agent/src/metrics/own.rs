//! What the agent says of itself: what it costs, what it loses, where it listens, and how its exporters do.

use super::{
    recorder::Recorder,
    samples::{AgentSample, ExporterSample, HookCount},
    sampling::Sample,
    snapshot::Data,
    table::Id,
};

impl Recorder {
    /// All losses since the recorder began, by name.
    pub fn losses<'a>(&mut self, losses: impl IntoIterator<Item = (&'a str, u64)>, now_unix_ns: u64) {
        let mut sample = Sample::of(&[Id::Losses]);
        for (name, count) in losses {
            let data = Some(Data::Count(count));
            sample.row(Id::Losses, "", &[name.into()], self.started_unix_ns, data);
        }
        self.take(sample, now_unix_ns);
    }

    /// What the agent itself costs.
    pub fn agent(&mut self, agent: AgentSample, now_unix_ns: u64) {
        let mut sample = Sample::default();
        let started = self.started_unix_ns;
        let mut row = |id, start, data| sample.row(id, "", &[], start, Some(data));
        row(Id::AgentCpuTime, started, Data::Number(agent.cpu_seconds));
        row(Id::AgentMemory, started, Data::Count(agent.resident_bytes));
        row(Id::AgentMemoryPeak, now_unix_ns, Data::Count(agent.peak_bytes));
        self.take(sample, now_unix_ns);
    }

    /// Where it listens in the kernel, and where it would.
    pub fn hooks(&mut self, hooks: &[HookCount<'_>], now_unix_ns: u64) {
        let mut sample = Sample::of(&[Id::AgentHooks]);
        for hook in hooks {
            let given = [hook.name.into(), if hook.on { "on" } else { "off" }.into()];
            let data = Some(Data::Count(hook.hooks));
            sample.row(Id::AgentHooks, "", &given, self.started_unix_ns, data);
        }
        self.take(sample, now_unix_ns);
    }

    /// How all exporters do.
    pub fn exporters(&mut self, exporters: &[ExporterSample], now_unix_ns: u64) {
        let mut sample = Sample::of(&[
            Id::ExporterItems,
            Id::ExporterErrors,
            Id::ExporterQueue,
            Id::ExporterQueueLimit,
        ]);
        let started = self.started_unix_ns;
        for of in exporters {
            let name = of.exporter.into();
            for (fate, items) in [
                ("sent", Some(of.sent)),
                ("failed", Some(of.failed)),
                ("dropped", of.dropped),
            ] {
                let items = items.map(Data::Count);
                sample.row(Id::ExporterItems, "", &[name, fate.into()], started, items);
            }
            for (id, count) in [
                (Id::ExporterErrors, of.errors),
                (Id::ExporterQueue, of.queue.map(|(waiting, _)| waiting)),
                (Id::ExporterQueueLimit, of.queue.map(|(_, limit)| limit)),
            ] {
                sample.row(id, "", &[name], started, count.map(Data::Count));
            }
        }
        self.take(sample, now_unix_ns);
    }
}
