//! The table of all instruments: the only place that knows their names. The recorder, the exporters
//! and the documentation read it.

use super::{
    instrument::{Attribute, Instrument, Kind, Origin, Values},
    limits,
};
use crate::semconv;

use Kind::{Counter, Gauge, Histogram, UpDownCounter};
use Origin::{Conventions, Operators, Own};

/// Bounds of the four histograms of the MCP conventions, in seconds (`docs/gen-ai/mcp.md`).
const CONVENTION_BOUNDS: &[f64] = &[
    0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0,
];
/// Bounds that operators of MCP systems use, in seconds.
const OPERATOR_BOUNDS: &[f64] = &[0.01, 0.05, 0.1, 0.5, 1.0, 2.0, 5.0, 10.0];
/// Bounds for parts of a call, in seconds: pipes are read within microseconds, so below a millisecond they
/// are as close as above it.
const PART_BOUNDS: &[f64] = &[
    0.000_01, 0.000_02, 0.000_05, 0.000_1, 0.000_2, 0.000_5, 0.001, 0.002, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 10.0,
];

const fn closed(name: &'static str, values: &'static [&'static str]) -> Attribute {
    Attribute {
        name,
        values: Values::Closed(values),
        identifies: false,
    }
}

const fn open(name: &'static str, distinct: usize) -> Attribute {
    Attribute {
        name,
        values: Values::Open(distinct),
        identifies: false,
    }
}

const fn service(name: &'static str) -> Attribute {
    Attribute {
        name,
        values: Values::Service,
        identifies: false,
    }
}

const fn method(name: &'static str) -> Attribute {
    Attribute {
        name,
        values: Values::Method,
        identifies: false,
    }
}

const fn number(name: &'static str, distinct: usize) -> Attribute {
    Attribute {
        name,
        values: Values::Number(distinct),
        identifies: false,
    }
}

const fn identifying(attribute: Attribute) -> Attribute {
    Attribute {
        identifies: true,
        ..attribute
    }
}

/// Who is measured. The conventions have it on the resource.
const SERVICE: Attribute = identifying(service(semconv::SERVICE_NAME));
const METHOD: Attribute = method(semconv::MCP_METHOD_NAME);
const ERROR: Attribute = open(semconv::ERROR_TYPE, limits::CODES);
const STATUS_CODE: Attribute = open(semconv::RPC_RESPONSE_STATUS_CODE, limits::CODES);
const TOOL: Attribute = open(semconv::GEN_AI_TOOL_NAME, limits::TOOLS);
const PROMPT: Attribute = open(semconv::GEN_AI_PROMPT_NAME, limits::PROMPTS);
const OPERATION: Attribute = closed(semconv::GEN_AI_OPERATION_NAME, &["execute_tool"]);
const VERSION: Attribute = open(semconv::MCP_PROTOCOL_VERSION, limits::VERSIONS);
const TRANSPORT: Attribute = closed(semconv::NETWORK_TRANSPORT, &["pipe", "tcp", "unix"]);
const PROTOCOL: Attribute = closed(semconv::NETWORK_PROTOCOL_NAME, &["http", "websocket"]);
const ADDRESS: Attribute = open(semconv::SERVER_ADDRESS[0], limits::ADDRESSES);
const PORT: Attribute = number(semconv::SERVER_ADDRESS[1], limits::ADDRESSES);

const CLIENT_OPERATION: &[Attribute] = &[
    SERVICE,
    METHOD,
    ERROR,
    STATUS_CODE,
    TOOL,
    PROMPT,
    OPERATION,
    VERSION,
    TRANSPORT,
    PROTOCOL,
    ADDRESS,
    PORT,
];
const SERVER_OPERATION: &[Attribute] = &[
    SERVICE,
    METHOD,
    ERROR,
    STATUS_CODE,
    TOOL,
    PROMPT,
    OPERATION,
    VERSION,
    TRANSPORT,
    PROTOCOL,
];
const CLIENT_SESSION: &[Attribute] = &[SERVICE, VERSION, PROTOCOL, TRANSPORT, ERROR, ADDRESS, PORT];
const SERVER_SESSION: &[Attribute] = &[SERVICE, VERSION, PROTOCOL, TRANSPORT, ERROR];

/// A process of an MCP endpoint. The conventions have these on the resource.
const PID: Attribute = identifying(number(semconv::PROCESS_PID, limits::PROCESS_SERIES));
const PROGRAM: Attribute = identifying(open(semconv::PROCESS_EXECUTABLE_NAME, limits::PROGRAMS));
const PROCESS: &[Attribute] = &[SERVICE, PID, PROGRAM];
const CPU_MODE: Attribute = closed("cpu.mode", &["user", "system"]);
const PROCESS_CPU: &[Attribute] = &[SERVICE, PID, PROGRAM, CPU_MODE];
const PROCESS_DISK: &[Attribute] = &[SERVICE, PID, PROGRAM, closed("disk.io.direction", &["read", "write"])];
const PROCESS_SWITCHES: &[Attribute] = &[
    SERVICE,
    PID,
    PROGRAM,
    closed("process.context_switch.type", &["voluntary", "involuntary"]),
];
const PROCESS_FAULTS: &[Attribute] = &[
    SERVICE,
    PID,
    PROGRAM,
    closed("system.paging.fault.type", &["major", "minor"]),
];

const RESOURCE: Attribute = closed("mcpsonar.pressure.resource", &["cpu", "memory", "io", "irq"]);
const STALL: Attribute = closed("mcpsonar.pressure.stall", &["some", "full"]);
const WINDOW: Attribute = closed("mcpsonar.pressure.window", &["10s", "1m", "5m"]);

const FLAG: Attribute = open("mcpsonar.flag.code", limits::KINDS);
const SEVERITY: Attribute = closed("mcpsonar.flag.severity", &["info", "warning", "critical"]);
const WAY: Attribute = closed("mcpsonar.transport", &["stdio", "socket", "http", "sse", "websocket"]);
const OUTCOME: &[&str] = &[
    "ok",
    "tool_error",
    "rpc_error",
    "http_error",
    "cancelled",
    "abandoned",
    "client_exit",
    "server_exit",
    "pending",
];
const PART: Attribute = closed(
    "mcpsonar.part",
    &["request_queue", "server", "response_queue", "transfer"],
);

/// As a call's JSON has them.
const CAUSE: Attribute = closed(
    "mcpsonar.cause",
    &[
        "on_cpu",
        "run_queue",
        "disk",
        "upstream",
        "lock_or_timer",
        "memory",
        "throttled",
        "blocked_write",
        "unknown",
    ],
);
const UPSTREAM: &[Attribute] = &[
    SERVICE,
    open("mcpsonar.upstream.peer", limits::UPSTREAMS),
    closed("mcpsonar.upstream.kind", &["connection", "lookup", "process"]),
];
const HOOK: &[Attribute] = &[
    open("mcpsonar.hook.name", limits::HOOKS),
    closed("mcpsonar.hook.state", &["on", "off"]),
];
const EXPORTER: Attribute = closed("mcpsonar.exporter", &["otlp_spans", "otlp_metrics", "history"]);
const FATE: Attribute = closed("mcpsonar.exporter.fate", &["sent", "failed", "dropped"]);

const OPERATORS_CALL: &[Attribute] = &[method("method"), closed("status", OUTCOME), service("server")];

macro_rules! instruments {
    ($($id:ident, $origin:expr, $kind:expr, $name:literal, $unit:literal, $attributes:expr, $series:expr, $text:literal;)*) => {
        /// Names an instrument in code.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[expect(missing_docs, reason = "the table says what each is")]
        pub enum Id { $($id),* }

        /// Every instrument, in the order of [`Id`].
        pub static TABLE: &[Instrument] = &[$(Instrument {
            id: Id::$id,
            origin: $origin,
            name: $name,
            kind: $kind,
            unit: $unit,
            description: $text,
            attributes: $attributes,
            series: $series,
        }),*];
    };
}

instruments! {
    ClientOperation, Conventions, Histogram(CONVENTION_BOUNDS), "mcp.client.operation.duration", "s", CLIENT_OPERATION, limits::CALL_SERIES,
        "Time from the request written to the answer read, of whoever asked.";
    ServerOperation, Conventions, Histogram(CONVENTION_BOUNDS), "mcp.server.operation.duration", "s", SERVER_OPERATION, limits::CALL_SERIES,
        "Time from the request read to the answer written, of whoever was asked.";
    ClientSession, Conventions, Histogram(CONVENTION_BOUNDS), "mcp.client.session.duration", "s", CLIENT_SESSION, limits::CALL_SERIES,
        "Time from the first message of a session to its end, of the client. Protocol 2026-07-28 and later have no sessions.";
    ServerSession, Conventions, Histogram(CONVENTION_BOUNDS), "mcp.server.session.duration", "s", SERVER_SESSION, limits::CALL_SERIES,
        "Time from the first message of a session to its end, of the server. Protocol 2026-07-28 and later have no sessions.";

    ProcessCpuTime, Conventions, Counter, "process.cpu.time", "s", PROCESS_CPU, limits::PROCESS_SERIES,
        "CPU time that the process of an MCP endpoint has used.";
    ProcessCpuUtilization, Conventions, Gauge, "process.cpu.utilization", "1", PROCESS_CPU, limits::PROCESS_SERIES,
        "CPU time of the process of an MCP endpoint since the sample before, divided by the elapsed time and the number of CPUs.";
    ProcessMemoryUsage, Conventions, UpDownCounter, "process.memory.usage", "By", PROCESS, limits::PROCESS_SERIES,
        "Physical memory (resident set) of the process of an MCP endpoint.";
    ProcessMemoryVirtual, Conventions, UpDownCounter, "process.memory.virtual", "By", PROCESS, limits::PROCESS_SERIES,
        "Committed virtual memory of the process of an MCP endpoint.";
    ProcessDiskIo, Conventions, Counter, "process.disk.io", "By", PROCESS_DISK, limits::PROCESS_SERIES,
        "Bytes that the process of an MCP endpoint had transferred from and to disks.";
    ProcessThreads, Conventions, UpDownCounter, "process.thread.count", "{thread}", PROCESS, limits::PROCESS_SERIES,
        "Threads of the process of an MCP endpoint.";
    ProcessDescriptors, Conventions, UpDownCounter, "process.unix.file_descriptor.count", "{file_descriptor}", PROCESS, limits::PROCESS_SERIES,
        "File descriptors that the process of an MCP endpoint has open.";
    ProcessSwitches, Conventions, Counter, "process.context_switches", "{context_switch}", PROCESS_SWITCHES, limits::PROCESS_SERIES,
        "Times that the process of an MCP endpoint was switched away from.";
    ProcessFaults, Conventions, Counter, "process.paging.faults", "{fault}", PROCESS_FAULTS, limits::PROCESS_SERIES,
        "Page faults of the process of an MCP endpoint.";
    ProcessUptime, Conventions, Gauge, "process.uptime", "s", PROCESS, limits::PROCESS_SERIES,
        "How long the process of an MCP endpoint has been running.";
    ProcessProportional, Own, UpDownCounter, "mcpsonar.process.memory.proportional", "By", PROCESS, limits::PROCESS_SERIES,
        "Physical memory of the process of an MCP endpoint, shared pages divided among those that share them (PSS).";
    ProcessSwap, Own, UpDownCounter, "mcpsonar.process.memory.swap", "By", PROCESS, limits::PROCESS_SERIES,
        "Memory of the process of an MCP endpoint that is swapped out.";
    ProcessRunQueue, Own, Counter, "mcpsonar.process.run_queue.time", "s", PROCESS, limits::PROCESS_SERIES,
        "Time that threads of the process of an MCP endpoint were ready to run and waited for a CPU.";
    ProcessDescriptorLimit, Own, UpDownCounter, "mcpsonar.process.file_descriptor.limit", "{file_descriptor}", PROCESS, limits::PROCESS_SERIES,
        "File descriptors that the process of an MCP endpoint may have open.";
    GroupMemory, Own, UpDownCounter, "mcpsonar.process.group.memory.usage", "By", PROCESS, limits::PROCESS_SERIES,
        "Memory of the control group that the process of an MCP endpoint is in, without file pages that can be had back at once: of all of its processes.";
    GroupMemoryLimit, Own, UpDownCounter, "mcpsonar.process.group.memory.limit", "By", PROCESS, limits::PROCESS_SERIES,
        "Memory at which the kernel kills in the control group that the process of an MCP endpoint is in. No series without a limit.";
    GroupCpuLimit, Own, UpDownCounter, "mcpsonar.process.group.cpu.limit", "{cpu}", PROCESS, limits::PROCESS_SERIES,
        "CPUs that the control group of the process of an MCP endpoint may use. No series without a limit.";
    GroupThrottled, Own, Counter, "mcpsonar.process.group.throttled.time", "s", PROCESS, limits::PROCESS_SERIES,
        "Time that the control group of the process of an MCP endpoint was held back because its CPU limit had been used up, since the agent knows it.";

    Pressure, Own, Gauge, "mcpsonar.system.pressure", "1", &[RESOURCE, STALL, WINDOW], limits::SERIES,
        "Share of the window in which some or all tasks of the host were stalled for want of the resource (PSI).";
    PressureTime, Own, Counter, "mcpsonar.system.pressure.time", "s", &[RESOURCE, STALL], limits::SERIES,
        "Time that some or all tasks of the host were stalled for want of the resource (PSI).";

    CallPart, Own, Histogram(PART_BOUNDS), "mcpsonar.call.part.duration", "s", &[SERVICE, PART], limits::CALL_SERIES,
        "What the time of a call was: request written and not yet read, in the server, answer written and not yet read, or on the way. The service is the one that was asked.";
    CauseTime, Own, Counter, "mcpsonar.call.cause.time", "s", &[SERVICE, CAUSE], limits::PROCESS_SERIES,
        "What servers' time in calls was spent on. Calls that overlap in one server share its causes, so that their sum can be more than has passed.";
    UpstreamTime, Own, Counter, "mcpsonar.upstream.time", "s", UPSTREAM, limits::CALL_SERIES,
        "Time in calls that the service waited for others, by whom.";
    UpstreamCalls, Own, Counter, "mcpsonar.upstream.calls", "{call}", UPSTREAM, limits::CALL_SERIES,
        "Calls in which the service waited for others, by whom.";
    CallsByRequester, Own, Counter, "mcpsonar.calls", "{call}", &[SERVICE, open("mcpsonar.requester", limits::REQUESTERS)], limits::CALL_SERIES,
        "Calls that have come out, by who has asked. The service is the one that was asked.";
    CallsInFlight, Own, UpDownCounter, "mcpsonar.calls.in_flight", "{call}", &[SERVICE, closed("mcpsonar.call.state", &["unread", "read"])], limits::CALL_SERIES,
        "Calls that the service has not answered: unread ones still lie in its pipe or socket. Those that stay open by their nature are not among them.";
    CallsIncomplete, Own, Counter, "mcpsonar.calls.incomplete", "{call}", &[open("mcpsonar.loss", limits::KINDS)], limits::SERIES,
        "Calls of which something was not seen, by what that was.";
    Faults, Own, Counter, "mcpsonar.protocol.faults", "{fault}", &[open("mcpsonar.fault", limits::KINDS)], limits::SERIES,
        "Deviations from the protocol, by what they were.";
    FlagsActive, Own, UpDownCounter, "mcpsonar.flags.active", "{flag}", &[FLAG, SEVERITY], limits::SERIES,
        "Flags that are up now.";
    FlagsRaised, Own, Counter, "mcpsonar.flags.raised", "{flag}", &[FLAG, SEVERITY], limits::SERIES,
        "Flags that have gone up.";
    Connections, Own, UpDownCounter, "mcpsonar.connections", "{connection}", &[SERVICE, WAY], limits::CALL_SERIES,
        "Connections that are open to an MCP server, by how messages travel.";
    Streams, Own, UpDownCounter, "mcpsonar.streams", "{stream}", &[closed("mcpsonar.stream.state", &["watched", "unjudged", "ignored"])], limits::SERIES,
        "Streams that the agent knows, by what was decided about them.";
    Losses, Own, Counter, "mcpsonar.losses", "{loss}", &[open("mcpsonar.loss", limits::KINDS)], limits::SERIES,
        "What was not seen, or seen and not delivered: records, bytes, messages, calls, exports, by name.";

    AgentCpuTime, Own, Counter, "mcpsonar.agent.cpu.time", "s", &[], 1,
        "CPU time of the agent itself.";
    AgentMemory, Own, UpDownCounter, "mcpsonar.agent.memory.usage", "By", &[], 1,
        "Physical memory (resident set) of the agent itself.";
    AgentMemoryPeak, Own, Gauge, "mcpsonar.agent.memory.peak", "By", &[], 1,
        "Largest physical memory of the agent itself since it began.";
    AgentCalls, Own, Counter, "mcpsonar.agent.calls", "{call}", &[], 1,
        "Calls that the agent has put together.";
    AgentSeries, Own, UpDownCounter, "mcpsonar.agent.series", "{series}", &[], 1,
        "Series that the agent keeps.";
    AgentOverflows, Own, Counter, "mcpsonar.agent.series.overflows", "{measurement}", &[open("mcpsonar.instrument", limits::KINDS)], limits::SERIES,
        "Measurements that share a series with _OTHER in it, because their instrument has as many series as it may.";
    AgentHooks, Own, UpDownCounter, "mcpsonar.agent.hooks", "{hook}", HOOK, limits::SERIES,
        "Places in the kernel where the agent listens, or would: those that are off have their name. `mcpsonar doctor` says why.";
    ExporterItems, Own, Counter, "mcpsonar.exporter.items", "{item}", &[EXPORTER, FATE], limits::SERIES,
        "Spans, points of metrics and entries of the history by what has become of them: dropped ones found no room in the queue, failed ones were refused or could not be written.";
    ExporterErrors, Own, Counter, "mcpsonar.exporter.errors", "{error}", &[EXPORTER], limits::SERIES,
        "Requests to a collector that failed; most of them are sent again.";
    ExporterQueue, Own, UpDownCounter, "mcpsonar.exporter.queue.size", "{item}", &[EXPORTER], limits::SERIES,
        "Items that wait to be sent.";
    ExporterQueueLimit, Own, UpDownCounter, "mcpsonar.exporter.queue.limit", "{item}", &[EXPORTER], limits::SERIES,
        "Items that may wait to be sent.";

    RequestDuration, Operators, Histogram(OPERATOR_BOUNDS), "mcp_request_duration_seconds", "s", OPERATORS_CALL, limits::CALL_SERIES,
        "What the requester waited when it was seen, else what the responder took. The status is the call's outcome.";
    Requests, Operators, Counter, "mcp_requests_total", "{request}", OPERATORS_CALL, limits::CALL_SERIES,
        "Calls that have come out. The status is the call's outcome; pending: the observation ended first.";
    MemoryUsage, Operators, Gauge, "mcp_memory_usage_bytes", "By", &[closed("type", &["rss", "pss", "swap", "virtual"])], limits::SERIES,
        "Memory of all processes of MCP endpoints together, by type.";
    CpuUsage, Operators, Gauge, "mcp_cpu_usage_percent", "%", &[open("core", 1024)], 1024,
        "Busy share of each CPU core of the host, whoever kept it busy.";
    ActiveConnections, Operators, Gauge, "mcp_active_connections", "{connection}", &[service("server")], limits::CALL_SERIES,
        "Connections that are open to an MCP server.";
    CacheOperations, Operators, Counter, "mcp_cache_operations_total", "{operation}",
        &[closed("operation", CACHEABLE), closed("cache_level", &["server"]), closed("result", &["hit", "miss"])], limits::SERIES,
        "Requests that repeat an earlier one to the same server (same method, same parameters, by a hash that never leaves the agent) within 5 minutes and succeed. hit: the server took at most a tenth of what the first one took, so it evidently had the answer; miss: it took longer, though a cache could have answered. Told from time alone: a server cannot be asked.";
}

/// Methods whose answer a server may keep.
pub(super) const CACHEABLE: &[&str] = &[
    "tools/call",
    "tools/list",
    "resources/read",
    "resources/list",
    "resources/templates/list",
    "prompts/get",
    "prompts/list",
    "completion/complete",
    "server/discover",
];

/// Methods that the protocol knows (schema.ts of all revisions): they need no bound.
pub(super) const METHODS: &[&str] = &[
    "initialize",
    "ping",
    "server/discover",
    "subscriptions/listen",
    "tools/list",
    "tools/call",
    "prompts/list",
    "prompts/get",
    "resources/list",
    "resources/templates/list",
    "resources/read",
    "resources/subscribe",
    "resources/unsubscribe",
    "completion/complete",
    "logging/setLevel",
    "sampling/createMessage",
    "elicitation/create",
    "roots/list",
    "tasks/list",
    "tasks/get",
    "tasks/result",
    "tasks/cancel",
    "tasks/update",
];

impl Id {
    /// The instrument.
    #[must_use]
    pub fn instrument(self) -> &'static Instrument {
        &TABLE[self as usize]
    }
}
