//! Who is this process: facts from procfs, the table of the processes that were seen, the clock.

mod clock;
mod container;
mod descriptors;
mod facts;
mod libraries;
mod processes;
mod redact;
mod sockets;
mod threads;

pub use clock::{ClockOffset, monotonic};
pub use container::container_id;
pub use descriptors::{at_other_end, descendants, open_inodes, own_inodes, peers};
pub use facts::{FactsSource, ProcFs, ProcessFacts, RecordedFacts};
pub use libraries::{FileId, MappedFile, executable_files, file_id};
pub use processes::{KEEP_EXITED, MAX_EXITED, MAX_LIVE, Processes};
pub use redact::{MAX_ARG_BYTES, MAX_ARGS, redact_args};
pub use sockets::Connection;
pub use threads::{all_pids, in_data_syscall};
