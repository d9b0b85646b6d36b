//! The eBPF programs of mcpsonar.
//!
//! Two tiers of entry points, [`tier1`] (fentry/fexit) and [`tier2`] (raw tracepoints), end in the
//! same functions of [`data`], which find the stream behind a file descriptor ([`walk`], [`stream`])
//! ([`connection`] for TCP) and ship what moved on it ([`capture`]). [`life`] follows processes,
//! [`socket`] connections, [`time`] what the threads do meanwhile, [`upstream`] whom they wait for.
#![no_std]
#![no_main]
// For the one instruction that core does not offer on this target: an atomic addition.
#![feature(asm_experimental_arch)]

mod arch;
mod capture;
mod connection;
mod data;
mod emit;
mod globals;
mod life;
mod mapping;
mod maps;
mod scope;
mod scratch;
mod socket;
mod stream;
mod syscall;
mod tcp;
mod tier1;
mod tier2;
mod time;
mod tls;
mod upstream;
mod walk;

/// The programs call helpers that the kernel reserves for GPL-compatible code.
#[unsafe(no_mangle)]
#[unsafe(link_section = "license")]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    // The verifier refuses programs that can get here, so none can.
    loop {}
}
