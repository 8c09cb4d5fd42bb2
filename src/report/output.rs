//! One place that bytes go to: a bounded buffer, and a thread that writes it out.
//!
//! Whoever pushes never waits for the writer and, while the writer is busy, makes no system call.
//! Two buffers change places: one is filled while the other is written. Unless it is asked for before,
//! the thread begins with the first byte: while there is but one thread, every system call on a
//! descriptor costs less (fdget(), fs/file.c), and a run of which nothing is told has no other.

use std::fmt;
use std::io::{self, ErrorKind, Write};
use std::mem;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::progress::Footer;

/// Above this many bytes that wait, an output is full.
const BOUND: usize = 1 << 20;

/// A buffer that grew beyond this in a burst is given back.
const KEEP: usize = 4 << 20;

/// How long the writer waits when a stream that someone made non-blocking takes nothing.
const PAUSE: Duration = Duration::from_millis(1);

/// In a stream of lines, how long the writer gathers before it writes again. A write a line would
/// cost as much as the work that it tells of; a line that comes alone is written at once.
const GATHER: Duration = Duration::from_micros(300);

/// What an output tells, from its own thread as a rule.
#[derive(Debug)]
pub enum OutputEvent {
    /// It was full and is so no more.
    Drained,
    /// A write failed; from now on everything is thrown away. Told once.
    Failed(io::Error),
}

/// A writer with a thread of its own.
pub struct Output {
    name: &'static str,
    shared: Arc<Shared>,
}

/// What both threads see.
#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    /// Notified when there is something to write, or nothing more will come.
    wake: Condvar,
    /// Notified when all is written, or will never be.
    settled: Condvar,
    is_full: AtomicBool,
}

/// What the writer has.
struct Work {
    writer: Box<dyn Write + Send>,
    told: Box<dyn Fn(OutputEvent) + Send>,
    footer: Footer,
    began: Instant,
}

/// What waits to be written.
#[derive(Default)]
struct Queue {
    buffer: Vec<u8>,
    /// What the thread takes when it begins.
    work: Option<Work>,
    thread: Option<JoinHandle<()>>,
    /// News of the line below all that is written.
    footer: Option<Option<String>>,
    /// The writer waits to be notified.
    is_asleep: bool,
    /// Something that was pushed is not written yet.
    is_unsettled: bool,
    /// Someone waits for that.
    is_awaited: bool,
    /// Nothing more will come.
    is_closed: bool,
    /// Nothing is taken any more: a write failed, or all is written and the thread ends.
    is_dead: bool,
    /// The writer has told all that it had to tell.
    is_over: bool,
    /// The error that it ended with.
    error: Option<io::Error>,
}

impl Output {
    /// Makes an output that writes to `writer` and tells `told` how it goes.
    pub fn new(name: &'static str, writer: Box<dyn Write + Send>, told: impl Fn(OutputEvent) + Send + 'static) -> Self {
        let work = Work { writer, told: Box::new(told), footer: Footer::default(), began: Instant::now() };
        let shared = Arc::new(Shared::default());
        shared.lock().work = Some(work);
        Self { name, shared }
    }

    /// Returns the name that it was made with.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Lets `fill` append to what waits to be written, and sees to it that it is. Never blocks.
    /// After a failed write `fill` is not called.
    pub fn push(&self, fill: impl FnOnce(&mut Vec<u8>)) {
        let mut queue = self.shared.lock();
        if queue.is_dead {
            return;
        }
        fill(&mut queue.buffer);
        if queue.buffer.len() > BOUND {
            self.shared.is_full.store(true, Ordering::Release);
        }
        self.rouse(queue);
    }

    /// Sets the line that stays below all that is written, for a terminal; `None` takes it away.
    pub fn set_footer(&self, line: Option<String>) {
        let mut queue = self.shared.lock();
        if !queue.is_dead {
            queue.footer = Some(line);
            self.rouse(queue);
        }
    }

    /// Returns whether more waits than should: 1 MiB. Whoever can wait, waits for
    /// [`OutputEvent::Drained`] or [`OutputEvent::Failed`].
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.shared.is_full.load(Ordering::Acquire)
    }

    /// Blocks until all that was pushed is written, or a write has failed and was told.
    pub fn settle(&self) {
        let mut queue = self.shared.lock();
        while queue.is_unsettled && !queue.is_over {
            queue.is_awaited = true;
            self.shared.wake.notify_one();
            queue = self.shared.settled.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Writes out what still waits, and ends the thread; what is pushed after that is thrown away.
    ///
    /// # Errors
    ///
    /// A write failed, now or earlier.
    pub fn finish(&mut self) -> io::Result<()> {
        let mut queue = self.shared.lock();
        queue.is_closed = true;
        if let Some(thread) = queue.thread.take() {
            drop(queue);
            self.shared.wake.notify_one();
            thread.join().map_err(|_| io::Error::other("the writing thread panicked"))?;
            queue = self.shared.lock();
        }
        queue.is_dead = true;
        queue.error.take().map_or(Ok(()), Err)
    }

    /// Sees to it that what was just queued is written.
    fn rouse(&self, mut queue: MutexGuard<'_, Queue>) {
        if queue.buffer.is_empty() && queue.footer.is_none() {
            return;
        }
        queue.is_unsettled = true;
        if queue.thread.is_none() {
            // Where no thread can be made, whoever pushes waits for the write itself.
            if self.begin_on(&mut queue).is_err() {
                self.shared.write_here(&mut queue);
            }
            return;
        }
        let is_asleep = mem::take(&mut queue.is_asleep);
        drop(queue);
        if is_asleep {
            self.shared.wake.notify_one();
        }
    }

    /// Begins the thread at once, for a run that has much to tell.
    ///
    /// # Errors
    ///
    /// No thread can be made.
    pub fn begin(&self) -> io::Result<()> {
        self.begin_on(&mut self.shared.lock())
    }

    fn begin_on(&self, queue: &mut Queue) -> io::Result<()> {
        let theirs = Arc::clone(&self.shared);
        queue.thread = Some(thread::Builder::new().name(self.name.to_owned()).spawn(move || theirs.write_all())?);
        Ok(())
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        // Who wants to know how it went calls `finish`.
        let _ = self.finish();
    }
}

impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Output").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Shared {
    /// Locks what waits; a panic of whoever filled it does not keep the rest from being written.
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes all that comes until it is closed or a write fails: the thread's work.
    fn write_all(&self) {
        let Some(mut work) = self.lock().work.take() else { return };
        let result = self.write_batches(&mut work);
        self.end(&mut self.lock(), result);
    }

    /// Writes what waits, without a thread.
    fn write_here(&self, queue: &mut Queue) {
        let Some(mut work) = queue.work.take() else { return };
        let (mut batch, news) = (mem::take(&mut queue.buffer), queue.footer.take());
        self.is_full.store(false, Ordering::Release);
        queue.is_unsettled = false;
        match work.write(&mut batch, news) {
            Ok(()) => queue.work = Some(work),
            Err(error) => {
                (work.told)(OutputEvent::Failed(copy(&error)));
                self.end(queue, Err(error));
            }
        }
    }

    /// Notes what writing has ended with.
    fn end(&self, queue: &mut Queue, result: io::Result<()>) {
        self.die(queue);
        queue.is_over = true;
        queue.error = result.err();
        self.settled.notify_all();
    }

    /// Writes batch after batch until it is closed or a write fails.
    fn write_batches(&self, work: &mut Work) -> io::Result<()> {
        let (mut batch, mut written) = (Vec::new(), None);
        while let Some((mut was_full, news)) = self.take(&mut batch) {
            if written.is_some_and(|written: Instant| written.elapsed() < GATHER) {
                // Whoever settles or ends the run is not kept waiting for that.
                was_full |= self.gather(&mut batch);
            }
            if was_full {
                (work.told)(OutputEvent::Drained);
            }
            if let Err(error) = work.write(&mut batch, news) {
                self.die(&mut self.lock());
                (work.told)(OutputEvent::Failed(copy(&error)));
                return Err(error);
            }
            written = Some(Instant::now());
            batch.clear();
            batch.shrink_to(KEEP);
        }
        Ok(())
    }

    /// Waits a moment for more to write, takes that too, and returns whether it was more than
    /// should wait.
    fn gather(&self, batch: &mut Vec<u8>) -> bool {
        let queue = self.lock();
        if queue.is_closed || queue.is_awaited || batch.len() > BOUND {
            return false;
        }
        // Nobody notifies a writer that is not asleep, save who settles or closes.
        let (mut queue, _) = self.wake.wait_timeout(queue, GATHER).unwrap_or_else(PoisonError::into_inner);
        batch.append(&mut queue.buffer);
        self.is_full.swap(false, Ordering::AcqRel)
    }

    /// Waits for something to write, takes all of it and returns whether it was more than should
    /// wait, and the news of the line below it; `None` when nothing more will come.
    fn take(&self, batch: &mut Vec<u8>) -> Option<(bool, Option<Option<String>>)> {
        let mut queue = self.lock();
        loop {
            let news = queue.footer.take();
            if !queue.buffer.is_empty() || news.is_some() {
                mem::swap(&mut queue.buffer, batch);
                return Some((self.is_full.swap(false, Ordering::AcqRel), news));
            }
            queue.is_unsettled = false;
            // A notification is a system call, heard or not.
            if mem::take(&mut queue.is_awaited) {
                self.settled.notify_all();
            }
            if queue.is_closed {
                return None;
            }
            queue.is_asleep = true;
            queue = self.wake.wait(queue).unwrap_or_else(PoisonError::into_inner);
            queue.is_asleep = false;
        }
    }

    /// Throws away what waits, and from now on everything.
    fn die(&self, queue: &mut Queue) {
        queue.is_dead = true;
        queue.buffer = Vec::new();
        self.is_full.store(false, Ordering::Release);
    }
}

impl Work {
    /// Writes a batch, and sees to the line below it.
    fn write(&mut self, batch: &mut Vec<u8>, news: Option<Option<String>>) -> io::Result<()> {
        self.footer.around(batch, news, self.began.elapsed());
        write(&mut *self.writer, batch)
    }
}

/// Writes all of `bytes`, also to a stream that is interrupted or that someone else made
/// non-blocking: a terminal shares that flag with stdin.
fn write(writer: &mut dyn Write, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match writer.write(bytes) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(PAUSE),
            Err(error) => return Err(error),
        }
    }
    writer.flush()
}

/// Returns the same error once more.
fn copy(error: &io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(errno) => io::Error::from_raw_os_error(errno),
        None => io::Error::new(error.kind(), error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{self, Receiver, Sender};

    use super::*;

    /// Takes a write when it is given leave, and tells what it got.
    struct Slow {
        leave: Receiver<io::Result<usize>>,
        got: Sender<Vec<u8>>,
    }

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let most = self.leave.recv().unwrap_or(Ok(usize::MAX))?;
            let taken = &bytes[..most.min(bytes.len())];
            self.got.send(taken.to_vec()).unwrap();
            Ok(taken.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    struct Bench {
        output: Output,
        leave: Sender<io::Result<usize>>,
        got: Receiver<Vec<u8>>,
        told: Receiver<OutputEvent>,
    }

    fn bench() -> Bench {
        let ((leave, asked), (give, got), (tell, told)) = (mpsc::channel(), mpsc::channel(), mpsc::channel());
        let slow = Slow { leave: asked, got: give };
        let output = Output::new("test", Box::new(slow), move |event| tell.send(event).unwrap());
        Bench { output, leave, got, told }
    }

    #[test]
    fn a_line_is_written_as_soon_as_it_is_pushed() {
        let Bench { mut output, leave, got, told } = bench();
        for line in [b"one\n", b"two\n"] {
            output.push(|buffer| buffer.extend_from_slice(line));
            leave.send(Ok(usize::MAX)).unwrap();
            assert_eq!(got.recv().unwrap(), line);
        }
        output.finish().unwrap();
        assert!(told.recv().is_err());
    }

    #[test]
    fn interrupted_refused_and_partial_writes_lose_nothing() {
        let Bench { mut output, leave, got, told: _told } = bench();
        output.push(|buffer| buffer.extend_from_slice(b"abcdef"));
        for answer in [Err(ErrorKind::Interrupted.into()), Err(ErrorKind::WouldBlock.into()), Ok(2), Ok(3)] {
            leave.send(answer).unwrap();
        }
        drop(leave);
        output.finish().unwrap();
        assert_eq!(got.iter().collect::<Vec<_>>().concat(), b"abcdef");
    }

    #[test]
    fn a_full_output_tells_when_there_is_room() {
        let Bench { mut output, leave, got, told } = bench();
        output.push(|buffer| buffer.push(b'a'));
        // Once it has taken that, the writer waits for leave: what follows stays in the buffer.
        while !output.shared.lock().buffer.is_empty() {
            thread::yield_now();
        }
        output.push(|buffer| buffer.resize(BOUND, 0));
        assert!(!output.is_full());
        output.push(|buffer| buffer.push(0));
        assert!(output.is_full());
        leave.send(Ok(1)).unwrap();
        assert!(matches!(told.recv().unwrap(), OutputEvent::Drained));
        assert!(!output.is_full());
        drop(leave);
        output.finish().unwrap();
        assert_eq!(got.iter().map(|bytes| bytes.len()).sum::<usize>(), 1 + BOUND + 1, "nothing is lost");
    }

    #[test]
    fn a_line_stays_below_what_is_written_until_it_is_taken_away() {
        let Bench { mut output, leave, got, told: _told } = bench();
        let next = |expected: &str| {
            leave.send(Ok(usize::MAX)).unwrap();
            assert_eq!(String::from_utf8(got.recv().unwrap()).unwrap(), expected);
        };
        output.set_footer(Some("[#-]".to_owned()));
        next("[#-]\r");
        output.set_footer(Some("[##]".to_owned()));
        next("\r\x1b[K[##]\r");
        drop(leave);
        output.set_footer(None);
        output.push(|buffer| buffer.extend_from_slice(b"end\n"));
        output.finish().unwrap();
        assert_eq!(got.iter().collect::<Vec<_>>().concat(), b"\r\x1b[Kend\n");
    }

    #[test]
    fn a_failure_is_told_once_and_the_rest_thrown_away() {
        let Bench { mut output, leave, got: _got, told } = bench();
        output.push(|buffer| buffer.push(b'a'));
        leave.send(Err(io::Error::from_raw_os_error(32))).unwrap();
        let OutputEvent::Failed(error) = told.recv().unwrap() else { panic!("it drained") };
        assert_eq!(error.raw_os_error(), Some(32));
        output.push(|_| panic!("it is dead"));
        assert!(!output.is_full());
        assert_eq!(output.finish().unwrap_err().raw_os_error(), Some(32));
        assert!(told.recv().is_err());
    }

    #[test]
    fn settled_is_written_or_failed_and_told() {
        let kept = bench();
        kept.output.settle();
        kept.output.push(|buffer| buffer.push(b'a'));
        kept.leave.send(Ok(1)).unwrap();
        kept.output.settle();
        assert_eq!(kept.got.try_recv().unwrap(), b"a");
        kept.output.push(|buffer| buffer.push(b'b'));
        kept.leave.send(Err(io::Error::from_raw_os_error(28))).unwrap();
        kept.output.settle();
        assert!(matches!(kept.told.try_recv().unwrap(), OutputEvent::Failed(_)));
    }

    #[test]
    fn a_burst_does_not_keep_its_memory() {
        let mut output = Output::new("test", Box::new(io::sink()), |_| {});
        for _ in 0..4 {
            output.push(|buffer| buffer.resize(3 * KEEP, 0));
            while !output.shared.lock().is_asleep {
                thread::yield_now();
            }
        }
        assert!(output.shared.lock().buffer.capacity() <= KEEP);
        output.finish().unwrap();
    }
}
