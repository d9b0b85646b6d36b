//! Go's crypto/tls, in the register ABI (Go 1.17 on): the receiver, then the slice's address, length
//! and capacity, each in a register.
//!
//! Stacks move, so the ways out are probes on the return instructions. What runs is known by its
//! goroutine, which changes threads.

use aya_ebpf::helpers::bpf_ktime_get_ns;
use aya_ebpf::macros::uprobe;
use aya_ebpf::programs::ProbeContext;

use super::bind::{Act, touch_session};
use super::call::{Call, Frame};
use super::{plaintext, registers, session};
use crate::scope::Thread;

/// crypto/tls.(*Conn).Write(bytes) (n, err)
#[uprobe]
pub(crate) fn go_write(ctx: ProbeContext) -> u32 {
    entered(&ctx, Act::Write)
}

/// crypto/tls.(*Conn).Read(bytes) (n, err)
#[uprobe]
pub(crate) fn go_read(ctx: ProbeContext) -> u32 {
    entered(&ctx, Act::Read)
}

/// A return instruction of either.
#[uprobe]
pub(crate) fn go_return(ctx: ProbeContext) -> u32 {
    if let Some(call) = frame(&ctx, Thread::current()).leave() {
        let len = registers::go_first(&ctx);
        if len.cast_signed() > 0 {
            plaintext::moved(&call, len);
        }
    }
    0
}

/// crypto/tls.(*Conn).clientHandshake and serverHandshake: where a connection begins.
#[uprobe]
pub(crate) fn go_handshake(ctx: ProbeContext) -> u32 {
    if Thread::in_scope().is_some() {
        let conn = registers::go_first(&ctx);
        session::begin_session(conn, session::FRESH);
        touch_session(conn, Act::Handshake as u32);
    }
    0
}

/// crypto/tls.(*Conn).Close
#[uprobe]
pub(crate) fn go_close(ctx: ProbeContext) -> u32 {
    if let Some(thread) = Thread::in_scope() {
        session::end(thread, registers::go_first(&ctx));
    }
    0
}

#[inline(always)]
fn frame(ctx: &ProbeContext, thread: Thread) -> Frame {
    Frame {
        runs: registers::goroutine(ctx),
        at: u64::from(thread.tgid()),
    }
}

#[inline(always)]
fn entered(ctx: &ProbeContext, act: Act) -> u32 {
    let Some(thread) = Thread::in_scope() else { return 0 };
    let object = registers::go_first(ctx);
    if touch_session(object, act as u32) == 0 {
        return 0;
    }
    frame(ctx, thread).enter(&Call {
        object,
        buffer: registers::go_second(ctx),
        buffers: 0,
        counted_at: 0,
        // SAFETY: the helper has no preconditions.
        entered: unsafe { bpf_ktime_get_ns() },
        read: u64::from(act == Act::Read),
    });
    0
}
