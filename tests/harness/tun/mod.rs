//! A simulated network: a TUN device in a namespace of its own, behind it hosts and routers that
//! act on a plan, and a log of what there was and what was done.
//!
//! The plan is asked about each echo request, SYN and datagram, and says what comes back and when.
//! One thread reads, holds and writes; it spins for the last 100 µs before an answer is due.

mod act;
mod truth;
mod wire;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::ffi::OsString;
use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::eventfd::EventFd;
use nix::sys::time::TimeSpec;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

pub(crate) use self::act::{Act, What, answer, refuse, reply, too_big, ttl_exceeded};
pub(crate) use self::truth::{Fate, Truth, fate, truth};
pub(crate) use self::wire::{Body, Packet};
use super::net::inside;
use super::peers::python;
use super::process::{PATIENCE, Process, Stdin};
use super::{Family, require};

/// The TTL with which a host's answers, and a router's errors, come in.
pub(crate) const HOST_TTL: u8 = 57;
pub(crate) const ROUTER_TTL: u8 = 250;

/// The name of the device.
pub(crate) const DEVICE: &str = "sim0";

/// Makes the device, routes to it, and passes it to the test, in whose end it ends: there is no
/// other way to a descriptor of it without unsafe code of ours.
const HOLDER: &str = r#"
import fcntl, os, socket, struct
control = socket.socket(fileno=0)
device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
# TUNSETIFF with IFF_TUN | IFF_NO_PI (linux/if_tun.h).
fcntl.ioctl(device, 0x400454ca, struct.pack("16sH22x", b"sim0", 0x1001))
commands = """
ip link set sim0 addrgenmode none
ip link set sim0 txqueuelen 20000
ip link set sim0 up
ip addr add 10.8.0.1/32 dev sim0
ip -6 addr add fd00:8::1/128 dev sim0 nodad
ip route add 10.0.0.0/8 dev sim0 src 10.8.0.1
ip -6 route add fd00::/16 dev sim0 src fd00:8::1
"""
assert os.system("set -e" + commands + os.environ["SIM_SETUP"]) == 0
socket.send_fds(control, [b"x"], [device])
os.close(device)
control.recv(1)
"#;

/// Returns the address of our side.
pub(crate) fn own(family: Family) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::new(10, 8, 0, 1).into(),
        Family::V6 => Ipv6Addr::new(0xfd00, 8, 0, 0, 0, 0, 0, 1).into(),
    }
}

/// Returns the address of a host: 10.9.0.0/16, fd00:9::/112.
pub(crate) fn host(family: Family, number: u16) -> IpAddr {
    let [high, low] = number.to_be_bytes();
    match family {
        Family::V4 => Ipv4Addr::new(10, 9, high, low).into(),
        Family::V6 => Ipv6Addr::new(0xfd00, 9, 0, 0, 0, 0, 0, number).into(),
    }
}

/// Returns the address of a router: 10.10.0.0/24, fd00:10::/120.
pub(crate) fn router(family: Family, number: u8) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::new(10, 10, 0, number).into(),
        Family::V6 => Ipv6Addr::new(0xfd00, 0x10, 0, 0, 0, 0, 0, number.into()).into(),
    }
}

/// Returns the size of the headers before the data of an echo request.
pub(crate) fn headers(family: Family) -> usize {
    if family == Family::V4 { 28 } else { 48 }
}

/// A request that the network saw.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// When its read returned.
    pub(crate) at: Instant,
    /// How long before that there was nothing to read for certain: so long it may have waited.
    pub(crate) unseen: Duration,
    /// How many came to this address before it.
    pub(crate) nth: usize,
    pub(crate) packet: Packet,
}

impl Seen {
    pub(crate) fn family(&self) -> Family {
        self.packet.family()
    }

    /// Returns the number of the host that it is for.
    pub(crate) fn host(&self) -> u16 {
        match self.packet.to {
            IpAddr::V4(to) => u16::from_be_bytes([to.octets()[2], to.octets()[3]]),
            IpAddr::V6(to) => to.segments()[7],
        }
    }

    /// Returns id, sequence and data of an echo request.
    pub(crate) fn echo(&self) -> (u16, u16, &[u8]) {
        let Body::Echo { id, sequence, payload } = &self.packet.body else { panic!("{self:?} is no echo request") };
        (*id, *sequence, payload)
    }
}

/// What was sent back.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) what: What,
    /// How long its write began after the read of the request.
    pub(crate) hold: Duration,
    /// How long the write took.
    pub(crate) write: Duration,
    /// The place of this answer among all that were written.
    pub(crate) order: usize,
}

/// A request and what came of it.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) seen: Seen,
    pub(crate) answers: Vec<Answer>,
}

/// What is done about a request.
type Plan = Box<dyn FnMut(&Seen) -> Vec<Act> + Send>;

#[derive(Default)]
struct Shared {
    log: Mutex<Vec<Entry>>,
    changed: Condvar,
    ends: AtomicBool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A network that has not begun.
#[derive(Default)]
pub(crate) struct Builder {
    setup: String,
    spins: bool,
}

impl Builder {
    /// Runs a shell command in the namespace before anything else.
    pub(crate) fn setup(mut self, command: &str) -> Self {
        self.setup.push_str(command);
        self.setup.push('\n');
        self
    }

    /// Permits everyone ICMP sockets of SOCK_DGRAM: the namespace knows one group, 0 (icmp(7)).
    pub(crate) fn permitting_ping_sockets(self) -> Self {
        self.setup("echo 0 0 > /proc/sys/net/ipv4/ping_group_range")
    }

    /// Never sleeps: requests are seen at once, at the price of a processor.
    pub(crate) fn spinning(mut self) -> Self {
        self.spins = true;
        self
    }

    /// Starts it.
    pub(crate) fn start(self, plan: impl FnMut(&Seen) -> Vec<Act> + Send + 'static) -> Network {
        require(&["unshare", "ip", "setpriv"]);
        let (ours, theirs) = UnixStream::pair().expect("a pair of sockets can be made");
        let mut command = Command::new("unshare");
        command.args(["-Urnm", "sh", "-c", "ip link set lo up && exec \"$@\"", "sh", python(), "-I", "-S", "-c"]);
        command.arg(HOLDER).env("SIM_SETUP", &self.setup);
        let holder = Process::spawn(command, Stdin::From(Stdio::from(OwnedFd::from(theirs))), None, PATIENCE);
        ours.set_read_timeout(Some(PATIENCE)).expect("a time-out can be set");
        let device = descriptor(&ours).unwrap_or_else(|why| panic!("no device: {why}: {}", failure(&holder)));
        let (shared, wake) = (Arc::new(Shared::default()), Arc::new(EventFd::new().expect("an eventfd can be made")));
        let work = Worker {
            device,
            wake: Arc::clone(&wake),
            shared: Arc::clone(&shared),
            plan: Box::new(plan),
            spins: self.spins,
            due: BinaryHeap::new(),
            asked: 0,
            written: 0,
            requests: BTreeMap::new(),
        };
        let worker = Some(thread::spawn(move || work.run()));
        Network { _control: ours, holder, shared, wake, worker }
    }
}

/// Takes a descriptor that is passed (unix(7), SCM_RIGHTS).
fn descriptor(stream: &UnixStream) -> Result<OwnedFd, String> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let message = loop {
        match recvmsg(stream, &mut [IoSliceMut::new(&mut byte)], &mut control, RecvFlags::CMSG_CLOEXEC) {
            Err(rustix::io::Errno::INTR) => {}
            other => break other.map_err(|error| error.to_string())?,
        }
    };
    let descriptor = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    descriptor.ok_or_else(|| format!("{} bytes, {:?}", message.bytes, message.flags))
}

/// Returns what a holder that fails says so far, or until its end where that comes soon.
fn failure(holder: &Process) -> String {
    holder.ends_within(Duration::from_secs(1));
    let stderr = holder.wait("stderr", |output| Some(output.stderr.clone()));
    String::from_utf8_lossy(&stderr).into_owned()
}

/// A network that runs until it is dropped.
pub(crate) struct Network {
    /// The holder ends when this is closed.
    _control: UnixStream,
    holder: Process,
    shared: Arc<Shared>,
    wake: Arc<EventFd>,
    worker: Option<JoinHandle<()>>,
}

impl Network {
    /// Starts a network with this plan.
    pub(crate) fn new(plan: impl FnMut(&Seen) -> Vec<Act> + Send + 'static) -> Self {
        Self::builder().start(plan)
    }

    pub(crate) fn builder() -> Builder {
        Builder::default()
    }

    /// Returns the words that run a command in it, with every capability.
    pub(crate) fn prefix(&self) -> Vec<OsString> {
        inside(self.holder.pid())
    }

    /// Returns the words that run a command in it, without any capability.
    pub(crate) fn unprivileged(&self) -> Vec<OsString> {
        let mut words = self.prefix();
        words.extend(["setpriv", "--bounding-set=-all", "--inh-caps=-all"].map(OsString::from));
        words
    }

    /// Starts a program of others in it.
    pub(crate) fn spawn(&self, line: &str) -> Process {
        let words: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
        let program = words[0].to_str().expect("a name").to_owned();
        require(&[&program]);
        let mut all = self.prefix();
        all.extend(words);
        let mut command = Command::new(&all[0]);
        command.args(&all[1..]).env("LC_ALL", "C.UTF-8");
        Process::spawn(command, Stdin::Null, None, PATIENCE)
    }

    /// Returns what there was so far.
    pub(crate) fn log(&self) -> Vec<Entry> {
        self.shared.lock().clone()
    }

    /// Waits until the log is as wanted.
    pub(crate) fn wait(&self, what: &str, mut is_so: impl FnMut(&[Entry]) -> bool) {
        let log = self.shared.lock();
        let waited = self.shared.changed.wait_timeout_while(log, PATIENCE, |log| !is_so(log));
        let timed_out = waited.map_or_else(|poison| poison.into_inner().1, |(_, result)| result).timed_out();
        assert!(!timed_out, "the network never saw {what}: {:?}", self.log());
    }

    /// Ends it, and returns all that there was. What was not due yet is not sent any more.
    pub(crate) fn finish(mut self) -> Vec<Entry> {
        self.stop().expect("the network did its work");
        self.log()
    }

    fn stop(&mut self) -> thread::Result<()> {
        self.shared.ends.store(true, Ordering::Relaxed);
        self.wake.write(1).expect("an eventfd takes a 1");
        self.worker.take().map_or(Ok(()), JoinHandle::join)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // A worker that failed has said so by its panic.
        let _ = self.stop();
    }
}

/// An answer that is due: when, its place among those of the same moment, about which request.
type Due = Reverse<(Instant, usize, usize)>;

/// The thread that is the network.
struct Worker {
    device: OwnedFd,
    wake: Arc<EventFd>,
    shared: Arc<Shared>,
    plan: Plan,
    spins: bool,
    due: BinaryHeap<Due>,
    /// The number of answers that were asked for, and written, so far.
    asked: usize,
    written: usize,
    /// The requests an address, so far.
    requests: BTreeMap<IpAddr, usize>,
}

impl Worker {
    fn run(mut self) {
        /// How long before its time an answer is waited for without sleep.
        const SPIN: Duration = Duration::from_micros(100);
        let (mut buffer, mut waiting) = (vec![0; 65_536], BTreeMap::new());
        let mut empty = Instant::now();
        while !self.shared.ends.load(Ordering::Relaxed) {
            let look = Instant::now();
            match nix::unistd::read(&self.device, &mut buffer) {
                Ok(length) => {
                    let at = Instant::now();
                    if let Some(packet) = wire::parse(&buffer[..length]) {
                        self.take(packet, at, at - empty, &mut waiting);
                    }
                }
                Err(Errno::EAGAIN) => empty = look,
                Err(Errno::EINTR) => {}
                Err(error) => panic!("read of the device: {error}"),
            }
            while self.due.peek().is_some_and(|Reverse((due, _, _))| *due <= Instant::now()) {
                let Some(Reverse((_, number, entry))) = self.due.pop() else { break };
                let (what, bytes) = waiting.remove(&number).expect("an answer waits for its time");
                self.give(entry, what, &bytes);
            }
            let left = self.due.peek().map(|Reverse((due, _, _))| due.saturating_duration_since(Instant::now()));
            if self.spins || left.is_some_and(|left| left <= SPIN) {
                std::hint::spin_loop();
                continue;
            }
            let mut watched = [&self.device.as_fd(), &self.wake.as_fd()].map(|fd| PollFd::new(*fd, PollFlags::POLLIN));
            let patience = left.map(|left| TimeSpec::from_duration(left - SPIN));
            match ppoll(&mut watched, patience, None) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(error) => panic!("poll: {error}"),
            }
        }
    }

    fn take(&mut self, packet: Packet, at: Instant, unseen: Duration, waiting: &mut BTreeMap<usize, (What, Vec<u8>)>) {
        let count = self.requests.entry(packet.to).or_default();
        let seen = Seen { at, unseen, nth: *count, packet };
        *count += 1;
        let acts = (self.plan)(&seen);
        let mut log = self.shared.lock();
        for act in acts {
            self.due.push(Reverse((at + act.after, self.asked, log.len())));
            let bytes = act.what.packet(&seen.packet);
            waiting.insert(self.asked, (act.what, bytes));
            self.asked += 1;
        }
        log.push(Entry { seen, answers: Vec::new() });
        drop(log);
        self.shared.changed.notify_all();
    }

    fn give(&mut self, entry: usize, what: What, bytes: &[u8]) {
        let began = Instant::now();
        let count = nix::unistd::write(&self.device, bytes).expect("the device takes a packet");
        let write = began.elapsed();
        assert_eq!(count, bytes.len(), "a packet is written whole");
        let mut log = self.shared.lock();
        let hold = began - log[entry].seen.at;
        log[entry].answers.push(Answer { what, hold, write, order: self.written });
        self.written += 1;
        drop(log);
        self.shared.changed.notify_all();
    }
}
