//! Files that processes begin to run code from: a library that is loaded may be one that is to be
//! hooked.

use agent_abi::Kind;
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, LruHashMap};

use crate::emit::Wake;
use crate::scope::Thread;
use crate::{arch, data, globals, life, walk};

#[cfg(bpf_target_arch = "x86_64")]
const MMAP: u32 = 9;
#[cfg(bpf_target_arch = "aarch64")]
const MMAP: u32 = 222;

/// Arguments of mmap.
const PROT_EXEC: u64 = 4;
const MAP_ANONYMOUS: u64 = 0x20;

/// Files that the agent has been told of.
const MAX_KNOWN: u32 = 8192;

/// A file that the agent has been told of.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq)]
struct Told {
    /// Number of the inode, which tells a reused address.
    ino: u64,
    /// What [`MAPPED_EPOCH`] was.
    epoch: u64,
}

/// By the address of the inode: every process of a host maps the same few libraries.
#[map]
static MAPPED: LruHashMap<u64, Told> = LruHashMap::with_max_entries(MAX_KNOWN, 0);

/// Counted up by the agent when it wants to be told of all files again.
#[map]
static MAPPED_EPOCH: Array<u64> = Array::with_max_entries(1, 0);

/// Whether a syscall is mmap.
#[inline(always)]
pub(crate) fn is_mmap(number: u32) -> bool {
    number == MMAP
}

/// mmap begins, in tier 2: notes it when it maps code of a file.
#[inline(always)]
pub(crate) fn entered(regs: u64) {
    if let Some(thread) = Thread::in_scope()
        && maps_code(regs).is_some()
    {
        data::note(thread, 0);
    }
}

/// mmap returns `ret`, in a process that is observed.
#[inline(always)]
pub(crate) fn returned(thread: Thread, regs: u64, ret: i64) {
    if ret < 0 || maps_code(regs).is_none() {
        return;
    }
    if arch::fifth_argument(regs).and_then(|fd| is_news(fd as u32)).is_some() {
        life::life(Kind::Mapped, thread.tgid(), thread.tid(), 0, Wake::Now);
    }
}

#[inline(always)]
fn maps_code(regs: u64) -> Option<()> {
    let [_, _, protection, flags] = arch::arguments(regs)?;
    (protection & PROT_EXEC != 0 && flags & MAP_ANONYMOUS == 0).then_some(())
}

/// Whether the agent has not been told of the file that is open as `fd`.
#[inline(always)]
fn is_news(fd: u32) -> Option<()> {
    let inode = walk::inode(fd)?;
    let told = Told {
        ino: walk::read_field(inode, &globals::INODE_INO)?,
        epoch: *MAPPED_EPOCH.get(0)?,
    };
    // SAFETY: the value is only replaced whole, with what is the same for all.
    if unsafe { MAPPED.get(inode) }.is_some_and(|known| *known == told) {
        return None;
    }
    MAPPED.insert(inode, told, 0).unwrap_or_default();
    Some(())
}
