//! OpenSSL and BoringSSL, shared or built into a program: functions by the same names.
//!
//! The agent attaches by symbol; which program goes where is its table (`sensor::tls::symbols`).

use aya_ebpf::helpers::bpf_ktime_get_ns;
use aya_ebpf::macros::{uprobe, uretprobe};
use aya_ebpf::programs::{ProbeContext, RetProbeContext};

use super::bind::{Act, touch_session};
use super::call::{Call, Frame};
use super::{plaintext, registers, session};
use crate::capture::read_user;
use crate::scope::Thread;

/// SSL_write(ssl, buffer, length): the result is how much was written.
#[uprobe]
pub(crate) fn ssl_write(ctx: ProbeContext) -> u32 {
    entered(&ctx, Act::Write, false)
}

/// SSL_write_ex(ssl, buffer, length, written): the result is 1 when it did.
#[uprobe]
pub(crate) fn ssl_write_ex(ctx: ProbeContext) -> u32 {
    entered(&ctx, Act::Write, true)
}

/// SSL_read(ssl, buffer, size): the result is how much was read.
#[uprobe]
pub(crate) fn ssl_read(ctx: ProbeContext) -> u32 {
    entered(&ctx, Act::Read, false)
}

/// SSL_read_ex(ssl, buffer, size, read): the result is 1 when it did.
#[uprobe]
pub(crate) fn ssl_read_ex(ctx: ProbeContext) -> u32 {
    entered(&ctx, Act::Read, true)
}

/// The return of all four.
#[uretprobe]
pub(crate) fn ssl_return(ctx: RetProbeContext) -> u32 {
    let frame = Frame {
        runs: Thread::current().pid_tgid,
        at: registers::stack_pointer(&ctx) - registers::RETURN_ADDRESS,
    };
    if let Some(call) = frame.leave() {
        // An int: the upper half of the register is not the function's.
        let result = ctx.ret::<u64>() as i32;
        let len = match (result, call.counted_at) {
            (..=0, _) => 0,
            (result, 0) => result as u64,
            (_, counted_at) => read_user::<u64>(counted_at).unwrap_or(0),
        };
        if len != 0 {
            plaintext::moved(&call, len);
        }
    }
    0
}

/// SSL_do_handshake, SSL_connect, SSL_accept, SSL_shutdown (ssl): may send, but no plaintext.
#[uprobe]
pub(crate) fn ssl_handshake(ctx: ProbeContext) -> u32 {
    if let Some(ssl) = ctx.arg::<u64>(0)
        && Thread::in_scope().is_some()
    {
        touch_session(ssl, Act::Handshake as u32);
    }
    0
}

/// The return of SSL_new: an object that has not begun its handshake.
#[uretprobe]
pub(crate) fn ssl_new(ctx: RetProbeContext) -> u32 {
    let ssl = ctx.ret::<u64>();
    if ssl != 0 && Thread::in_scope().is_some() {
        session::begin_session(ssl, session::FRESH);
    }
    0
}

/// SSL_clear(ssl): the object begins anew. Every handshake begins with it.
#[uprobe]
pub(crate) fn ssl_clear(ctx: ProbeContext) -> u32 {
    if let (Some(ssl), Some(thread)) = (ctx.arg::<u64>(0), Thread::in_scope()) {
        session::renew(thread, ssl);
    }
    0
}

/// SSL_free(ssl): what comes at this address is another session.
#[uprobe]
pub(crate) fn ssl_free(ctx: ProbeContext) -> u32 {
    if let (Some(ssl), Some(thread)) = (ctx.arg::<u64>(0), Thread::in_scope()) {
        session::end(thread, ssl);
    }
    0
}

#[inline(always)]
fn entered(ctx: &ProbeContext, act: Act, counts_apart: bool) -> u32 {
    let Some(thread) = Thread::in_scope() else { return 0 };
    let (Some(object), Some(buffer)) = (ctx.arg::<u64>(0), ctx.arg::<u64>(1)) else {
        return 0;
    };
    if touch_session(object, act as u32) == 0 {
        return 0;
    }
    let frame = Frame {
        runs: thread.pid_tgid,
        at: registers::stack_pointer(ctx),
    };
    frame.enter(&Call {
        object,
        buffer,
        buffers: 0,
        counted_at: if counts_apart { ctx.arg(3).unwrap_or(0) } else { 0 },
        // SAFETY: the helper has no preconditions.
        entered: unsafe { bpf_ktime_get_ns() },
        read: u64::from(act == Act::Read),
    });
    0
}
