//! Reads recordings, trusting nothing in them.

use std::{
    collections::BTreeMap,
    io::{self, BufRead, Read},
};

use super::{
    Architecture, FACTS, FORMAT, Frame, LOSSES, MAGIC, MAX_FRAME, MAX_HEADER, PREEXISTING, RECORD, RecordingError,
    RecordingHeader,
};

/// Reads a recording, frame by frame.
#[derive(Debug)]
pub struct RecordingReader<R> {
    input: R,
    header: RecordingHeader,
    frames: u64,
    records: u64,
    cut_off: bool,
}

impl<R: BufRead> RecordingReader<R> {
    /// Reads the header.
    ///
    /// # Errors
    /// When this is not a recording, or one of another version.
    pub fn new(mut input: R) -> Result<Self, RecordingError> {
        let header = read_header(&mut input)?;
        Ok(Self {
            input,
            header,
            frames: 0,
            records: 0,
            cut_off: false,
        })
    }

    /// Where the recording comes from.
    #[must_use]
    pub fn header(&self) -> &RecordingHeader {
        &self.header
    }

    /// The next frame; `None` at the end, whether it is a clean one or not.
    ///
    /// # Errors
    /// When the file cannot be read or is damaged. There is no way to go on then.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, RecordingError> {
        let mut head = [0; 5];
        let Some(()) = self.fill(&mut head, true)? else {
            return Ok(None);
        };
        let [kind, length @ ..] = head;
        let length = u32::from_le_bytes(length);
        self.frames += 1;
        if length > MAX_FRAME {
            return Err(RecordingError::Oversized {
                frame: self.frames,
                length,
                records: self.records,
            });
        }
        let Some(body) = self.body(length)? else {
            return Ok(None);
        };
        let frame = parse(kind, body).map_err(|reason| RecordingError::Damaged {
            frame: self.frames,
            kind,
            reason,
            records: self.records,
        })?;
        self.records += u64::from(kind == RECORD);
        Ok(Some(frame))
    }

    /// What to tell about an end in the middle of a frame, after the last one was read.
    #[must_use]
    pub fn cut_off(&self) -> Option<String> {
        self.cut_off.then(|| {
            let Self { frames, records, .. } = self;
            format!("the recording ends in the middle of frame {frames}; the {records} records before it were replayed")
        })
    }

    /// Reads a body without believing its length before it is there.
    fn body(&mut self, length: u32) -> Result<Option<Vec<u8>>, RecordingError> {
        let mut body = Vec::new();
        let read = (&mut self.input)
            .take(u64::from(length))
            .read_to_end(&mut body)
            .map_err(RecordingError::Read)?;
        self.cut_off = read < length as usize;
        Ok((!self.cut_off).then_some(body))
    }

    /// Fills `buffer`; `None` when the file ends before.
    fn fill(&mut self, buffer: &mut [u8], frame_start: bool) -> Result<Option<()>, RecordingError> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.input.read(&mut buffer[filled..]) {
                Ok(0) => {
                    if filled > 0 || !frame_start {
                        self.cut_off = true;
                        self.frames += 1;
                    }
                    return Ok(None);
                }
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(RecordingError::Read(error)),
            }
        }
        Ok(Some(()))
    }
}

fn read_header(input: &mut impl BufRead) -> Result<RecordingHeader, RecordingError> {
    let not_one = |reason: String| RecordingError::NotARecording { reason };
    let mut line = Vec::new();
    input
        .take(MAX_HEADER as u64)
        .read_until(b'\n', &mut line)
        .map_err(RecordingError::Read)?;
    if line.last() != Some(&b'\n') {
        return Err(not_one("its first line does not end".to_owned()));
    }
    // Only the parts that tell what it is, before the parts that may differ between versions.
    let loose: BTreeMap<String, serde_json::Value> =
        serde_json::from_slice(&line).map_err(|error| not_one(format!("its first line is not a header: {error}")))?;
    let text = |name: &str| {
        loose.get(name).map_or_else(
            || "?".to_owned(),
            |value| match value {
                serde_json::Value::String(text) => text.chars().filter(|c| !c.is_control()).take(40).collect(),
                other => other.to_string().chars().take(40).collect(),
            },
        )
    };
    if text("magic") != MAGIC {
        return Err(not_one("its first line is not a header".to_owned()));
    }
    let wanted = [
        ("format", "format", FORMAT.to_string()),
        ("record layout", "abi", agent_abi::VERSION.to_string()),
    ];
    let other = |what, found, wanted| RecordingError::Version {
        what,
        found,
        wanted,
        by: text("mcpsonar"),
    };
    for (what, name, wanted) in wanted {
        let found = text(name);
        if found != wanted {
            return Err(other(what, found, wanted));
        }
    }
    let arch = text("arch");
    if Architecture::named(&arch).is_none() {
        return Err(other("architecture", arch, Architecture::NAMES.to_owned()));
    }
    serde_json::from_slice(&line).map_err(|error| not_one(format!("its header is incomplete: {error}")))
}

fn parse(kind: u8, body: Vec<u8>) -> Result<Frame, String> {
    let json_error = |error: serde_json::Error| error.to_string();
    match kind {
        RECORD => Ok(Frame::Record(body)),
        FACTS => serde_json::from_slice(&body)
            .map(Box::new)
            .map(Frame::Facts)
            .map_err(json_error),
        LOSSES => {
            let losses: BTreeMap<String, u64> = serde_json::from_slice(&body).map_err(json_error)?;
            Ok(Frame::Losses(losses.into_iter().collect()))
        }
        PREEXISTING => {
            let (numbers, rest) = body.as_chunks::<8>();
            if !rest.is_empty() {
                return Err(format!("{} bytes are not a list of inode numbers", body.len()));
            }
            Ok(Frame::Preexisting(
                numbers.iter().map(|number| u64::from_le_bytes(*number)).collect(),
            ))
        }
        _ => Err("no such kind".to_owned()),
    }
}
