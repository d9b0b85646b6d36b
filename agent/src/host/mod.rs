//! Who is this process and what does it use: facts and samples from procfs and cgroups, the table of
//! the processes that were seen, the clock.

mod cgroup;
mod clock;
mod container;
mod descriptors;
mod ends;
mod facts;
mod libraries;
mod listening;
mod pods;
mod processes;
mod redact;
mod runtime;
mod sampling;
mod sockets;
mod threads;
mod unix;
mod users;

pub use cgroup::{CgroupCounters, CgroupDirs, CgroupSample, Hierarchies, LimitingDirs, MemoryEvents, MemoryUse};
pub use clock::{ClockOffset, monotonic, nanos_of_ticks, thread_cpu, unix_nanos};
pub use container::container_id;
pub use descriptors::{at_other_end, descendants, open_inodes, own_inodes, peers};
pub use ends::{End, Ends, EndsScanner};
use facts::cgroup_path;
pub use facts::{FactsSource, ProcFs, ProcessFacts, RecordedFacts};
pub use libraries::{FileId, MappedFile, executable_files, file_id};
pub use listening::{TcpUse, tcp_use};
pub use pods::{Pod, Pods};
pub use processes::{KEEP_EXITED, MAX_EXITED, MAX_LIVE, Processes};
pub use redact::{MAX_ARG_BYTES, MAX_ARGS, redact_args};
pub use runtime::{ContainerIdentity, ContainerRuntimes};
pub use sampling::*;
pub use sockets::Connection;
pub use threads::{all_pids, in_data_syscall};
pub use users::user_name;
