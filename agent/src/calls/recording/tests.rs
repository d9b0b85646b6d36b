use proptest::prelude::*;

use super::*;
use crate::sink::Losses;

fn header() -> RecordingHeader {
    RecordingHeader::new("6.18.0".into(), "boot".into(), ClockOffset(-5), vec![7])
}

fn recording() -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = RecordingWriter::new(&mut bytes, &header()).unwrap();
    writer.preexisting([1, u64::MAX]).unwrap();
    writer
        .facts(&ProcessFacts {
            pid: 7,
            comm: Some("x".into()),
            ..ProcessFacts::default()
        })
        .unwrap();
    writer.record(b"first").unwrap();
    writer.record(b"").unwrap();
    writer.record(&[0xff; 300]).unwrap();
    let mut losses = Losses::default();
    losses.add("ring_dropped", 2);
    writer.losses(&losses).unwrap();
    writer.finish().unwrap();
    bytes
}

/// Frames, how the file ended, and the error if there was one.
type Contents = (Vec<Frame>, Option<String>, Option<RecordingError>);

fn read(bytes: &[u8]) -> Result<Contents, RecordingError> {
    let mut reader = RecordingReader::new(bytes)?;
    let mut frames = Vec::new();
    loop {
        match reader.next_frame() {
            Ok(Some(frame)) => frames.push(frame),
            Ok(None) => return Ok((frames, reader.cut_off(), None)),
            Err(error) => return Ok((frames, reader.cut_off(), Some(error))),
        }
    }
}

#[test]
fn round_trip() {
    let bytes = recording();
    assert_eq!(RecordingReader::new(&bytes[..]).unwrap().header(), &header());
    let (frames, cut_off, error) = read(&bytes).unwrap();
    assert!(cut_off.is_none() && error.is_none());
    let facts = ProcessFacts {
        pid: 7,
        comm: Some("x".into()),
        ..ProcessFacts::default()
    };
    let expected = [
        Frame::Preexisting(vec![1, u64::MAX]),
        Frame::Facts(Box::new(facts)),
        Frame::Record(b"first".to_vec()),
        Frame::Record(vec![]),
        Frame::Record(vec![0xff; 300]),
        Frame::Losses(vec![("ring_dropped".to_owned(), 2)]),
    ];
    assert_eq!(frames, expected);
}

#[test]
fn cut_off_in_the_last_record() {
    let bytes = recording();
    let last_record_ends = bytes.len() - 5 - br#"{"ring_dropped":2}"#.len();
    let (frames, cut_off, error) = read(&bytes[..last_record_ends - 1]).unwrap();
    assert_eq!((frames.len(), error.is_none()), (4, true));
    let message = "the recording ends in the middle of frame 5; the 2 records before it were replayed";
    assert_eq!(cut_off.as_deref(), Some(message));
    let (frames, cut_off, _) = read(&bytes[..last_record_ends + 2]).unwrap();
    assert_eq!((frames.len(), cut_off.is_some()), (5, true));
    let (frames, cut_off, _) = read(&bytes[..last_record_ends]).unwrap();
    assert_eq!((frames.len(), cut_off), (5, None));
}

#[test]
fn of_another_architecture() {
    let whole = recording();
    let start = whole.iter().position(|byte| *byte == b'\n').unwrap();
    for (name, arch) in [("x86_64", Architecture::X86), ("aarch64", Architecture::Arm)] {
        let header = RecordingHeader { arch, ..header() };
        let line = serde_json::to_vec(&header).unwrap();
        assert!(String::from_utf8_lossy(&line).contains(&format!("\"arch\":\"{name}\"")));
        let bytes = [&line[..], &whole[start..]].concat();
        assert_eq!(RecordingReader::new(&bytes[..]).unwrap().header(), &header);
        assert_eq!(read(&bytes).unwrap().0, read(&whole).unwrap().0);
    }
}

#[test]
fn what_is_not_a_recording() {
    for bytes in [
        &b""[..],
        b"\n",
        b"{}\n",
        b"\x7fELF\n",
        b"{\"magic\":\"x\"}\n",
        b"[1]\n",
        b"{\"magic\":\"mcpsonar-record\"",
    ] {
        assert!(
            matches!(read(bytes), Err(RecordingError::NotARecording { .. })),
            "{bytes:?}"
        );
    }
    assert!(matches!(
        read(&vec![b' '; 1 << 20]),
        Err(RecordingError::NotARecording { .. })
    ));
    let text = String::from_utf8_lossy(&recording()).into_owned();
    for (from, to) in [
        ("\"format\":1", "\"format\":9"),
        ("\"abi\":", "\"abi\":9"),
        ("\"arch\":\"", "\"arch\":\"x"),
    ] {
        let error = read(text.replace(from, to).as_bytes()).unwrap_err();
        assert!(matches!(error, RecordingError::Version { .. }), "{error}");
    }
    let error = read(b"{\"magic\":\"mcpsonar-record\",\"format\":2,\"mcpsonar\":\"7.0\"}\n").unwrap_err();
    let message = "this recording has format 2 and this build reads 1; replay it with mcpsonar 7.0";
    assert_eq!(error.to_string(), message);
}

#[test]
fn damaged_frames() {
    let start = recording().iter().position(|byte| *byte == b'\n').unwrap() + 1;
    let with = |frame: &[u8]| read(&[&recording()[..start], frame].concat()).unwrap().2.unwrap();
    assert!(matches!(
        with(b"\x01\xff\xff\xff\xff"),
        RecordingError::Oversized {
            frame: 1,
            records: 0,
            ..
        }
    ));
    for frame in [
        &b"\x09\0\0\0\0"[..],
        b"\x02\x01\0\0\0{",
        b"\x03\x02\0\0\0[]",
        b"\x04\x01\0\0\0x",
    ] {
        let error = with(frame);
        assert!(matches!(error, RecordingError::Damaged { frame: 1, .. }), "{error}");
    }
}

#[test]
fn only_the_owner_can_read_it() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("r");
    std::fs::write(&path, "open to all").unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).unwrap();
    RecordingWriter::create(&path, &header()).unwrap().finish().unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let missing = RecordingWriter::create(&dir.path().join("no/r"), &header());
    assert!(matches!(missing, Err(RecordingError::Write(_))));
}

proptest! {
    #[test]
    fn truncated_anywhere(at in 0usize..800) {
        let bytes = recording();
        let whole = read(&bytes).unwrap().0;
        if let Ok((frames, _, error)) = read(&bytes[..at.min(bytes.len())]) {
            prop_assert!(error.is_none());
            prop_assert_eq!(&frames[..], &whole[..frames.len()]);
        }
    }

    #[test]
    fn flipped_bytes_never_panic(flips in prop::collection::vec((0usize..800, any::<u8>()), 1..8)) {
        let mut bytes = recording();
        for (at, xor) in flips {
            let length = bytes.len();
            bytes[at % length] ^= xor;
        }
        // Whatever comes out, it comes out in order and without an end.
        if let Ok((frames, _, _)) = read(&bytes) {
            prop_assert!(frames.len() <= bytes.len());
        }
    }
}
