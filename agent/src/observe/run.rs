//! The loop: ring to pipeline, verdicts back, calls to the observer.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::process::ExitStatus;
use std::time::Duration;

use agent_abi::{Membership, Record, SocketEvent, SocketRecord};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, sleep_until};

use super::child::{HeldChild, program_file};
use super::peers::PeerSearch;
use super::usage::Usage;
use super::{Aim, ObserveError, Observer, ObserverError, Options, Report, Target, origin};
use crate::calls::{Pipeline, Selection};
use crate::heap::Tide;
use crate::host::{self, ProcFs, monotonic};
use crate::sensor::{BUDGET_BYTES, Scope, Sensor, SensorError, Settings};
use crate::sink::Losses;

/// Pause between two looks at the ring while records come. The kernel wakes the agent earlier when
/// the ring fills or a stream wants a verdict.
const BUSY_PAUSE: Duration = Duration::from_millis(20);
/// Pause while none come.
const IDLE_PAUSE: Duration = Duration::from_millis(100);
/// Looks at an empty ring after which the agent is idle.
const IDLE_AFTER: u32 = 10;
/// Records taken between two looks at everything else, so that verdicts go out in time.
const BATCH: usize = 512;
/// Batches taken before signals and the command are looked at again.
const MAX_BATCHES: usize = 64;
/// After its command has ended, the observation goes on until the ring has been empty this long...
const SETTLE: Duration = Duration::from_millis(60);
/// ...but no longer than this.
const SETTLE_AT_MOST: Duration = Duration::from_millis(1000);

/// Observes until the command ends, a signal comes or the observer has had enough.
///
/// # Errors
/// When the observation cannot begin, or the observer fails and there is no command to see through.
pub async fn observe(options: Options, observer: &mut dyn Observer) -> Result<Report, ObserveError> {
    let mut aim = Aim::at(&options.target)?;
    let mut signals = Signals::listen().map_err(|source| ObserveError::Setup {
        what: "signal handlers",
        source,
    })?;
    let programs = match &options.target {
        Target::Command(command) => program_file(command).into_iter().collect(),
        _ => Vec::new(),
    };
    let mut child = match &options.target {
        Target::Command(command) => {
            let failed = |source| ObserveError::Command {
                command: name_of(command),
                source,
            };
            Some(HeldChild::fork(command).map_err(failed)?)
        }
        _ => None,
    };
    if let (Some(child), Selection::Processes(members)) = (&child, &mut aim.selection) {
        members.insert(child.pid);
    }
    let peers = match aim.scope {
        Scope::Host => None,
        Scope::Processes(_) => Some(PeerSearch::start().map_err(|source| ObserveError::Setup {
            what: "the search for peers",
            source,
        })?),
    };
    let observed = match &aim.scope {
        Scope::Host => host::all_pids(),
        Scope::Processes(processes) => processes.iter().map(|&(pid, _)| pid).collect(),
    };
    let origin = origin(aim.preexisting);
    observer.begin(&origin)?;
    let mut sensor = Sensor::start(&Settings {
        scope: aim.scope,
        tier: options.tier,
        ring_bytes: options.ring_bytes,
        budget_bytes: BUDGET_BYTES,
        timing: true,
        tls: options.tls,
        programs,
        blocked_threads,
    })?;
    observer.attached(sensor.hooks());
    let wake = sensor
        .wake()
        // SAFETY: an owned descriptor stays the same and open until it is dropped with the AsyncFd.
        .and_then(|wake| unsafe { AsyncFd::register_with_interest(wake, Interest::READABLE) }.map_err(io::Error::from))
        .map_err(|source| ObserveError::Setup {
            what: "the ring's wake-up",
            source,
        })?;
    let mut flow = Flow {
        pipeline: Pipeline::new(ProcFs, origin, aim.selection),
        peers,
        dropped: 0,
        failure: None,
        heap: Tide::default(),
    };
    if let Some(child) = &mut child {
        sensor.admit(child.pid, Membership::Member)?;
        child.release().map_err(|source| ObserveError::Setup {
            what: "the command",
            source,
        })?;
    }
    for pid in observed {
        sensor.look_for_tls(pid);
    }
    let mut command = None;
    let mut empty_looks = 0;
    let mut backlog = false;
    loop {
        let pause = match (backlog, empty_looks > IDLE_AFTER) {
            (true, _) => Duration::ZERO,
            (false, true) => IDLE_PAUSE,
            (false, false) => BUSY_PAUSE,
        };
        let next_look = Instant::now() + pause;
        tokio::select! {
            () = sleep_until(next_look) => {}
            ready = wake.readable() => {
                if let Ok(mut ready) = ready {
                    ready.clear_ready();
                }
            }
            pids = found(&mut flow.peers) => admit(&mut sensor, &pids),
            ended = ended(&mut child) => {
                command = Some(ended.map_err(|source| command_failed(&options.target, source))?);
                break;
            }
            signal = signals.next() => {
                match &child {
                    Some(child) => pass_on(signal, child.pid),
                    None if signal != SignalKind::hangup() || observer.hangup_ends() => break,
                    None => {}
                }
            }
        }
        let taken = flow.look(&mut sensor, observer);
        empty_looks = if taken == 0 { empty_looks + 1 } else { 0 };
        backlog = taken >= BATCH * MAX_BATCHES;
        if flow.failure.is_some() && child.is_none() {
            break;
        }
    }
    settle(&mut flow, &mut sensor, observer, command.is_some()).await;
    flow.pipeline.finish(monotonic());
    flow.deliver(observer);
    finish(flow, &sensor, command)
}

/// Brings peers into scope that are not.
fn admit(sensor: &mut Sensor, pids: &BTreeSet<u32>) {
    for &pid in pids {
        if sensor.membership(pid).is_none()
            && pid != std::process::id()
            && let Err(error) = sensor.admit(pid, Membership::Peer)
        {
            log::warn!("process {pid} is at the other end of a connection and stays unseen: {error}");
        }
    }
}

/// Threads in scope that are in a data syscall now.
fn blocked_threads(scope: &Scope) -> Vec<(u32, u32)> {
    let pids = match scope {
        Scope::Host => host::all_pids(),
        Scope::Processes(processes) => processes.iter().map(|&(pid, _)| pid).collect(),
    };
    pids.into_iter()
        .flat_map(|pid| host::in_data_syscall(pid).into_iter().map(move |tid| (pid, tid)))
        .collect()
}

fn name_of(command: &[std::ffi::OsString]) -> String {
    command
        .first()
        .map(|program| program.to_string_lossy().into_owned())
        .unwrap_or_default()
}

fn command_failed(target: &Target, source: io::Error) -> ObserveError {
    let command = if let Target::Command(command) = target {
        name_of(command)
    } else {
        String::new()
    };
    ObserveError::Command { command, source }
}

/// Takes what is still on its way: the last answers, the exits of the command's descendants.
async fn settle(flow: &mut Flow, sensor: &mut Sensor, observer: &mut dyn Observer, had_command: bool) {
    let began = Instant::now();
    let mut quiet_since = began;
    loop {
        if flow.look(sensor, observer) > 0 {
            quiet_since = Instant::now();
        }
        if !had_command || quiet_since.elapsed() >= SETTLE || began.elapsed() >= SETTLE_AT_MOST {
            return;
        }
        sleep_until(Instant::now() + Duration::from_millis(5)).await;
    }
}

fn finish(flow: Flow, sensor: &Sensor, command: Option<ExitStatus>) -> Result<Report, ObserveError> {
    let counters = sensor.counters();
    let stats = flow.pipeline.stats();
    let losses = flow.losses(&counters);
    if let Some(failure) = flow.failure
        && command.is_none()
    {
        return Err(failure.into());
    }
    Ok(Report {
        command,
        tier: sensor.tier(),
        hooks: sensor.hooks().to_vec(),
        counters,
        stats,
        losses,
        usage: Usage::now(),
    })
}

/// What flows, and whether somebody still takes it.
struct Flow {
    pipeline: Pipeline<ProcFs>,
    /// Where not every process is in scope.
    peers: Option<PeerSearch>,
    /// Records that found no room in the ring, as of the last look.
    dropped: u64,
    failure: Option<ObserverError>,
    heap: Tide,
}

impl Flow {
    /// Takes what is in the ring. Returns how many records that was.
    ///
    /// Comes back while the ring still fills faster than it is read: signals and the end of the
    /// command are waiting too.
    fn look(&mut self, sensor: &mut Sensor, observer: &mut dyn Observer) -> usize {
        sensor.flush_diagnostics();
        let mut total = 0;
        let mut connected = Vec::new();
        let mut started = Vec::new();
        for _ in 0..MAX_BATCHES {
            let taken = sensor.drain(BATCH, |record| {
                if self.peers.is_some() {
                    connected.extend(connection(record));
                }
                started.extend(program_of(record));
                self.pipeline.record(record);
                for facts in self.pipeline.take_fresh_facts() {
                    note(&mut self.failure, observer.facts(&facts));
                }
                note(&mut self.failure, observer.record(record));
            });
            total += taken;
            self.look_for_peers(sensor, connected.drain(..));
            for pid in started.drain(..).chain(self.pipeline.take_sealed()) {
                sensor.look_for_tls(pid);
            }
            let dropped = sensor.dropped();
            if dropped > self.dropped {
                self.dropped = dropped;
                self.pipeline.records_lost();
                observer.records_lost(dropped);
            }
            self.judge(sensor);
            self.deliver(observer);
            if taken < BATCH || self.failure.is_some() {
                break;
            }
        }
        let now = monotonic();
        self.pipeline.tick(now);
        self.heap.tick(now);
        self.judge(sensor);
        self.deliver(observer);
        if observer.wants_survey(now) {
            observer.survey(&self.pipeline.survey(now), &self.losses(&sensor.counters()));
        }
        note(&mut self.failure, observer.tick(now));
        total
    }

    /// What went missing so far.
    fn losses(&self, counters: &BTreeMap<&'static str, u64>) -> Losses {
        let mut losses = Losses::default();
        for (&name, &count) in counters.iter().filter(|(name, _)| **name != "records") {
            losses.add(name, count);
        }
        self.pipeline.count_losses(&mut losses);
        losses
    }

    /// Looks for the other end of members' connections.
    fn look_for_peers(&mut self, sensor: &Sensor, connected: impl Iterator<Item = SocketRecord>) {
        let Some(peers) = &mut self.peers else { return };
        for record in connected {
            if sensor.membership(record.header.tgid) == Some(Membership::Member) {
                peers.look_for(&record);
            }
        }
    }

    fn judge(&mut self, sensor: &mut Sensor) {
        for (key, verdict) in self.pipeline.take_judgements() {
            if let Err(error) = sensor.judge(key, verdict) {
                // The stream stays unjudged: seen in part, and its calls say so.
                log::warn!("{error}");
            }
        }
        for (endpoint, verdict) in self.pipeline.take_endpoint_judgements() {
            if let Err(error) = sensor.judge_endpoint(endpoint, verdict) {
                log::warn!("{error}");
            }
        }
    }

    fn deliver(&mut self, observer: &mut dyn Observer) {
        // Before the calls that end with the process: its flag tells how many were in flight.
        for (pid, at) in self.pipeline.take_oom_kills() {
            observer.oom_killed(pid, at);
        }
        while let Some(output) = self.pipeline.poll_output() {
            note(&mut self.failure, observer.output(output));
        }
    }
}

/// The process that a record says has started a program or mapped a library.
fn program_of(record: &[u8]) -> Option<u32> {
    match Record::decode(record) {
        Ok(Record::Exec { header, .. }) => Some(header.tgid),
        Ok(Record::Mapped(life)) => Some(life.header.tgid),
        _ => None,
    }
}

/// What a record says of a connection that has come into view.
fn connection(record: &[u8]) -> Option<SocketRecord> {
    match Record::decode(record) {
        Ok(Record::Socket(socket))
            if socket.event == SocketEvent::Seen as u32 || socket.event == SocketEvent::Connected as u32 =>
        {
            Some(socket)
        }
        _ => None,
    }
}

/// Keeps the first failure.
fn note(failure: &mut Option<ObserverError>, result: Result<(), ObserverError>) {
    if let Err(error) = result
        && failure.is_none()
    {
        *failure = Some(error);
    }
}

/// The next peers that were found, or never where they are not looked for.
async fn found(peers: &mut Option<PeerSearch>) -> BTreeSet<u32> {
    match peers {
        Some(peers) => peers.found().await,
        None => std::future::pending().await,
    }
}

/// The end of the child, or never when there is none.
async fn ended(child: &mut Option<HeldChild>) -> io::Result<ExitStatus> {
    match child {
        Some(child) => (&mut child.ended)
            .await
            .unwrap_or_else(|_| Err(io::Error::other("its thread is gone"))),
        None => std::future::pending().await,
    }
}

/// The signals that end an observation.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Signals {
    fn listen() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> SignalKind {
        tokio::select! {
            _ = self.interrupt.recv() => SignalKind::interrupt(),
            _ = self.terminate.recv() => SignalKind::terminate(),
            _ = self.hangup.recv() => SignalKind::hangup(),
        }
    }
}

/// A signal that was sent to the agent alone goes on to its command. An interrupt comes from the
/// terminal, which has sent it to both.
fn pass_on(signal: SignalKind, pid: u32) {
    if signal == SignalKind::interrupt() {
        return;
    }
    if let Ok(pid) = libc::pid_t::try_from(pid) {
        // SAFETY: the call takes plain numbers; the child has not been waited for, so the pid is its.
        unsafe { libc::kill(pid, signal.as_raw_value()) };
    }
}

impl ObserveError {
    /// Whether more privileges would help.
    #[must_use]
    pub fn is_privilege(&self) -> bool {
        matches!(self, Self::Sensor(error) if SensorError::is_privilege(error))
    }
}
