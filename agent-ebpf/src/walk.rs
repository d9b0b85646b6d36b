//! From the current task to the file behind a descriptor, by offsets of the running kernel's BTF.

use agent_abi::ABSENT;
use aya_ebpf::Global;
use aya_ebpf::helpers::generated::{bpf_get_current_task_btf, bpf_probe_read_kernel as bpf_probe_read_kernel_to};
use aya_ebpf::helpers::{bpf_get_current_task, bpf_probe_read_kernel};
use core::ffi::c_void;

use crate::globals;

/// Reads a value of kernel memory. `None` when the address is not mapped.
#[inline(always)]
pub(crate) fn read<T>(address: u64) -> Option<T> {
    // SAFETY: the helper checks the address and fails instead of faulting.
    unsafe { bpf_probe_read_kernel(address as *const T) }.ok()
}

/// Reads the field of the structure at `base` whose offset is in `field`.
#[inline(always)]
pub(crate) fn read_field<T>(base: u64, field: &Global<u32>) -> Option<T> {
    read(base + u64::from(field.load()))
}

/// As [`read_field`], for a field that not every kernel has.
#[inline(always)]
pub(crate) fn read_optional<T>(base: u64, field: &Global<u32>) -> Option<T> {
    if field.load() == ABSENT {
        return None;
    }
    read_field(base, field)
}

/// As [`read_optional`], to memory that need not be the stack: zeros when it cannot be read.
#[inline(always)]
pub(crate) fn copy_optional<T>(base: u64, field: &Global<u32>, to: *mut T) {
    let offset = field.load();
    let address = if offset == ABSENT { 0 } else { base + u64::from(offset) };
    // SAFETY: every caller's `to` is writable; the helper checks the address, and writes zeros when
    // it is not mapped.
    unsafe { bpf_probe_read_kernel_to(to.cast::<c_void>(), size_of::<T>() as u32, address as *const c_void) };
}

/// As [`read_field`], for a pointer; null is `None`.
#[inline(always)]
pub(crate) fn follow(base: u64, field: &Global<u32>) -> Option<u64> {
    read_field::<u64>(base, field).filter(|&pointer| pointer != 0)
}

/// Address of the current `task_struct`.
#[inline(always)]
pub(crate) fn current_task() -> u64 {
    // SAFETY: the helper has no preconditions.
    unsafe { bpf_get_current_task() }
}

/// A pipe, or a socket of any kind, behind a descriptor of the current task.
pub(crate) struct File {
    /// Address of its inode: both ends of a pipe share one.
    pub(crate) inode: u64,
    /// The inode's number.
    pub(crate) ino: u64,
    /// Address of the file of a socket; 0 for a pipe.
    pub(crate) socket: u64,
}

/// What kind of stream socket a sock is.
pub(crate) enum Family {
    Unix,
    Tcp,
}

const S_IFMT: u16 = 0o170_000;
const S_IFIFO: u16 = 0o010_000;
const S_IFSOCK: u16 = 0o140_000;
const SOCK_STREAM: u16 = 1;
const AF_UNIX: u16 = 1;
const AF_INET: u16 = 2;
/// The address family of IPv6.
pub(crate) const AF_INET6: u16 = 10;
const IPPROTO_TCP: u16 = 6;
const IPPROTO_UDP: u16 = 17;

/// Address of the file that `fd` is.
#[inline(always)]
fn open_file(fd: u32) -> Option<u64> {
    let array = if globals::TYPED_TASK.load() == 0 {
        descriptors(fd)?
    } else {
        descriptors_typed(fd)?
    };
    read::<u64>(array + u64::from(fd) * 8).filter(|&file| file != 0)
}

/// Address of the inode of the file that `fd` is.
#[inline(always)]
pub(crate) fn inode(fd: u32) -> Option<u64> {
    follow(open_file(fd)?, &globals::FILE_INODE)
}

/// What `fd` is, if it may carry MCP.
#[inline(always)]
pub(crate) fn file(fd: u32) -> Option<File> {
    let file = open_file(fd)?;
    let inode = follow(file, &globals::FILE_INODE)?;
    let socket = match read_field::<u16>(inode, &globals::INODE_MODE)? & S_IFMT {
        S_IFIFO => 0,
        S_IFSOCK => file,
        _ => return None,
    };
    Some(File {
        inode,
        ino: read_field(inode, &globals::INODE_INO)?,
        socket,
    })
}

/// Address of the sock of the stream socket whose file is at `file`.
#[inline(always)]
pub(crate) fn sock(file: u64) -> Option<u64> {
    let socket = follow(file, &globals::FILE_PRIVATE)?;
    if read_field::<u16>(socket, &globals::SOCKET_TYPE)? != SOCK_STREAM {
        return None;
    }
    follow(socket, &globals::SOCKET_SK)
}

/// Address of the sock of the internet socket whose file is at `file`.
#[inline(always)]
pub(crate) fn internet_sock(file: u64) -> Option<u64> {
    let sock = follow(follow(file, &globals::FILE_PRIVATE)?, &globals::SOCKET_SK)?;
    matches!(read_field::<u16>(sock, &globals::SOCK_FAMILY)?, AF_INET | AF_INET6).then_some(sock)
}

/// Whether the internet socket `sock` speaks UDP.
#[inline(always)]
pub(crate) fn is_udp(sock: u64) -> bool {
    read_optional::<u16>(sock, &globals::SOCK_PROTOCOL) == Some(IPPROTO_UDP)
}

/// What `sock` is, if it can carry MCP.
#[inline(always)]
pub(crate) fn family(sock: u64) -> Option<Family> {
    match read_field::<u16>(sock, &globals::SOCK_FAMILY)? {
        AF_UNIX => Some(Family::Unix),
        AF_INET | AF_INET6 if is_tcp(sock) => Some(Family::Tcp),
        _ => None,
    }
}

/// Address of the sock at the other end of the unix socket `sock`; 0 when it is gone.
#[inline(always)]
pub(crate) fn unix_peer(sock: u64) -> Option<u64> {
    read_field(sock, &globals::UNIX_PEER)
}

/// Address of the current task's descriptors, if `fd` is among them.
#[inline(always)]
fn descriptors(fd: u32) -> Option<u64> {
    let files = follow(current_task(), &globals::TASK_FILES)?;
    let table = follow(files, &globals::FILES_FDT)?;
    // In one read where they are neighbours, as ever so far.
    if globals::FDT_FD.load() == globals::FDT_MAX_FDS.load() + 8 {
        let [size, array] = read_field::<[u64; 2]>(table, &globals::FDT_MAX_FDS)?;
        return (fd < size as u32).then_some(array);
    }
    let size: u32 = read_field(table, &globals::FDT_MAX_FDS)?;
    if fd >= size {
        return None;
    }
    read_field(table, &globals::FDT_FD)
}

/// As [`descriptors`], by loads that the verifier has checked: a third of the cost.
#[inline(always)]
fn descriptors_typed(fd: u32) -> Option<u64> {
    // SAFETY: the helper has no preconditions.
    let task = unsafe { bpf_get_current_task_btf() } as u64;
    let files: u64 = load(task, &globals::TASK_FILES);
    if files == 0 {
        return None;
    }
    let table: u64 = load(files, &globals::FILES_FDT);
    if table == 0 {
        return None;
    }
    let size: u32 = load(table, &globals::FDT_MAX_FDS);
    (fd < size).then(|| load(table, &globals::FDT_FD))
}

/// Loads a field of the structure at `base`, a pointer whose type the verifier knows.
#[inline(always)]
fn load<T>(base: u64, field: &Global<u32>) -> T {
    // SAFETY: the verifier checks the field's place and size; a fault reads zeros.
    unsafe { core::ptr::read_volatile((base + u64::from(field.load())) as *const T) }
}

/// Whether the internet socket `sock` speaks TCP.
#[inline(always)]
pub(crate) fn is_tcp(sock: u64) -> bool {
    read_optional::<u16>(sock, &globals::SOCK_PROTOCOL) == Some(IPPROTO_TCP)
}

/// Inode number of the socket that `sock` belongs to; 0 when it is closed.
#[inline(always)]
pub(crate) fn socket_ino(sock: u64) -> u64 {
    follow(sock, &globals::SOCK_SOCKET)
        .and_then(|socket| {
            read_field(
                socket + u64::from(globals::SOCKET_ALLOC_INODE.load()),
                &globals::INODE_INO,
            )
        })
        .unwrap_or(0)
}

/// Whether either end of a connected unix socket was bound to a name.
#[inline(always)]
pub(crate) fn is_named(sock: u64, peer: u64) -> bool {
    follow(sock, &globals::UNIX_ADDR).is_some() || (peer != 0 && follow(peer, &globals::UNIX_ADDR).is_some())
}
