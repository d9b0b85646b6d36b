//! Go binaries: which version built them, and where their functions return.

/// Begins the section `.go.buildinfo`.
const MAGIC: &[u8] = b"\xff Go buildinf:";
/// Where the flags are, and the one that says that the version follows in place (Go 1.18 on).
const FLAGS: usize = 15;
const IN_PLACE: u8 = 2;
/// Where the version is then: its length, then its text.
const VERSION: usize = 32;

/// The section that tells who built the binary, and as much of it as is needed.
pub(super) const BUILD_INFO: &str = ".go.buildinfo";
pub(super) const BUILD_INFO_LEN: usize = 96;

/// Whether the binary's functions take arguments in registers, as the programs expect: all do since
/// Go 1.17, and since 1.18 it can be told.
pub(super) fn has_register_abi(build_info: &[u8]) -> bool {
    let in_place = build_info.get(FLAGS).is_some_and(|flags| flags & IN_PLACE != 0);
    let version = build_info.get(VERSION + 1..).unwrap_or_default();
    build_info.starts_with(MAGIC) && in_place && (version.starts_with(b"go1.") || version.starts_with(b"devel"))
}

/// Offsets of the return instructions in the code of a function; empty when the code makes no sense
/// at some point, for a probe in the middle of an instruction would break the program.
#[cfg(target_arch = "x86_64")]
pub(super) fn exits(code: &[u8]) -> Vec<u64> {
    use iced_x86::{Decoder, DecoderOptions, FlowControl};

    let mut exits = Vec::new();
    for instruction in Decoder::new(64, code, DecoderOptions::NONE) {
        if instruction.is_invalid() {
            return Vec::new();
        }
        if instruction.flow_control() == FlowControl::Return {
            exits.push(instruction.ip());
        }
    }
    exits
}

/// As above. Instructions are words, and one of them returns.
#[cfg(target_arch = "aarch64")]
pub(super) fn exits(code: &[u8]) -> Vec<u64> {
    const RET: [u8; 4] = 0xd65f_03c0_u32.to_le_bytes();
    let words = code.chunks_exact(RET.len()).enumerate();
    let exits = words.filter(|(_, word)| *word == RET);
    exits.map(|(index, _)| (index * RET.len()) as u64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn returns_are_not_mistaken() {
        // mov eax, 0xc3c3c3c3; ret; add rsp, 0x10; ret; nop
        let code = b"\xb8\xc3\xc3\xc3\xc3\xc3\x48\x83\xc4\x10\xc3\x90";
        assert_eq!(exits(code), [5, 10]);
        assert!(exits(b"\xc3\x0f\xff\xff\x06").is_empty(), "an invalid instruction");
        assert!(exits(b"").is_empty());
    }

    #[test]
    fn versions() {
        let info = |flags: u8, version: &[u8]| {
            let mut info = MAGIC.to_vec();
            info.resize(VERSION, 0);
            info[FLAGS] = flags;
            info.push(u8::try_from(version.len()).unwrap());
            info.extend(version);
            info
        };
        assert!(has_register_abi(&info(2, b"go1.19.8")));
        assert!(!has_register_abi(&info(0, b"")), "1.17 and before");
        assert!(!has_register_abi(b"") && !has_register_abi(&MAGIC[..5]));
    }
}
