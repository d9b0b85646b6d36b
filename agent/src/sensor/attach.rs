//! Loading and attaching: offsets first, then the programs of one tier.

use std::path::PathBuf;

use agent_abi::{ABSENT, ENTRY_SLOTS, Entry, FIELDS, Field, MAX_TIMED_PROCESSES, Membership, global};
use aya::maps::{Array, Map, MapData, Stack};
use aya::programs::links::FdLink;
use aya::programs::{FEntry, FExit, ProgramType, RawTracePoint};
use aya::sys::{BpfHelper, is_helper_supported};
use aya::util::KernelVersion;
use aya::{Btf, Ebpf, EbpfLoader};
use aya_log::EbpfLogger;

use super::btf::{BtfError, Layouts};
use super::error::{SensorError, in_full, os_error};
use super::hooks::{HOOKS, Hook, Point, TIME, TIME_HOOKS};
use super::limits::WAKE_SHARE;
use super::object::OBJECT;
use super::pins::Pins;
use super::tls::{self, Tls};
use super::{HookStatus, Sensor};

/// Which processes are observed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All but the agent.
    Host,
    /// These, the members' descendants, and nothing else.
    Processes(Vec<(u32, Membership)>),
}

/// A set of data hooks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tier {
    /// Trampolines on the data syscalls: nothing else in the kernel pays.
    Trampolines = 1,
    /// Raw tracepoints that every syscall passes.
    RawTracepoints = 2,
}

/// How to observe.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Which processes.
    pub scope: Scope,
    /// Which tier; `None` takes the first that this kernel allows.
    pub tier: Option<Tier>,
    /// Size of the ring, a power of two.
    pub ring_bytes: u32,
    /// Bytes captured of one syscall on a watched stream.
    pub budget_bytes: u32,
    /// Account for what the processes that speak MCP do with their time.
    pub timing: bool,
    /// Whether TLS libraries are hooked.
    pub tls: bool,
    /// Programs that will be started: what they have of TLS is hooked before.
    pub programs: Vec<PathBuf>,
    /// Threads in scope (tgid, tid) that are in a data syscall right now: asked once the ways in
    /// are watched, so that a message that they wait for is not missed.
    pub blocked_threads: fn(&Scope) -> Vec<(u32, u32)>,
}

pub(super) fn start(settings: &Settings) -> Result<Sensor, SensorError> {
    let (mut ebpf, absent) = load(settings)?;
    // Taken first: aya refuses to load programs whose log map is gone.
    let diagnostics = EbpfLogger::init(&mut ebpf).ok();
    let mut sensor = assemble(&mut ebpf, diagnostics)?;
    if let Scope::Processes(processes) = &settings.scope {
        for &(tgid, membership) in processes {
            sensor.admit(tgid, membership)?;
        }
    }
    let mut pins = Pins::new(&ebpf);
    let mut entries = take_map::<Array<MapData, Entry>>(&mut ebpf, "ENTRIES")?;
    let mut prime = || {
        for (tgid, tid) in (settings.blocked_threads)(&settings.scope) {
            let entry = Entry {
                pid_tgid: u64::from(tgid) << 32 | u64::from(tid),
                at: 0,
            };
            // A slot that another thread has taken meanwhile costs the tail of one syscall.
            if let Err(error) = entries.set(tid & (ENTRY_SLOTS - 1), entry, 0) {
                log::debug!("thread {tid} stays unseen until its syscall returns: {error}");
            }
        }
    };
    (sensor.tier, sensor.hooks) = attach_data(&mut ebpf, &mut pins, settings.tier, &mut prime)?;
    sensor
        .hooks
        .extend(attach_all(&mut ebpf, &mut pins, 0, None, &mut || {})?);
    if settings.timing {
        sensor.hooks.extend(attach_timing(&mut ebpf, &mut pins)?);
    }
    sensor.hooks.extend(absent);
    if !settings.tls {
        sensor.held = Some((ebpf, pins));
        return Ok(sensor);
    }
    sensor.hooks.extend(tls::load(&mut ebpf));
    let mut epoch = take_map::<Array<MapData, u64>>(&mut ebpf, "MAPPED_EPOCH")?;
    let tell_again = Box::new(move || {
        let next = epoch.get(&0, 0).unwrap_or(0) + 1;
        if let Err(error) = epoch.set(0, next, 0) {
            log::warn!("TLS libraries that are loaded again may stay unseen: {error}");
        }
    });
    let tls = Tls::start(ebpf, pins, tell_again, settings.programs.clone()).map_err(SensorError::Thread)?;
    sensor.tls = Some(tls);
    Ok(sensor)
}

/// The object with its read-only globals set, and the fields that this kernel lacks.
pub(super) fn load(settings: &Settings) -> Result<(Ebpf, Vec<HookStatus>), SensorError> {
    if OBJECT.is_empty() {
        return Err(SensorError::NotEmbedded);
    }
    lift_memlock();
    let mut structures: Vec<&str> = FIELDS.iter().map(|field| field.of).collect();
    structures.dedup();
    let layouts = Layouts::of_running_kernel(&structures)?;
    let mut offsets = Vec::with_capacity(FIELDS.len());
    let mut absent = Vec::new();
    for field in FIELDS {
        let offset = match (offset_of(&layouts, field), field.lost) {
            (Err(missing), Some(lost)) => {
                absent.push(absence(field, lost, &missing));
                ABSENT
            }
            (found, _) => found?,
        };
        offsets.push((field.global, offset));
    }
    let own = std::process::id();
    let host = u32::from(settings.scope == Scope::Host);
    // An unknown kernel is taken for a new one.
    let older_than = |major, minor| {
        u32::from(KernelVersion::current().is_ok_and(|version| version < KernelVersion::new(major, minor, 0)))
    };
    let regs_on_stack = older_than(5, 15);
    let switch_tells_state = 1 - older_than(5, 19);
    let typed_task = u32::from(
        is_helper_supported(ProgramType::RawTracePoint, BpfHelper::BPF_FUNC_get_current_task_btf).unwrap_or(false),
    );
    let wake_at = settings.ring_bytes / WAKE_SHARE;
    let mut loader = EbpfLoader::new();
    loader
        .btf(None)
        .map_max_entries("EVENTS", settings.ring_bytes)
        .override_global(global::OWN_TGID, &own, true)
        .override_global(global::HOST_SCOPE, &host, true)
        .override_global(global::BUDGET, &settings.budget_bytes, true)
        .override_global(global::REGS_ON_STACK, &regs_on_stack, true)
        .override_global(global::SWITCH_TELLS_STATE, &switch_tells_state, true)
        .override_global(global::TYPED_TASK, &typed_task, true)
        .override_global(global::WAKE_AT, &wake_at, true);
    for (name, offset) in &offsets {
        loader.override_global(name, offset, true);
    }
    let ebpf = loader.load(OBJECT).map_err(|error| match os_error(&error) {
        Some(libc::EPERM | libc::EACCES) => SensorError::Privilege {
            what: "to create its maps".to_owned(),
        },
        _ => SensorError::Object(Box::new(error)),
    })?;
    Ok((ebpf, absent))
}

fn absence(field: &Field, lost: &str, missing: &BtfError) -> HookStatus {
    HookStatus {
        name: format!("field {}.{}", field.of, field.member),
        tier: 0,
        on: false,
        reason: missing.to_string(),
        lost: lost.to_owned(),
    }
}

/// Offset of a field, in the unit that is wanted.
fn offset_of(layouts: &Layouts, field: &Field) -> Result<u32, BtfError> {
    let find = |member| {
        if field.in_bits {
            layouts.bit_offset(field.of, member)
        } else {
            layouts.offset(field.of, member)
        }
    };
    match field.formerly {
        Some(formerly) => find(field.member).or_else(|missing| find(formerly).map_err(|_older| missing)),
        None => find(field.member),
    }
}

/// Attaches the data hooks of the tier that was asked for, or of the first that works.
fn attach_data(
    ebpf: &mut Ebpf,
    pins: &mut Pins,
    wanted: Option<Tier>,
    prime: &mut dyn FnMut(),
) -> Result<(Tier, Vec<HookStatus>), SensorError> {
    let mut hooks = Vec::new();
    if wanted != Some(Tier::RawTracepoints) {
        match attach_tier_1(ebpf, pins, prime) {
            Ok(attached) => return Ok((Tier::Trampolines, attached)),
            Err(error) if wanted == Some(Tier::Trampolines) => return Err(error),
            Err(error) => {
                log::info!("tier 1 is not to be had here ({error}); using tier 2");
                hooks.push(HookStatus {
                    name: "tier 1".to_owned(),
                    tier: 1,
                    on: false,
                    reason: error.to_string(),
                    lost: "nothing; tier 2 costs every syscall of the host some nanoseconds".to_owned(),
                });
            }
        }
    }
    hooks.extend(attach_all(ebpf, pins, 2, None, prime)?);
    Ok((Tier::RawTracepoints, hooks))
}

fn attach_tier_1(ebpf: &mut Ebpf, pins: &mut Pins, prime: &mut dyn FnMut()) -> Result<Vec<HookStatus>, SensorError> {
    let btf = Btf::from_sys_fs().map_err(|error| SensorError::Hook {
        hook: "fentry".to_owned(),
        reason: in_full(&error),
    })?;
    attach_all(ebpf, pins, 1, Some(&btf), prime)
}

/// Attaches every hook of `tier`: the ways in, then what `between` does, then the ways out. One that
/// fails is left out, unless it is vital.
fn attach_all(
    ebpf: &mut Ebpf,
    pins: &mut Pins,
    tier: u8,
    btf: Option<&Btf>,
    between: &mut dyn FnMut(),
) -> Result<Vec<HookStatus>, SensorError> {
    let of_tier = || HOOKS.iter().filter(|hook| hook.tier == tier);
    let mut states = Vec::new();
    for way_in in [true, false] {
        // Vital ones first: when they are refused, the others need not be tried.
        let mut hooks: Vec<&Hook> = of_tier().filter(|hook| hook.is_way_in() == way_in).collect();
        hooks.sort_by_key(|hook| !hook.vital);
        for hook in hooks {
            states.push(attach_one(ebpf, pins, hook, btf)?);
        }
        if way_in {
            between();
        }
    }
    Ok(states)
}

/// Attaches the hooks that account for time, and gives the programs room for processes if all are
/// there without which it would be wrong.
fn attach_timing(ebpf: &mut Ebpf, pins: &mut Pins) -> Result<Vec<HookStatus>, SensorError> {
    let mut states = Vec::new();
    let mut right = true;
    for hook in TIME_HOOKS {
        let state = attach_one(ebpf, pins, hook, None)?;
        right &= state.on || hook.lost != TIME;
        states.push(state);
    }
    if right {
        // Borrowed: programs that are loaded later use it, too.
        let map = ebpf.map_mut("FREE").ok_or(SensorError::Map { map: "FREE" })?;
        let mut free = Stack::<_, u32>::try_from(map).map_err(|_other_kind| SensorError::Map { map: "FREE" })?;
        for slot in 0..MAX_TIMED_PROCESSES {
            free.push(slot, 0).map_err(|source| SensorError::Table {
                table: "timed processes",
                source: Box::new(source),
            })?;
        }
    }
    Ok(states)
}

/// Attaches `hook`. A failure is an error when the hook is vital.
fn attach_one(ebpf: &mut Ebpf, pins: &mut Pins, hook: &Hook, btf: Option<&Btf>) -> Result<HookStatus, SensorError> {
    match attach(ebpf, pins, hook, btf) {
        Err(refusal) if hook.vital => {
            let privilege = matches!(refusal.os, Some(libc::EPERM | libc::EACCES)) && !has_privilege();
            Err(if privilege {
                SensorError::Privilege { what: hook.name() }
            } else {
                SensorError::Hook {
                    hook: hook.name(),
                    reason: refusal.reason,
                }
            })
        }
        result => Ok(status(hook, result.err().map(|refusal| refusal.reason))),
    }
}

pub(super) fn status(hook: &Hook, failure: Option<String>) -> HookStatus {
    HookStatus {
        name: hook.name(),
        tier: hook.tier,
        on: failure.is_none(),
        reason: failure.unwrap_or_default(),
        lost: hook.lost.to_owned(),
    }
}

/// Why a hook does not attach.
pub(super) struct Refusal {
    pub reason: String,
    pub os: Option<i32>,
}

impl<E: std::error::Error + 'static> From<E> for Refusal {
    fn from(error: E) -> Self {
        Self {
            reason: in_full(&error),
            os: os_error(&error),
        }
    }
}

pub(super) fn attach(ebpf: &mut Ebpf, pins: &mut Pins, hook: &Hook, btf: Option<&Btf>) -> Result<(), Refusal> {
    let missing = || Refusal {
        reason: format!("the object has no program {}", hook.program),
        os: None,
    };
    let program = ebpf.program_mut(hook.program).ok_or_else(missing)?;
    let kept = match hook.point {
        Point::RawTracepoint(name) => {
            let program: &mut RawTracePoint = program.try_into()?;
            program.load()?;
            let id = program.attach(name)?;
            pins.keep(|| program.take_link(id).map(FdLink::from))
        }
        Point::Entry(_) => {
            let program: &mut FEntry = program.try_into()?;
            program.load(&hook.function(), btf.ok_or_else(missing)?)?;
            let id = program.attach()?;
            pins.keep(|| program.take_link(id).map(FdLink::from))
        }
        Point::Return(_) => {
            let program: &mut FExit = program.try_into()?;
            program.load(&hook.function(), btf.ok_or_else(missing)?)?;
            let id = program.attach()?;
            pins.keep(|| program.take_link(id).map(FdLink::from))
        }
    };
    kept.map_err(|reason| Refusal { reason, os: None })
}

fn assemble(ebpf: &mut Ebpf, diagnostics: Option<EbpfLogger<&'static dyn log::Log>>) -> Result<Sensor, SensorError> {
    Ok(Sensor {
        ring: take_map(ebpf, "EVENTS")?,
        scope: take_map(ebpf, "SCOPE")?,
        verdicts: take_map(ebpf, "VERDICTS")?,
        endpoints: take_map(ebpf, "ENDPOINTS")?,
        counters: take_map(ebpf, "COUNTERS")?,
        diagnostics,
        tier: Tier::RawTracepoints,
        hooks: Vec::new(),
        tls: None,
        held: None,
    })
}

fn take_map<M: TryFrom<Map>>(ebpf: &mut Ebpf, name: &'static str) -> Result<M, SensorError> {
    ebpf.take_map(name)
        .and_then(|map| map.try_into().ok())
        .ok_or(SensorError::Map { map: name })
}

/// Before 5.11 maps count against RLIMIT_MEMLOCK. Where the limit cannot be lifted it mostly does
/// not bind either, so a failure is not one yet.
fn lift_memlock() {
    let unlimited = libc::rlimit {
        rlim_cur: libc::RLIM_INFINITY,
        rlim_max: libc::RLIM_INFINITY,
    };
    // SAFETY: the pointer is to a live struct of the type that the call takes.
    if unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &raw const unlimited) } != 0 {
        log::debug!("RLIMIT_MEMLOCK stays as it is: {}", std::io::Error::last_os_error());
    }
}

/// Whether the process runs with effective uid 0: then a refusal is the kernel's build, not the user's.
fn has_privilege() -> bool {
    // SAFETY: the call has no preconditions.
    unsafe { libc::geteuid() == 0 }
}
