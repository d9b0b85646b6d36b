//! Lines to a file or terminal through a thread of its own, so that a blocked reader of our
//! output cannot stall the ring.

use std::{
    io::{self, BufWriter, Write},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
        mpsc::{Receiver, Sender, TryRecvError, channel},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

/// Bytes that may wait to be written.
const MAX_WAITING_BYTES: usize = 4 << 20;
/// How long `finish` waits for a reader that does not read.
const FINISH_DEADLINE: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(1);

/// What to do with a line when too many are waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenFull {
    /// Drop it and count it: what is traced does not wait.
    Drop,
    /// Wait: nothing is lost when the source is a file.
    Wait,
}

/// Writes lines in the background, in order.
#[derive(Debug)]
pub struct LineWriter {
    name: String,
    when_full: WhenFull,
    lines: Option<Sender<Vec<u8>>>,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    dropped: u64,
}

#[derive(Debug, Default)]
struct Shared {
    waiting: AtomicUsize,
    written: AtomicU64,
    failed: AtomicBool,
    error: Mutex<Option<io::Error>>,
}

impl LineWriter {
    /// A writer to `out`, which messages call `name`.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn spawn(name: impl Into<String>, out: impl Write + Send + 'static, when_full: WhenFull) -> io::Result<Self> {
        let (lines, receiver) = channel();
        let shared = Arc::new(Shared::default());
        let thread = std::thread::Builder::new().name("output".to_owned()).spawn({
            let shared = Arc::clone(&shared);
            move || {
                if let Err(error) = write_all(&receiver, out, &shared) {
                    *shared.error.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                    shared.failed.store(true, Ordering::Release);
                }
            }
        })?;
        Ok(Self {
            name: name.into(),
            when_full,
            lines: Some(lines),
            shared,
            thread: Some(thread),
            dropped: 0,
        })
    }

    /// What is written to.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Lines dropped because too many were waiting.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Queues a line (or several), with its newline.
    ///
    /// # Errors
    /// What the output failed with; the first time as it was, then by kind.
    pub fn write(&mut self, line: Vec<u8>) -> io::Result<()> {
        self.check()?;
        let waiting = &self.shared.waiting;
        while waiting.load(Ordering::Acquire) + line.len() > MAX_WAITING_BYTES && waiting.load(Ordering::Acquire) > 0 {
            if self.when_full == WhenFull::Drop {
                self.dropped += 1;
                return Ok(());
            }
            self.check()?;
            std::thread::sleep(POLL);
        }
        waiting.fetch_add(line.len(), Ordering::AcqRel);
        let sent = self.lines.as_ref().is_some_and(|lines| lines.send(line).is_ok());
        if sent {
            Ok(())
        } else {
            self.check().and(Err(io::ErrorKind::BrokenPipe.into()))
        }
    }

    /// Waits until everything is written, at most for a few seconds.
    ///
    /// # Errors
    /// What the output failed with, or `TimedOut`.
    pub fn finish(&mut self) -> io::Result<()> {
        self.lines = None;
        let Some(thread) = self.thread.take() else {
            return Ok(());
        };
        let mut deadline = Instant::now() + FINISH_DEADLINE;
        let mut written = 0;
        while !thread.is_finished() {
            // As long as it makes headway it is slow, not stuck.
            let now_written = self.shared.written.load(Ordering::Acquire);
            if now_written != written {
                written = now_written;
                deadline = Instant::now() + FINISH_DEADLINE;
            }
            if Instant::now() >= deadline {
                // The thread sits in write(2) and ends with the process.
                return Err(io::Error::new(io::ErrorKind::TimedOut, "nobody reads it"));
            }
            std::thread::sleep(POLL);
        }
        if thread.join().is_err() {
            return Err(io::Error::other("its writer ended unexpectedly"));
        }
        self.check()
    }

    fn check(&self) -> io::Result<()> {
        if !self.shared.failed.load(Ordering::Acquire) {
            return Ok(());
        }
        let mut error = self.shared.error.lock().unwrap_or_else(PoisonError::into_inner);
        let kind = error.as_ref().map_or(io::ErrorKind::Other, io::Error::kind);
        Err(error.replace(kind.into()).unwrap_or_else(|| kind.into()))
    }
}

fn write_all(lines: &Receiver<Vec<u8>>, out: impl Write, shared: &Shared) -> io::Result<()> {
    let mut out = BufWriter::with_capacity(64 << 10, out);
    loop {
        let line = match lines.try_recv() {
            Ok(line) => line,
            Err(TryRecvError::Disconnected) => break,
            Err(TryRecvError::Empty) => {
                out.flush()?;
                match lines.recv() {
                    Ok(line) => line,
                    Err(_closed) => break,
                }
            }
        };
        let written = out.write_all(&line);
        shared.waiting.fetch_sub(line.len(), Ordering::AcqRel);
        shared.written.fetch_add(1, Ordering::AcqRel);
        written?;
    }
    out.flush()
}

#[cfg(test)]
mod tests {
    use std::{
        io::{PipeWriter, Read, pipe},
        sync::mpsc,
    };

    use super::*;

    fn piped(when_full: WhenFull) -> (LineWriter, std::io::PipeReader) {
        let (reader, writer): (_, PipeWriter) = pipe().unwrap();
        (LineWriter::spawn("stdout", writer, when_full).unwrap(), reader)
    }

    #[test]
    fn everything_in_order() {
        let (mut writer, mut reader) = piped(WhenFull::Wait);
        let (done, text) = mpsc::channel();
        std::thread::spawn(move || {
            let mut all = String::new();
            reader.read_to_string(&mut all).unwrap();
            done.send(all).unwrap();
        });
        let expected: String = (0..200_000).map(|n| format!("line {n:060}\n")).collect();
        for line in expected.split_inclusive('\n') {
            writer.write(line.as_bytes().to_vec()).unwrap();
        }
        writer.finish().unwrap();
        assert_eq!(writer.dropped(), 0);
        drop(writer);
        assert!(text.recv().unwrap() == expected);
    }

    #[test]
    fn a_blocked_reader_costs_lines_not_time() {
        let (mut writer, reader) = piped(WhenFull::Drop);
        let start = Instant::now();
        for _ in 0..10_000 {
            writer.write(vec![b'x'; 1024]).unwrap();
        }
        assert!(start.elapsed() < Duration::from_secs(2));
        assert!(writer.dropped() > 5000, "{}", writer.dropped());
        assert!(writer.shared.waiting.load(Ordering::Relaxed) <= MAX_WAITING_BYTES);
        drop(reader);
        assert_eq!(writer.finish().unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }

    #[test]
    fn a_reader_that_is_gone_is_told_apart() {
        let (mut writer, reader) = piped(WhenFull::Drop);
        drop(reader);
        let error = loop {
            if let Err(error) = writer.write(b"x\n".to_vec()) {
                break error;
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
        assert_eq!(writer.write(vec![]).unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        assert_eq!(writer.finish().unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        assert!(writer.finish().is_ok(), "once is enough");
    }
}
