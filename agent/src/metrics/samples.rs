//! What the recorder is told besides calls. Times are nanoseconds since the Unix epoch, totals count
//! since what they belong to began; what is not known is `None` and has no series.

/// A session has ended.
#[derive(Clone, Debug)]
pub struct SessionSample<'a> {
    /// The client, when it was seen.
    pub client: Option<&'a str>,
    /// The server, when it was seen.
    pub server: Option<&'a str>,
    /// Revision of the protocol.
    pub protocol_version: Option<&'a str>,
    /// `network.transport`.
    pub network_transport: &'a str,
    /// `network.protocol.name`.
    pub network_protocol: Option<&'a str>,
    /// Address and port of the server, where it has one.
    pub server_address: Option<(&'a str, Option<u16>)>,
    /// Why it ended, when that was an error.
    pub error_type: Option<&'a str>,
    /// From its first message to its end, in seconds.
    pub seconds: f64,
    /// When it ended.
    pub ended_unix_ns: u64,
}

/// A process of an MCP endpoint.
#[derive(Clone, Debug, Default)]
pub struct ProcessSample<'a> {
    /// The endpoint's own word for its name, else the program's.
    pub service: Option<&'a str>,
    /// Its id.
    pub pid: u32,
    /// Name of the program.
    pub program: Option<&'a str>,
    /// When it began.
    pub started_unix_ns: u64,
    /// CPU time in user mode, seconds.
    pub cpu_user_seconds: Option<f64>,
    /// CPU time in the kernel, seconds.
    pub cpu_system_seconds: Option<f64>,
    /// CPU time in user mode since the sample before, of all CPUs together, 0 to 1.
    pub cpu_user_share: Option<f64>,
    /// CPU time in the kernel, likewise.
    pub cpu_system_share: Option<f64>,
    /// Time ready to run, waiting for a CPU, seconds.
    pub run_queue_seconds: Option<f64>,
    /// Resident set, bytes.
    pub resident_bytes: Option<u64>,
    /// Proportional set, bytes.
    pub proportional_bytes: Option<u64>,
    /// Swapped out, bytes.
    pub swapped_bytes: Option<u64>,
    /// Virtual memory, bytes.
    pub virtual_bytes: Option<u64>,
    /// Read from disks, bytes.
    pub disk_read_bytes: Option<u64>,
    /// Written to disks, bytes.
    pub disk_written_bytes: Option<u64>,
    /// Threads.
    pub threads: Option<u64>,
    /// Open file descriptors.
    pub descriptors: Option<u64>,
    /// File descriptors that it may have open.
    pub descriptor_limit: Option<u64>,
    /// Its control group.
    pub group: GroupSample,
    /// Switches of context that it asked for.
    pub switches_voluntary: Option<u64>,
    /// Switches of context that were forced on it.
    pub switches_involuntary: Option<u64>,
    /// Page faults that needed a disk.
    pub faults_major: Option<u64>,
    /// Page faults that did not.
    pub faults_minor: Option<u64>,
}

/// The control group of a process.
#[derive(Clone, Copy, Debug, Default)]
pub struct GroupSample {
    /// Working set of all of its processes, bytes.
    pub memory_bytes: Option<u64>,
    /// Its limit, bytes.
    pub memory_limit_bytes: Option<u64>,
    /// CPUs that it may use.
    pub cpu_limit: Option<f64>,
    /// Held back by that limit, in seconds since `since_unix_ns`; unknown without one.
    pub throttled_seconds: Option<f64>,
    /// When it was first looked at.
    pub since_unix_ns: u64,
}

/// The host.
#[derive(Clone, Debug, Default)]
pub struct HostSample<'a> {
    /// When it booted.
    pub booted_unix_ns: u64,
    /// Busy share of each core, in percent, by its number.
    pub core_percent: &'a [(u32, f64)],
    /// Pressure stall information.
    pub pressure: &'a [Pressure],
}

/// One line of a file in `/proc/pressure`.
#[derive(Clone, Copy, Debug)]
pub struct Pressure {
    /// `cpu`, `memory`, `io` or `irq`.
    pub resource: &'static str,
    /// `some` or `full`.
    pub stall: &'static str,
    /// Stalled share of the last 10 s, minute and 5 minutes, 0 to 1.
    pub shares: [f64; 3],
    /// Stalled since boot, seconds.
    pub total_seconds: f64,
}

/// How many flags of a kind there are.
#[derive(Clone, Copy, Debug)]
pub struct FlagCount<'a> {
    /// Its code.
    pub code: &'a str,
    /// `info`, `warning` or `critical`.
    pub severity: &'static str,
    /// How many are up.
    pub active: u64,
    /// How many have gone up since the agent began.
    pub raised: u64,
}

/// How many connections a server has.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionCount<'a> {
    /// The server.
    pub server: Option<&'a str>,
    /// How messages travel.
    pub transport: &'static str,
    /// Open connections.
    pub open: u64,
}

/// What a service has to answer.
#[derive(Clone, Copy, Debug)]
pub struct LoadCount<'a> {
    /// The service.
    pub service: Option<&'a str>,
    /// Calls that it has not read yet.
    pub unread: u64,
    /// Calls that it has read.
    pub read: u64,
}

/// One hook, or several of the same state.
#[derive(Clone, Copy, Debug)]
pub struct HookCount<'a> {
    /// Its name, where that is to be told.
    pub name: Option<&'a str>,
    /// Whether the agent listens there.
    pub on: bool,
    /// How many.
    pub hooks: u64,
}

/// What has become of what an exporter was given. Totals count since the agent began.
#[derive(Clone, Copy, Debug, Default)]
pub struct ExporterSample {
    /// `otlp_spans`, `otlp_metrics` or `history`.
    pub exporter: &'static str,
    /// Arrived.
    pub sent: u64,
    /// Refused, given up, or not written.
    pub failed: u64,
    /// Found no room in the queue, where there is one.
    pub dropped: Option<u64>,
    /// Requests that failed, where there are requests.
    pub errors: Option<u64>,
    /// What waits, and how much may.
    pub queue: Option<(u64, u64)>,
}

/// How many streams there are in a state.
#[derive(Clone, Copy, Debug)]
pub struct StreamCount {
    /// `watched`, `unjudged` or `ignored`.
    pub state: &'static str,
    /// How many.
    pub streams: u64,
}

/// What the agent itself has cost.
#[derive(Clone, Copy, Debug)]
pub struct AgentSample {
    /// CPU time, seconds.
    pub cpu_seconds: f64,
    /// Resident set, bytes.
    pub resident_bytes: u64,
    /// Largest resident set, bytes.
    pub peak_bytes: u64,
}
