//! Log lines on their way to standard output.
//!
//! Whoever logs only adds to a buffer; one thread writes what has gathered for [`GATHER`]. So a request never waits for the
//! file, pipe or terminal, and thousands of lines cost one system call. When the process is killed, the last [`GATHER`] are
//! lost; a panic and a proper end wait for theirs. Where standard output takes nothing for so long that [`MAX_PENDING_BYTES`]
//! wait, further lines are counted and dropped, and so are those that it refuses, as a full disk does. Once it takes some again,
//! a line says how many.

use std::{
    io::{self, Write},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use tracing_subscriber::fmt::MakeWriter;

/// How long lines gather.
const GATHER: Duration = Duration::from_millis(10);
/// Lines that wait to be written, at most: 4 MiB.
const MAX_PENDING_BYTES: usize = 4 << 20;

/// The way in; cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct LogLines(Arc<Shared>);

#[derive(Default)]
struct Shared {
    pending: Mutex<Pending>,
    changed: Condvar,
}

#[derive(Default)]
struct Pending {
    lines: Vec<u8>,
    /// Since a line last said so.
    lost: u64,
    /// The thread is at standard output.
    writing: bool,
    /// Somebody waits for what is pending.
    urgent: bool,
}

impl LogLines {
    /// Starts the thread that writes.
    pub(crate) fn start(output: impl Write + Send + 'static) -> io::Result<Self> {
        let lines = Self::default();
        let mut drain = Drain { lines: lines.clone(), output, is_within_line: false };
        thread::Builder::new().name("profile-log".into()).spawn(move || drain.run())?;
        Ok(lines)
    }

    /// Waits until everything logged so far is written, at most so long.
    pub(crate) fn flush(&self, within: Duration) {
        let end = Instant::now() + within;
        let mut pending = self.lock();
        while !pending.lines.is_empty() || pending.writing {
            pending.urgent = true;
            self.0.changed.notify_all();
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            pending = self.0.changed.wait_timeout(pending, left).map_or_else(|error| error.into_inner().0, |(guard, _)| guard);
        }
    }

    fn add(&self, line: &[u8]) {
        let mut pending = self.lock();
        if pending.lines.len() + line.len() > MAX_PENDING_BYTES {
            pending.lost += 1;
            return;
        }
        let first = pending.lines.is_empty();
        pending.lines.extend_from_slice(line);
        drop(pending);
        if first {
            self.0.changed.notify_all();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Pending> {
        self.0.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The other end.
struct Drain<W> {
    lines: LogLines,
    output: W,
    /// It took a part of a line and refused the rest.
    is_within_line: bool,
}

impl<W: Write> Drain<W> {
    fn run(&mut self) {
        let (mut batch, mut lost) = (Vec::new(), 0);
        loop {
            lost += self.take(&mut batch);
            // Neither a closed pipe nor a full disk must end the service.
            let refused = self.write(&batch);
            lost += refused;
            batch.clear();
            let mut pending = self.lines.lock();
            pending.writing = false;
            pending.urgent &= !pending.lines.is_empty();
            drop(pending);
            self.lines.0.changed.notify_all();
            if lost > 0 && refused == 0 {
                tracing::warn!(lines = lost, "log lines were lost, because standard output did not take them");
                lost = 0;
            }
        }
    }

    /// Gives how many lines were refused, the one among them that is there in part.
    fn write(&mut self, lines: &[u8]) -> u64 {
        let end_of_line: &[u8] = if self.is_within_line { b"\n" } else { b"" };
        let mut rest = lines;
        let done = self.output.write_all(end_of_line).and_then(|()| {
            self.is_within_line = false;
            while !rest.is_empty() {
                match self.output.write(rest) {
                    Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                    Ok(taken) => rest = &rest[taken..],
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
            self.output.flush()
        });
        if done.is_ok() {
            return 0;
        }
        let taken = &lines[..lines.len() - rest.len()];
        self.is_within_line |= taken.last().is_some_and(|last| *last != b'\n');
        rest.split(|byte| *byte == b'\n').skip(1).map(|_| 1).sum()
    }

    /// Waits for lines, and for more to gather. Gives how many were lost.
    fn take(&self, batch: &mut Vec<u8>) -> u64 {
        let changed = &self.lines.0.changed;
        let mut pending =
            changed.wait_while(self.lines.lock(), |pending| pending.lines.is_empty()).unwrap_or_else(PoisonError::into_inner);
        if !pending.urgent {
            let gathered = changed.wait_timeout_while(pending, GATHER, |pending| !pending.urgent);
            pending = gathered.unwrap_or_else(PoisonError::into_inner).0;
        }
        std::mem::swap(&mut pending.lines, batch);
        pending.writing = true;
        std::mem::take(&mut pending.lost)
    }
}

/// One line.
pub(crate) struct Line<'a>(&'a LogLines);

impl Write for Line<'_> {
    /// Called once with a whole line.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.add(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for LogLines {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line(self)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// Takes what is written only while somebody receives it.
    struct Pipe(mpsc::SyncSender<Vec<u8>>);

    impl Write for Pipe {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.send(bytes.to_vec()).map_err(io::Error::other)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    const LONG: Duration = Duration::from_mins(1);

    #[test]
    fn lines_come_whole_and_in_order() {
        let (sender, receiver) = mpsc::sync_channel(1000);
        let lines = LogLines::start(Pipe(sender)).unwrap();
        let all: Vec<u8> = (0..1000).flat_map(|number| format!("line {number}\n").into_bytes()).collect();
        for line in all.split_inclusive(|byte| *byte == b'\n') {
            lines.make_writer().write_all(line).unwrap();
        }
        lines.flush(LONG);
        assert!(receiver.try_iter().flatten().eq(all));
    }

    /// Has room for so many bytes.
    #[derive(Clone, Default)]
    struct Disk(Arc<Mutex<(Vec<u8>, usize)>>);

    impl Disk {
        fn make_room(&self, bytes: usize) {
            self.0.lock().unwrap().1 += bytes;
        }

        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().0.clone()).unwrap()
        }
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let (written, room) = &mut *self.0.lock().unwrap();
            if *room == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            let taken = bytes.len().min(*room);
            written.extend_from_slice(&bytes[..taken]);
            *room -= taken;
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_that_a_full_disk_refused_are_counted_and_harm_no_other() {
        let disk = Disk::default();
        let mut drain = Drain { lines: LogLines::default(), output: disk.clone(), is_within_line: false };
        disk.make_room(8);
        assert_eq!(drain.write(b"first\nsecond\nthird\n"), 2);
        assert_eq!(drain.write(b"fourth\n"), 1);
        disk.make_room(100);
        assert_eq!(drain.write(b"fifth\n"), 0);
        assert_eq!(disk.text(), "first\nse\nfifth\n");
        drain.output.0.lock().unwrap().1 = 6;
        assert_eq!(drain.write(b"sixth\nseventh\n"), 1);
        disk.make_room(100);
        assert_eq!(drain.write(b"eighth\n"), 0);
        assert_eq!(disk.text(), "first\nse\nfifth\nsixth\neighth\n", "nothing to end where no line was begun");
    }

    #[test]
    fn output_that_takes_nothing_holds_nobody_up() {
        let (sender, receiver) = mpsc::sync_channel(0);
        let lines = LogLines::start(Pipe(sender)).unwrap();
        let line = [b'x'; 1024];
        // Beyond what waits and what the thread holds.
        for _ in 0..3 * MAX_PENDING_BYTES / line.len() {
            lines.make_writer().write_all(&line).unwrap();
        }
        assert!(lines.lock().lines.len() <= MAX_PENDING_BYTES);
        lines.flush(Duration::from_millis(1));

        let flushed = thread::spawn({
            let lines = lines.clone();
            move || lines.flush(LONG)
        });
        let mut drained = 0;
        while !flushed.is_finished() {
            drained += receiver.recv_timeout(Duration::from_millis(10)).map_or(0, |bytes| bytes.len());
        }
        assert!((MAX_PENDING_BYTES - line.len()..=2 * MAX_PENDING_BYTES).contains(&drained), "{drained}");
        lines.make_writer().write_all(&line).unwrap();
        assert_eq!(lines.lock().lost, 0, "there is room again");
    }
}
