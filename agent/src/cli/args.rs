//! The command line: what can be asked, and the text of `--help`.

use std::{ffi::OsString, net::SocketAddr, path::PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};
use clap_complete::Shell;
use hyper::header::HeaderValue;

use crate::sink::DEFAULT_PROMETHEUS_ADDRESS;

const EXAMPLES: &str = "\
Examples:
  sudo mcpsonar trace                              every MCP call of this host, as it ends
  sudo mcpsonar trace -p 4242 --json               of one process and its descendants, as JSON lines
  sudo mcpsonar trace -- npx -y some-mcp-client    of a command, from its first byte
  sudo mcpsonar trace --otlp http://localhost:4317 as OpenTelemetry spans
  sudo mcpsonar trace --prometheus                 with metrics at http://127.0.0.1:9464/metrics
  mcpsonar doctor                                  what this kernel allows, and which TLS is opaque

Exit status:
  0  done (trace -- CMD: the status of CMD, 128+N when signal N ended it)
  1  failed
  2  wrong usage
  3  no agent is running
  4  not enough privilege";

/// Shows every Model Context Protocol call on a Linux host, with no code changes.
///
/// eBPF programs watch the pipes and sockets of processes that speak MCP; mcpsonar rebuilds the
/// JSON-RPC calls from them and tells how long each took and where the time went: waiting to be
/// read by the server, in the server, waiting to be read by the client, or on the way. Names,
/// sizes and times are shown; arguments and results never are.
#[derive(Clone, Debug, Parser)]
#[command(name = "mcpsonar", version, max_term_width = 100, after_long_help = EXAMPLES)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Print calls as they end: of the whole host, of processes, or of a command
    Trace(TraceArgs),
    /// Write what the kernel ships to a file, for `replay`: for bug reports and tests
    Record(RecordArgs),
    /// Print the calls of a recording
    Replay(ReplayArgs),
    /// Explain one call: where its time went and why, whom the server waited for, which flags were raised
    Explain(ExplainArgs),
    /// Say what this kernel, container and set of privileges allow, what is off and why
    Doctor(DoctorArgs),
    /// List MCP endpoints: who, role, sessions, calls, rates, CPU, memory, flags, asked of the running agent
    ///
    /// Without an agent, or with --candidates, it lists who may be one: processes that listen on TCP
    /// or have a TLS library, with their connections and, for each library, whether its plaintext can
    /// be seen or why not. That is read from /proc at once: which of them speak MCP only their
    /// traffic tells.
    Ps(PsArgs),
    /// Observe the whole host, keep a history and answer queries: the daemon
    Agent(AgentArgs),
    /// Print recent calls, or those under way, asked of the running agent
    Calls(CallsArgs),
    /// Print the flags that are up, what shows them and what to do, asked of the running agent
    Flags(FlagsArgs),
    /// Watch servers, tools, calls and flags live, in the whole terminal
    Top(TopArgs),
    /// Print percentiles, throughput, error rates, trends and advice, asked of the running agent
    Report(ReportArgs),
    /// Check or show the configuration of the agent
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Print the completion script of a shell
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Print the manual page
    Man {
        /// Write the pages of all commands into this directory instead
        #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
        dir: Option<PathBuf>,
    },
    /// Print the page of the documentation about the configuration
    #[command(hide = true)]
    ConfigurationPage,
    /// Print the page of the documentation about metrics
    #[command(hide = true)]
    MetricsPage,
    /// Print every instrument, flag and key of the configuration as JSON
    #[command(hide = true)]
    Catalog,
    /// Attach a pair of empty programs to every syscall until stdin closes: the yardstick of the benchmarks
    #[command(hide = true)]
    BenchEmptyTracepoints,
}

/// Print calls as they end.
///
/// Without -p and CMD the whole host is observed. CMD is run as a child and observed with all its
/// descendants from the first byte on; mcpsonar ends when CMD does, with its exit status. CMD owns
/// the standard output then, and calls go to the standard error, unless -o is given.
#[derive(Clone, Debug, Args)]
pub struct TraceArgs {
    /// Whom to observe.
    #[command(flatten)]
    pub target: TargetArgs,
    /// How to print.
    #[command(flatten)]
    pub format: FormatArgs,
    /// How to capture.
    #[command(flatten)]
    pub capture: CaptureArgs,
    /// Write what was captured, lost and concluded as JSON to FILE at the end
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub stats: Option<PathBuf>,
    /// Sample who takes part and the host, and write what flags are raised, updated and cleared to
    /// FILE, one JSON object a line; without --json also say it on the standard error
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub events: Option<PathBuf>,
    /// Thresholds of flags that differ from the defaults, as JSON: {"flags":{"host_cpu":{"warn":0.9}}}
    #[arg(long, value_name = "FILE", requires = "events", value_hint = ValueHint::FilePath)]
    pub thresholds: Option<PathBuf>,
    /// Where else to send calls.
    #[command(flatten)]
    pub otlp: OtlpArgs,
    /// What to tell of all calls together.
    #[command(flatten)]
    pub metrics: MetricsArgs,
}

/// Write raw records to a file.
///
/// The file holds the MCP traffic itself, arguments and results included: it is created readable by
/// its owner only, and what is in it should be known before it is passed on.
#[derive(Clone, Debug, Args)]
pub struct RecordArgs {
    /// The file to write
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub output: PathBuf,
    /// Whom to observe.
    #[command(flatten)]
    pub target: TargetArgs,
    /// How to capture.
    #[command(flatten)]
    pub capture: CaptureArgs,
}

/// Print the calls of a recording.
#[derive(Clone, Debug, Args)]
pub struct ReplayArgs {
    /// The recording
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub file: PathBuf,
    /// How to print.
    #[command(flatten)]
    pub format: FormatArgs,
    /// Where else to send calls.
    #[command(flatten)]
    pub otlp: OtlpArgs,
}

/// Explain one call.
#[derive(Clone, Debug, Args)]
pub struct ExplainArgs {
    /// Id of the call, or the beginning of it; `slowest` for the one that took longest
    #[arg(value_name = "CALL")]
    pub call: String,
    /// The configuration.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Where the call is: what `trace --json` has written, or a recording; else the agent is asked
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub from: Option<PathBuf>,
    /// What `trace --events` has written, for the flags that were raised then
    #[arg(long, value_name = "FILE", requires = "from", value_hint = ValueHint::FilePath)]
    pub events: Option<PathBuf>,
    /// Print one JSON object: the call, with its flags
    #[arg(long)]
    pub json: bool,
    /// Colours: auto means on a terminal, unless NO_COLOR is set
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    pub color: ColorArg,
}

/// Say what works here.
#[derive(Clone, Debug, Args)]
pub struct DoctorArgs {
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// List MCP endpoints, or candidates for them.
#[derive(Clone, Debug, Args)]
pub struct PsArgs {
    /// The configuration.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// List who may be one, without asking the agent
    #[arg(long)]
    pub candidates: bool,
    /// Print one JSON object a line and process
    #[arg(long)]
    pub json: bool,
}

/// Whom to observe.
#[derive(Clone, Debug, Default, Args)]
pub struct TargetArgs {
    /// Observe this process and its descendants; may be repeated
    #[arg(short, long = "pid", value_name = "PID", value_parser = clap::value_parser!(u32).range(1..=4_194_304))]
    pub pids: Vec<u32>,
    /// Run this command and observe it
    #[arg(last = true, value_name = "CMD", conflicts_with = "pids", value_hint = ValueHint::CommandWithArguments)]
    pub command: Vec<OsString>,
}

/// Where the agent's configuration comes from.
#[derive(Clone, Debug, Default, Args)]
pub struct ConfigArgs {
    /// Read this file instead of /etc/mcpsonar/config.toml
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub config: Option<PathBuf>,
    /// The agent's socket
    #[arg(long, value_name = "PATH", value_hint = ValueHint::FilePath)]
    pub socket: Option<String>,
    /// Set any KEY of `config show` to VALUE; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}

/// Observe the whole host until SIGTERM. SIGHUP reads the configuration again.
#[derive(Clone, Debug, Args)]
pub struct AgentArgs {
    /// The configuration.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// How to capture.
    #[command(flatten)]
    pub capture: CaptureArgs,
}

/// Check or show the configuration of the agent.
#[derive(Clone, Debug, Subcommand)]
pub enum ConfigCommand {
    /// Name every mistake
    Check(ConfigArgs),
    /// Print every key, its value and where that comes from
    Show(ConfigArgs),
}

/// Print recent calls, the oldest first.
#[derive(Clone, Debug, Args)]
pub struct CallsArgs {
    /// The configuration.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Calls that ended within this time: 90s, 15m, 24h
    #[arg(long, value_name = "DURATION", default_value = "1h")]
    pub since: String,
    /// Only slow ones
    #[arg(long)]
    pub slow: bool,
    /// Only failed ones
    #[arg(long)]
    pub errors: bool,
    /// Only of this tool
    #[arg(long)]
    pub tool: Option<String>,
    /// Only of this server
    #[arg(long)]
    pub server: Option<String>,
    /// At most so many, the newest
    #[arg(long, default_value = "50", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub limit: u32,
    /// Print further ones as they end
    #[arg(long)]
    pub watch: bool,
    /// Those that have not ended, the oldest first, with how long they have been under way
    #[arg(long, conflicts_with_all = ["slow", "errors", "tool", "server", "watch"])]
    pub in_flight: bool,
    /// Print one JSON object a line and call
    #[arg(long)]
    pub json: bool,
}

/// Print the flags that are up.
#[derive(Clone, Debug, Args)]
pub struct FlagsArgs {
    /// The configuration.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Those that were up too
    #[arg(long, visible_alias = "history")]
    pub all: bool,
    /// How far back --all looks: 90s, 15m, 24h
    #[arg(long, value_name = "DURATION", default_value = "24h")]
    pub since: String,
    /// Print changes as they come
    #[arg(long)]
    pub watch: bool,
    /// Print one JSON object a line and flag
    #[arg(long)]
    pub json: bool,
}

/// Watch everything live.
///
/// Keys: q quit, ? help, Tab the next list, arrows select, Enter the call's waterfall, s sort,
/// / filter, p pause.
#[derive(Clone, Debug, Args)]
pub struct TopArgs {
    /// The configuration.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Pause between two frames, in milliseconds
    #[arg(long, value_name = "MS", default_value = "1000", value_parser = clap::value_parser!(u64).range(100..=60_000))]
    pub interval: u64,
    /// Print one frame as text and end; so it is without a terminal too
    #[arg(long)]
    pub once: bool,
    /// Print one frame as a JSON object and end
    #[arg(long)]
    pub json: bool,
}

/// Print a report on a period.
#[derive(Clone, Debug, Args)]
pub struct ReportArgs {
    /// The configuration.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// The length of the period, which ends now: 90m, 24h, 3d
    #[arg(long, value_name = "DURATION", default_value = "24h")]
    pub since: String,
    /// Ask a Prometheus API (Prometheus, VictoriaMetrics, Mimir) about all agents that it scrapes, not this host's agent
    #[arg(long, value_name = "URL", value_hint = ValueHint::Url)]
    pub prometheus: Option<String>,
    /// Send this header to the Prometheus API: 'X-Scope-OrgID: team'. Can be given several times
    #[arg(long, value_name = "NAME: VALUE", requires = "prometheus", value_parser = header)]
    pub header: Vec<crate::report::Header>,
    /// Print one JSON object
    #[arg(long, conflicts_with = "html")]
    pub json: bool,
    /// Write a self-contained HTML page to FILE
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub html: Option<PathBuf>,
}

/// A header as it is written in HTTP.
fn header(text: &str) -> Result<crate::report::Header, String> {
    let (name, value) = text.split_once(':').ok_or("it is not NAME: VALUE")?;
    let name = name
        .trim()
        .parse()
        .map_err(|_unnamed| format!("{name} is no name of a header"))?;
    // What it says may be secret.
    let mut value = HeaderValue::from_str(value.trim()).map_err(|_unnamed| "the value has control characters")?;
    value.set_sensitive(true);
    Ok((name, value))
}

/// How to print.
#[derive(Clone, Debug, Default, Args)]
pub struct FormatArgs {
    /// Print one JSON object a line and call
    #[arg(long)]
    pub json: bool,
    /// Write calls to FILE
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub output: Option<PathBuf>,
    /// Colours: auto means on a terminal, unless NO_COLOR is set
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    pub color: ColorArg,
}

/// How to capture.
#[derive(Clone, Debug, Args)]
pub struct CaptureArgs {
    /// Hooks on single syscalls (1) or on all of them (2); auto takes 1 where the kernel allows it
    #[arg(long, default_value = "auto")]
    pub tier: TierArg,
    /// Size of the ring between kernel and agent, in KiB; rounded up to a power of two
    #[arg(long, value_name = "KIB", value_parser = clap::value_parser!(u32).range(64..=1_048_576))]
    pub ring_kib: Option<u32>,
    /// Leave TLS libraries alone: encrypted connections give no calls
    #[arg(long)]
    pub no_tls: bool,
}

/// Where else to send calls.
#[derive(Clone, Debug, Default, Args)]
pub struct OtlpArgs {
    /// Send calls as OpenTelemetry spans to this collector
    ///
    /// For gRPC the URL of the endpoint (http://localhost:4317); for HTTP the base URL
    /// (http://localhost:4318), to which /v1/traces and /v1/metrics are added. Headers, TLS, compression
    /// and sampling come from OpenTelemetry's environment variables (docs/otlp.md).
    #[arg(long = "otlp", value_name = "URL", value_hint = ValueHint::Url)]
    pub url: Option<String>,
    /// How to speak to the collector: grpc or http (protobuf)
    #[arg(
        long = "otlp-protocol",
        value_name = "PROTOCOL",
        default_value = "grpc",
        requires = "url"
    )]
    pub protocol: OtlpProtocolArg,
}

/// What to tell of all calls together.
#[derive(Clone, Copy, Debug, Default, Args)]
pub struct MetricsArgs {
    /// Serve metrics for Prometheus at this address (/metrics) while tracing
    #[arg(long, value_name = "IP:PORT", num_args = 0..=1, default_missing_value = DEFAULT_PROMETHEUS_ADDRESS)]
    pub prometheus: Option<SocketAddr>,
    /// Send metrics to the collector too: every minute, or every OTEL_METRIC_EXPORT_INTERVAL milliseconds
    ///
    /// Over HTTP /v1/metrics is added to the base URL, or takes the place of /v1/traces.
    #[arg(
        long,
        value_name = "TEMPORALITY",
        num_args = 0..=1,
        default_missing_value = "cumulative",
        requires = "url"
    )]
    pub otlp_metrics: Option<TemporalityArg>,
    /// How histograms are sent to the collector
    #[arg(long, value_name = "BUCKETS", default_value = "explicit", requires = "otlp_metrics")]
    pub otlp_histograms: HistogramsArg,
}

/// Since when sums and histograms count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TemporalityArg {
    /// Since they began.
    Cumulative,
    /// Since they were sent before.
    Delta,
}

/// Which buckets histograms have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum HistogramsArg {
    /// Those of the conventions.
    #[default]
    Explicit,
    /// Of the same relative width, over the range of what was measured.
    Exponential,
}

/// When to colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ColorArg {
    /// On a terminal, unless NO_COLOR is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// Which data hooks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum TierArg {
    /// The best that the kernel allows.
    #[default]
    Auto,
    /// fentry and fexit of the syscalls that move data.
    #[value(name = "1")]
    One,
    /// The raw tracepoints of all syscalls.
    #[value(name = "2")]
    Two,
}

/// How to speak to the collector.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum OtlpProtocolArg {
    /// gRPC.
    #[default]
    Grpc,
    /// Protobuf over HTTP.
    Http,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn consistent() {
        Cli::command().debug_assert();
    }

    fn parse(line: &str) -> Result<Cli, clap::error::ErrorKind> {
        Cli::try_parse_from(line.split(' ')).map_err(|error| error.kind())
    }

    #[test]
    fn the_contract() {
        let Ok(Cli {
            command: Command::Trace(trace),
        }) = parse("mcpsonar trace --json -p 1 -p 2 -o x --stats s")
        else {
            panic!("not a trace");
        };
        assert_eq!((trace.target.pids, trace.format.json), (vec![1, 2], true));
        let Ok(Cli {
            command: Command::Trace(trace),
        }) = parse("mcpsonar trace -- a --json -p 3")
        else {
            panic!("not a trace");
        };
        assert_eq!(trace.target.command, ["a", "--json", "-p", "3"]);
        assert!(!trace.format.json);
        for good in [
            "record -o f -- true",
            "replay --json -o x f",
            "doctor --json",
            "ps --json",
            "ps --candidates",
            "flags --history --watch --json",
            "explain slowest",
            "explain ab12 --from f --events e",
            "calls --in-flight",
            "top --once",
            "completions bash",
            "man --dir d",
            "trace --prometheus -p 1",
            "trace --prometheus -- true",
            "trace --prometheus 127.0.0.1:1 --otlp http://h --otlp-metrics --otlp-histograms exponential -p 1",
            "trace --otlp http://h --otlp-metrics delta",
            "trace --tier 1 --ring-kib 512 --otlp http://h:4317 --otlp-protocol http --color never",
        ] {
            assert!(parse(&format!("mcpsonar {good}")).is_ok(), "{good}");
        }
        for bad in [
            "",
            "record",
            "replay",
            "trace -p 0",
            "trace -p x",
            "trace -p 1 -- true",
            "trace --ring-kib 1",
            "trace --otlp-protocol http",
            "trace --tier 3",
            "explain ab12 --events e",
            "calls --in-flight --slow",
            "trace --prometheus 9464",
            "trace --otlp-metrics delta",
            "trace --otlp http://h --otlp-histograms exponential",
        ] {
            assert!(parse(format!("mcpsonar {bad}").trim_end()).is_err(), "{bad}");
        }
    }
}
