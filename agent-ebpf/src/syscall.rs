//! The data syscalls: which way they move bytes, and where the bytes are.

/// A data syscall.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Syscall {
    /// read, pread64, recvfrom: arguments fd, buffer.
    Read,
    /// recvfrom with its flags in the fourth argument.
    RecvFrom,
    /// readv, preadv, preadv2: fd, iovec, count.
    ReadVector,
    /// recvmsg: fd, msghdr, flags.
    RecvMsg,
    /// recvmmsg: fd, mmsghdr, count, flags.
    RecvMmsg,
    /// write, sendto: fd, buffer.
    Write,
    /// writev, pwritev2: fd, iovec, count.
    WriteVector,
    /// sendmsg: fd, msghdr.
    SendMsg,
    /// sendmmsg: fd, mmsghdr, count.
    SendMmsg,
    /// splice: fd to read from, offset, fd to write to.
    Splice,
    /// tee: fd to copy from, fd to write to.
    Tee,
    /// vmsplice: fd to write to.
    VmSplice,
    /// sendfile: fd to write to, fd to read from.
    SendFile,
}

#[cfg(bpf_target_arch = "x86_64")]
mod number {
    pub(super) const READ: u32 = 0;
    pub(super) const WRITE: u32 = 1;
    pub(super) const PREAD64: u32 = 17;
    pub(super) const READV: u32 = 19;
    pub(super) const WRITEV: u32 = 20;
    pub(super) const SENDFILE: u32 = 40;
    pub(super) const SENDTO: u32 = 44;
    pub(super) const RECVFROM: u32 = 45;
    pub(super) const SENDMSG: u32 = 46;
    pub(super) const RECVMSG: u32 = 47;
    pub(super) const SPLICE: u32 = 275;
    pub(super) const TEE: u32 = 276;
    pub(super) const VMSPLICE: u32 = 278;
    pub(super) const PREADV: u32 = 295;
    pub(super) const RECVMMSG: u32 = 299;
    pub(super) const SENDMMSG: u32 = 307;
    pub(super) const PREADV2: u32 = 327;
    pub(super) const PWRITEV2: u32 = 328;
}

#[cfg(bpf_target_arch = "aarch64")]
mod number {
    pub(super) const READ: u32 = 63;
    pub(super) const WRITE: u32 = 64;
    pub(super) const READV: u32 = 65;
    pub(super) const WRITEV: u32 = 66;
    pub(super) const PREAD64: u32 = 67;
    pub(super) const PREADV: u32 = 69;
    pub(super) const SENDFILE: u32 = 71;
    pub(super) const VMSPLICE: u32 = 75;
    pub(super) const SPLICE: u32 = 76;
    pub(super) const TEE: u32 = 77;
    pub(super) const SENDTO: u32 = 206;
    pub(super) const RECVFROM: u32 = 207;
    pub(super) const SENDMSG: u32 = 211;
    pub(super) const RECVMSG: u32 = 212;
    pub(super) const RECVMMSG: u32 = 243;
    pub(super) const SENDMMSG: u32 = 269;
    pub(super) const PREADV2: u32 = 286;
    pub(super) const PWRITEV2: u32 = 287;
}

impl Syscall {
    /// A number of this syscall: of those that move bytes alike the first.
    #[inline(always)]
    pub(crate) fn number(self) -> u32 {
        match self {
            Self::Read => number::READ,
            Self::RecvFrom => number::RECVFROM,
            Self::ReadVector => number::READV,
            Self::RecvMsg => number::RECVMSG,
            Self::RecvMmsg => number::RECVMMSG,
            Self::Write => number::WRITE,
            Self::WriteVector => number::WRITEV,
            Self::SendMsg => number::SENDMSG,
            Self::SendMmsg => number::SENDMMSG,
            Self::Splice => number::SPLICE,
            Self::Tee => number::TEE,
            Self::VmSplice => number::VMSPLICE,
            Self::SendFile => number::SENDFILE,
        }
    }

    /// The data syscall of this number; `None` for every other.
    #[inline(always)]
    pub(crate) fn from_number(nr: u32) -> Option<Self> {
        match nr {
            number::READ | number::PREAD64 => Some(Self::Read),
            number::WRITE | number::SENDTO => Some(Self::Write),
            number::RECVFROM => Some(Self::RecvFrom),
            number::READV | number::PREADV | number::PREADV2 => Some(Self::ReadVector),
            number::WRITEV | number::PWRITEV2 => Some(Self::WriteVector),
            number::RECVMSG => Some(Self::RecvMsg),
            number::SENDMSG => Some(Self::SendMsg),
            number::RECVMMSG => Some(Self::RecvMmsg),
            number::SENDMMSG => Some(Self::SendMmsg),
            number::SPLICE => Some(Self::Splice),
            number::TEE => Some(Self::Tee),
            number::VMSPLICE => Some(Self::VmSplice),
            number::SENDFILE => Some(Self::SendFile),
            _ => None,
        }
    }
}
