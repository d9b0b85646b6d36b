//! Trying the hooks without observing anything: for `doctor`, and for measuring what a hook costs.

use std::collections::HashSet;

use agent_abi::Membership;
use aya::programs::{RawTracePoint, loaded_links};
use aya::{Btf, Ebpf};

use super::attach::{self, Refusal, Scope, Settings};
use super::error::{SensorError, in_full};
use super::hooks::{HOOKS, Hook, Point, TIME_HOOKS};
use super::limits::{BUDGET_BYTES, RING_BYTES};
use super::pins::Pins;
use super::tls;
use crate::hooks::HookStatus;

/// Settings that observe nobody.
fn idle() -> Settings {
    Settings {
        scope: Scope::Processes(Vec::<(u32, Membership)>::new()),
        tier: None,
        ring_bytes: RING_BYTES,
        budget_bytes: BUDGET_BYTES,
        timing: false,
        tls: true,
        programs: Vec::new(),
        blocked_threads: |_| Vec::new(),
    }
}

/// Loads and attaches every hook in turn, and detaches it again.
///
/// # Errors
/// When not even the maps can be created.
pub fn probe() -> Result<Vec<HookStatus>, SensorError> {
    let (mut ebpf, absent) = attach::load(&idle())?;
    let btf = Btf::from_sys_fs();
    let mut tier_1_refused: Option<String> = None;
    let states: Vec<HookStatus> = HOOKS
        .iter()
        .chain(TIME_HOOKS)
        .map(|hook| {
            let failure = match (&btf, hook.point, &tier_1_refused) {
                // What one trampoline is refused for, all are.
                (_, Point::Entry(_) | Point::Return(_), Some(reason)) => Some(reason.clone()),
                (Err(error), Point::Entry(_) | Point::Return(_), None) => Some(in_full(error)),
                (btf, ..) => attach::attach(&mut ebpf, &mut Pins::none(), hook, btf.as_ref().ok())
                    .err()
                    .map(|refusal| explain(hook, refusal)),
            };
            if hook.tier == 1 && hook.vital && failure.is_some() {
                tier_1_refused.clone_from(&failure);
            }
            attach::status(hook, failure)
        })
        .collect();
    Ok(states.into_iter().chain(absent).chain(tls::load(&mut ebpf)).collect())
}

fn explain(hook: &Hook, refusal: Refusal) -> String {
    match (hook.tier, refusal.os) {
        (1, Some(libc::EPERM)) => {
            format!(
                "this kernel does not allow trampolines (CONFIG_FUNCTION_TRACER, lockdown): {}",
                refusal.reason
            )
        }
        _ => refusal.reason,
    }
}

/// What the kernel calls the hooks that are on, those of all programs of this host. Before 5.15 hooks of libraries are
/// not among them.
#[must_use]
pub fn hooks_of_host() -> HashSet<u32> {
    loaded_links()
        .filter_map(|link| link.ok().map(|link| link.id()))
        .collect()
}

/// A pair of empty programs on every syscall, attached while it lives.
pub struct EmptyTracepoints {
    _ebpf: Ebpf,
}

impl EmptyTracepoints {
    /// Attaches them.
    ///
    /// # Errors
    /// As [`super::Sensor::start`].
    pub fn attach() -> Result<Self, SensorError> {
        let (mut ebpf, _) = attach::load(&idle())?;
        for (program, tracepoint) in [("empty_enter", "sys_enter"), ("empty_exit", "sys_exit")] {
            let refused = |reason: String| SensorError::Hook {
                hook: program.to_owned(),
                reason,
            };
            let loaded = ebpf
                .program_mut(program)
                .ok_or_else(|| refused("it is not in the object".to_owned()))?;
            let loaded: &mut RawTracePoint = loaded.try_into().map_err(|error| refused(in_full(&error)))?;
            loaded.load().map_err(|error| refused(in_full(&error)))?;
            loaded.attach(tracepoint).map_err(|error| refused(in_full(&error)))?;
        }
        Ok(Self { _ebpf: ebpf })
    }
}
