//! Ring bytes to records, for user space. Safe code: the bytes may come from a file.

use core::fmt;
use core::mem::{offset_of, size_of};

use super::{
    ARGS_MAX, BindRecord, DataRecord, ExecRecord, Header, Kind, LifeRecord, SYSCALL_SLOTS, SocketRecord, SyscallUse,
    SyscallsRecord, Tcp, WaitRecord,
};
use crate::time::Totals;

/// A decoded record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record<'a> {
    /// Bytes moved.
    Data(DataRecord, &'a [u8]),
    /// A process was created.
    Fork(LifeRecord),
    /// A process has started a program.
    Exec {
        /// The fixed part.
        header: Header,
        /// CLOCK_MONOTONIC nanoseconds.
        at: u64,
        /// Name of the main thread without padding.
        comm: &'a [u8],
        /// NUL-separated arguments.
        args: &'a [u8],
    },
    /// A process has ended.
    Exit(LifeRecord),
    /// What became of a TCP socket.
    Socket(SocketRecord),
    /// A TLS session's socket has become known.
    Bind(BindRecord),
    /// A process has mapped executable code.
    Mapped(LifeRecord),
    /// A process waited for another host; of a lookup with the answer.
    Wait(WaitRecord, &'a [u8]),
    /// A process is to be killed for want of memory.
    OomKill(LifeRecord),
    /// In which system calls a process was.
    Syscalls(SyscallsView<'a>),
}

/// A [`SyscallsRecord`], whose many numbers are read when they are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SyscallsView<'a> {
    /// As of the record.
    pub header: Header,
    /// As of the record.
    pub from: u64,
    /// As of the record.
    pub to: u64,
    /// All of it.
    bytes: &'a [u8],
}

impl SyscallsView<'_> {
    /// The slots that are not empty, in no order.
    pub fn uses(&self) -> impl Iterator<Item = SyscallUse> {
        let slots = (0..SYSCALL_SLOTS).map(|n| {
            let at = offset_of!(SyscallsRecord, uses) + n * size_of::<SyscallUse>();
            SyscallUse {
                number: u64_at(self.bytes, at + offset_of!(SyscallUse, number)),
                count: u64_at(self.bytes, at + offset_of!(SyscallUse, count)),
                ns: u64_at(self.bytes, at + offset_of!(SyscallUse, ns)),
                buckets: core::array::from_fn(|bucket| {
                    u32_at(self.bytes, at + offset_of!(SyscallUse, buckets) + 4 * bucket)
                }),
            }
        });
        slots.filter(|used| used.number != 0)
    }
}

/// Why bytes are not a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// Fewer bytes than the record's kind needs.
    Short {
        /// Bytes that are needed.
        needed: usize,
        /// Bytes that are there.
        have: usize,
    },
    /// No kind has this number.
    UnknownKind(u32),
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short { needed, have } => write!(f, "a record of {needed} bytes has only {have}"),
            Self::UnknownKind(kind) => write!(f, "no record is of kind {kind}"),
        }
    }
}

impl core::error::Error for DecodeError {}

impl<'a> Record<'a> {
    /// Reads one record.
    ///
    /// # Errors
    /// When the bytes are too few for what their header says, or the kind is unknown.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        need(bytes, size_of::<Header>())?;
        let header = Header {
            kind: u32_at(bytes, offset_of!(Header, kind)),
            captured: u32_at(bytes, offset_of!(Header, captured)),
            tgid: u32_at(bytes, offset_of!(Header, tgid)),
            tid: u32_at(bytes, offset_of!(Header, tid)),
        };
        let captured = header.captured as usize;
        match header.kind {
            kind if kind == Kind::Data as u32 => {
                let end = size_of::<DataRecord>().saturating_add(captured);
                need(bytes, end)?;
                Ok(Self::Data(data(header, bytes), &bytes[size_of::<DataRecord>()..end]))
            }
            kind if kind == Kind::Exec as u32 => {
                let args = offset_of!(ExecRecord, args);
                need(bytes, args + captured.min(ARGS_MAX))?;
                let comm = &bytes[offset_of!(ExecRecord, comm)..args];
                let comm = comm.split(|&b| b == 0).next().unwrap_or_default();
                let at = u64_at(bytes, offset_of!(ExecRecord, at));
                Ok(Self::Exec {
                    header,
                    at,
                    comm,
                    args: &bytes[args..args + captured.min(ARGS_MAX)],
                })
            }
            kind if kind == Kind::Fork as u32 => Ok(Self::Fork(life(header, bytes)?)),
            kind if kind == Kind::Exit as u32 => Ok(Self::Exit(life(header, bytes)?)),
            kind if kind == Kind::Socket as u32 => Ok(Self::Socket(socket(header, bytes)?)),
            kind if kind == Kind::Bind as u32 => Ok(Self::Bind(bind(header, bytes)?)),
            kind if kind == Kind::Mapped as u32 => Ok(Self::Mapped(life(header, bytes)?)),
            kind if kind == Kind::Wait as u32 => {
                let end = size_of::<WaitRecord>().saturating_add(captured);
                need(bytes, end)?;
                Ok(Self::Wait(wait(header, bytes), &bytes[size_of::<WaitRecord>()..end]))
            }
            kind if kind == Kind::OomKill as u32 => Ok(Self::OomKill(life(header, bytes)?)),
            kind if kind == Kind::Syscalls as u32 => Ok(Self::Syscalls(syscalls(header, bytes)?)),
            kind => Err(DecodeError::UnknownKind(kind)),
        }
    }
}

fn need(bytes: &[u8], needed: usize) -> Result<(), DecodeError> {
    if bytes.len() < needed {
        return Err(DecodeError::Short {
            needed,
            have: bytes.len(),
        });
    }
    Ok(())
}

fn data(header: Header, bytes: &[u8]) -> DataRecord {
    let totals = offset_of!(DataRecord, totals);
    DataRecord {
        header,
        stream: u64_at(bytes, offset_of!(DataRecord, stream)),
        key: u64_at(bytes, offset_of!(DataRecord, key)),
        pair: u64_at(bytes, offset_of!(DataRecord, pair)),
        ino: u64_at(bytes, offset_of!(DataRecord, ino)),
        entered: u64_at(bytes, offset_of!(DataRecord, entered)),
        exited: u64_at(bytes, offset_of!(DataRecord, exited)),
        offset: u64_at(bytes, offset_of!(DataRecord, offset)),
        len: u64_at(bytes, offset_of!(DataRecord, len)),
        at: u32_at(bytes, offset_of!(DataRecord, at)),
        flags: u32_at(bytes, offset_of!(DataRecord, flags)),
        totals: Totals::from_words(core::array::from_fn(|i| u64_at(bytes, totals + 8 * i))),
        tcp: tcp(bytes, offset_of!(DataRecord, tcp)),
    }
}

fn tcp(bytes: &[u8], at: usize) -> Tcp {
    Tcp {
        srtt_us: u32_at(bytes, at + offset_of!(Tcp, srtt_us)),
        retransmits: u32_at(bytes, at + offset_of!(Tcp, retransmits)),
        in_flight: u32_at(bytes, at + offset_of!(Tcp, in_flight)),
        reserved: 0,
    }
}

fn socket(header: Header, bytes: &[u8]) -> Result<SocketRecord, DecodeError> {
    need(bytes, size_of::<SocketRecord>())?;
    let ports = u32_at(bytes, offset_of!(SocketRecord, local_port)).to_ne_bytes();
    Ok(SocketRecord {
        header,
        at: u64_at(bytes, offset_of!(SocketRecord, at)),
        socket: u64_at(bytes, offset_of!(SocketRecord, socket)),
        ino: u64_at(bytes, offset_of!(SocketRecord, ino)),
        local: address_at(bytes, offset_of!(SocketRecord, local)),
        remote: address_at(bytes, offset_of!(SocketRecord, remote)),
        local_port: u16::from_ne_bytes([ports[0], ports[1]]),
        remote_port: u16::from_ne_bytes([ports[2], ports[3]]),
        event: u32_at(bytes, offset_of!(SocketRecord, event)),
        netns: u32_at(bytes, offset_of!(SocketRecord, netns)),
        connect_us: u32_at(bytes, offset_of!(SocketRecord, connect_us)),
        sent: u64_at(bytes, offset_of!(SocketRecord, sent)),
        received: u64_at(bytes, offset_of!(SocketRecord, received)),
        tcp: tcp(bytes, offset_of!(SocketRecord, tcp)),
    })
}

fn wait(header: Header, bytes: &[u8]) -> WaitRecord {
    let numbers = u32_at(bytes, offset_of!(WaitRecord, remote_port)).to_ne_bytes();
    WaitRecord {
        header,
        from: u64_at(bytes, offset_of!(WaitRecord, from)),
        to: u64_at(bytes, offset_of!(WaitRecord, to)),
        sent: u64_at(bytes, offset_of!(WaitRecord, sent)),
        received: u64_at(bytes, offset_of!(WaitRecord, received)),
        remote: address_at(bytes, offset_of!(WaitRecord, remote)),
        remote_port: u16::from_ne_bytes([numbers[0], numbers[1]]),
        what: u16::from_ne_bytes([numbers[2], numbers[3]]),
        netns: u32_at(bytes, offset_of!(WaitRecord, netns)),
    }
}

fn bind(header: Header, bytes: &[u8]) -> Result<BindRecord, DecodeError> {
    need(bytes, size_of::<BindRecord>())?;
    Ok(BindRecord {
        header,
        at: u64_at(bytes, offset_of!(BindRecord, at)),
        session: u64_at(bytes, offset_of!(BindRecord, session)),
        socket: u64_at(bytes, offset_of!(BindRecord, socket)),
        written: u64_at(bytes, offset_of!(BindRecord, written)),
        read: u64_at(bytes, offset_of!(BindRecord, read)),
        fresh: u32_at(bytes, offset_of!(BindRecord, fresh)),
        moves: u32_at(bytes, offset_of!(BindRecord, moves)),
    })
}

fn life(header: Header, bytes: &[u8]) -> Result<LifeRecord, DecodeError> {
    need(bytes, size_of::<LifeRecord>())?;
    Ok(LifeRecord {
        header,
        at: u64_at(bytes, offset_of!(LifeRecord, at)),
        value: u32_at(bytes, offset_of!(LifeRecord, value)),
        reserved: 0,
    })
}

fn syscalls(header: Header, bytes: &[u8]) -> Result<SyscallsView<'_>, DecodeError> {
    need(bytes, size_of::<SyscallsRecord>())?;
    Ok(SyscallsView {
        header,
        from: u64_at(bytes, offset_of!(SyscallsRecord, from)),
        to: u64_at(bytes, offset_of!(SyscallsRecord, to)),
        bytes,
    })
}

/// The callers have checked the length; a short slice reads as 0.
fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes
        .get(at..at + 4)
        .and_then(|b| b.try_into().ok())
        .map_or(0, u32::from_ne_bytes)
}

/// As [`u32_at`].
fn address_at(bytes: &[u8], at: usize) -> [u8; 16] {
    bytes
        .get(at..at + 16)
        .and_then(|b| b.try_into().ok())
        .unwrap_or([0; 16])
}

/// As [`u32_at`].
fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes
        .get(at..at + 8)
        .and_then(|b| b.try_into().ok())
        .map_or(0, u64::from_ne_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The in-memory layout of a record is what `decode` reads: the two cannot drift apart.
    #[test]
    fn layout_and_decoding_agree() {
        let mut bytes = [0u8; size_of::<DataRecord>() + 3];
        for (i, b) in bytes.iter_mut().enumerate() {
            *b = u8::try_from(i % 251).unwrap();
        }
        bytes[..8].copy_from_slice(&[1, 0, 0, 0, 3, 0, 0, 0]);
        let Ok(Record::Data(record, payload)) = Record::decode(&bytes) else {
            panic!("not decoded")
        };
        assert_eq!(payload, &bytes[size_of::<DataRecord>()..]);
        assert_eq!(record.stream, u64::from_ne_bytes(bytes[16..24].try_into().unwrap()));
        assert_eq!(record.len, u64::from_ne_bytes(bytes[72..80].try_into().unwrap()));
        assert_eq!(
            record.totals.thread.on_cpu,
            u64::from_ne_bytes(bytes[144..152].try_into().unwrap())
        );
        assert_eq!(
            record.totals.bytes,
            u64::from_ne_bytes(bytes[208..216].try_into().unwrap())
        );
    }

    #[test]
    fn every_shorter_record_is_refused() {
        let mut bytes = [0u8; size_of::<DataRecord>() + 3];
        bytes[..8].copy_from_slice(&[1, 0, 0, 0, 3, 0, 0, 0]);
        for len in 0..bytes.len() {
            assert!(
                matches!(Record::decode(&bytes[..len]), Err(DecodeError::Short { .. })),
                "{len}"
            );
        }
        bytes[0] = 99;
        assert_eq!(Record::decode(&bytes), Err(DecodeError::UnknownKind(99)));
    }
}
