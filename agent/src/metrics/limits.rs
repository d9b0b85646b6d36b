//! Every bound of the metrics. Names of methods, tools and servers come from the wire: whoever
//! writes there must not decide how much memory the agent takes, nor how much a back end stores.

/// Series of an instrument about calls. Further ones share series with `_OTHER` in them.
pub const CALL_SERIES: usize = 1000;
/// Series of an instrument about processes.
pub const PROCESS_SERIES: usize = 2000;
/// Series of any other instrument.
pub const SERIES: usize = 200;
/// Series with `_OTHER` that an instrument has on top of its bound. Beyond them one series takes all.
pub const OVERFLOW_SERIES: usize = 100;

/// Services that are told apart.
pub const SERVICES: usize = 200;
/// Methods of a service beyond those that the protocol knows.
pub const METHODS: usize = 32;
/// Tools of a service.
pub const TOOLS: usize = 200;
/// Prompts of a service.
pub const PROMPTS: usize = 100;
/// Error codes of a service, JSON-RPC's or HTTP's.
pub const CODES: usize = 40;
/// Revisions of the protocol that a service speaks.
pub const VERSIONS: usize = 16;
/// Those whom a service waits for.
pub const UPSTREAMS: usize = 32;
/// Those who ask a service.
pub const REQUESTERS: usize = 64;
/// Addresses that a service has.
pub const ADDRESSES: usize = 64;
/// Names of programs of a service.
pub const PROGRAMS: usize = 64;
/// Kinds of losses, flags and the like, which come from the agent's own code.
pub const KINDS: usize = 100;
/// Hooks of the kernel that are told apart.
pub const HOOKS: usize = 150;
/// Bytes of a value of an attribute; longer ones are cut.
pub const VALUE_BYTES: usize = 200;

/// An event's series that was not touched for this long gives way to a new one when its instrument
/// is full.
pub const IDLE_NS: u64 = 3_600_000_000_000;
/// Pause between two searches for such series.
pub const SWEEP_NS: u64 = 60_000_000_000;

/// Buckets of an exponential histogram (the OpenTelemetry SDK's default).
pub const EXPONENTIAL_BUCKETS: usize = 160;
/// Finest scale of an exponential histogram: a bucket's bounds differ by 2^-20.
pub const EXPONENTIAL_MAX_SCALE: i32 = 20;

/// Requests that are remembered to recognise repetitions.
pub const REPEATS: usize = 4096;
/// How long a request is remembered after it was last made.
pub const REPEAT_NS: u64 = 300_000_000_000;
