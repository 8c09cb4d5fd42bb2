//! Datagrams in batches: recvmmsg(2) and sendmmsg(2) with their control messages, and the error
//! queue (udp(7), ip(7), ipv6(7), Documentation/networking/timestamping.rst).
//!
//! The buffers of a batch are made once and used again and again: nothing is allocated a datagram.

use std::io;
use std::mem::{MaybeUninit, size_of};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::null_mut;

use socket2::{SockAddr, SockAddrStorage};

/// Room for what may come with a datagram: arrival address, hop limit, traffic class, time stamps,
/// drops and the size of merged segments; aligned as control messages are.
type Control = [MaybeUninit<u64>; 36];

/// Room for what goes with a datagram: the size of its segments, and our address.
type OwnControl = [MaybeUninit<u64>; 8];

/// Where a datagram arrived: an address of ours, and the interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArrivedAt {
    /// The address that it was sent to; a multicast or broadcast one too.
    pub to: IpAddr,
    /// The address of ours to answer from, where the kernel says so: of IPv4 alone.
    pub local: Option<Ipv4Addr>,
    /// The index of the interface.
    pub interface: u32,
}

/// A datagram that came, or several of one size that the kernel merged (UDP_GRO).
#[derive(Debug)]
pub struct Received<'a> {
    /// What lies in the buffer.
    pub data: &'a [u8],
    /// What had come, in bytes: more than `data` where it was cut.
    pub true_bytes: usize,
    /// Who sent it.
    pub from: SockAddr,
    /// The size of each datagram, in bytes, where several were merged; the last may be shorter.
    pub segment: Option<usize>,
    /// Where it arrived, where that was asked for.
    pub arrival: Option<ArrivedAt>,
    /// The time to live, or hop limit, that it arrived with.
    pub hops: Option<u8>,
    /// The type of service, or traffic class: DSCP and ECN (RFC 2474, RFC 3168).
    pub class: Option<u8>,
    /// When the kernel received it: nanoseconds since 1970, by the wall clock.
    pub kernel_time: Option<u64>,
    /// When the network device received it, by its own clock: nanoseconds since whenever that began.
    pub device_time: Option<u64>,
}

/// Buffers for datagrams that come.
pub struct RecvBatch {
    room: usize,
    data: Vec<u8>,
    names: Vec<libc::sockaddr_storage>,
    control: Vec<Control>,
    parts: Vec<libc::iovec>,
    headers: Vec<libc::mmsghdr>,
    has_control: bool,
    /// How many headers, from the first, are not as recvmmsg(2) is to find them.
    stale: usize,
}

impl RecvBatch {
    /// Makes room for so many datagrams of so many bytes each. `has_control` says whether what comes
    /// with them is wanted.
    #[must_use]
    pub fn new(slots: usize, room: usize, has_control: bool) -> Self {
        // SAFETY: integers and pointers, for which zero is valid; musl has padding in them.
        let (name, header) = unsafe { (std::mem::zeroed::<libc::sockaddr_storage>(), std::mem::zeroed()) };
        Self {
            room,
            data: vec![0; slots * room],
            names: vec![name; slots],
            control: vec![[MaybeUninit::uninit(); 36]; slots],
            parts: vec![libc::iovec { iov_base: null_mut(), iov_len: 0 }; slots],
            headers: vec![header; slots],
            has_control,
            stale: slots,
        }
    }

    /// Takes what has come, at most `most` datagrams. With `is_blocking` it waits for the first, as
    /// long as the socket's own time-out says.
    ///
    /// # Errors
    /// As recvmmsg(2).
    pub fn recv(&mut self, socket: BorrowedFd<'_>, most: usize, is_blocking: bool) -> io::Result<usize> {
        let slots = most.min(self.headers.len());
        // Primed before they are used again: the kernel writes what it has used into the same fields.
        // Those that it did not come to are as they were; the buffers never move.
        for index in 0..std::mem::take(&mut self.stale) {
            let part = &mut self.parts[index];
            part.iov_base = self.data[index * self.room..].as_mut_ptr().cast();
            part.iov_len = self.room;
            let header = &mut self.headers[index].msg_hdr;
            header.msg_name = (&raw mut self.names[index]).cast();
            header.msg_namelen = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
            header.msg_iov = part;
            header.msg_iovlen = 1;
            header.msg_control = if self.has_control { self.control[index].as_mut_ptr().cast() } else { null_mut() };
            header.msg_controllen = if self.has_control { size_of::<Control>() as _ } else { 0 };
            header.msg_flags = 0;
        }
        let wait = if is_blocking { libc::MSG_WAITFORONE } else { libc::MSG_DONTWAIT };
        // SAFETY: every header was primed, above or for an earlier call that did not come to it, with
        // pointers into buffers of this batch, which live as long and have the length beside them.
        let count = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                self.headers.as_mut_ptr(),
                slots as _,
                (libc::MSG_TRUNC | wait) as _,
                null_mut(),
            )
        };
        // An error may have come to the first.
        self.stale = usize::try_from(count).unwrap_or(1);
        usize::try_from(count).map_err(|_| io::Error::last_os_error())
    }

    /// Returns how many bytes the datagram at an index of the last batch had, and the size of each
    /// where several were merged.
    #[must_use]
    pub fn size(&self, index: usize) -> (usize, Option<usize>) {
        let header = &self.headers[index];
        let mut segment = None;
        if self.has_control && header.msg_hdr.msg_controllen > 0 {
            self.each_control(index, |level, kind, data| {
                if (level, kind) == (libc::SOL_UDP, libc::UDP_GRO) {
                    segment = number(data);
                }
            });
        }
        (header.msg_len as usize, segment.and_then(|size| usize::try_from(size).ok()).filter(|size| *size > 0))
    }

    /// Returns the datagram at an index of the last batch.
    #[must_use]
    pub fn get(&self, index: usize) -> Received<'_> {
        let header = &self.headers[index];
        let true_bytes = header.msg_len as usize;
        let start = index * self.room;
        let from = address(&self.names[index], header.msg_hdr.msg_namelen);
        let mut received = Received {
            data: &self.data[start..start + true_bytes.min(self.room)],
            true_bytes,
            from,
            segment: None,
            arrival: None,
            hops: None,
            class: None,
            kernel_time: None,
            device_time: None,
        };
        self.each_control(index, |level, kind, data| match (level, kind) {
            (libc::SOL_UDP, libc::UDP_GRO) => {
                received.segment = number(data).and_then(|size| usize::try_from(size).ok()).filter(|size| *size > 0);
            }
            (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                if let (Some(index), Some(local), Some(to)) = (bytes::<4>(data, 0), bytes(data, 4), bytes(data, 8)) {
                    received.arrival = Some(ArrivedAt {
                        to: Ipv4Addr::from(to).into(),
                        local: Some(Ipv4Addr::from(local)),
                        interface: u32::from_ne_bytes(index),
                    });
                }
            }
            // Both come with a datagram of IPv4 on a socket of IPv6: what IPv4 says is more.
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) if received.arrival.is_none() => {
                if let (Some(to), Some(index)) = (bytes::<16>(data, 0), bytes::<4>(data, 16)) {
                    let to = IpAddr::from(Ipv6Addr::from(to)).to_canonical();
                    received.arrival = Some(ArrivedAt { to, local: None, interface: u32::from_ne_bytes(index) });
                }
            }
            (libc::IPPROTO_IP, libc::IP_TTL) | (libc::IPPROTO_IPV6, libc::IPV6_HOPLIMIT) => {
                received.hops = number(data).and_then(|hops| u8::try_from(hops).ok());
            }
            // One byte of IPv4, an int of IPv6.
            (libc::IPPROTO_IP, libc::IP_TOS) => received.class = data.first().copied(),
            (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) => {
                received.class = number(data).and_then(|class| u8::try_from(class).ok());
            }
            (libc::SOL_SOCKET, libc::SCM_TIMESTAMPING) => {
                (received.kernel_time, received.device_time) = (stamp(data, SOFTWARE), stamp(data, DEVICE));
            }
            _ => {}
        });
        received
    }

    fn each_control(&self, index: usize, each: impl FnMut(i32, i32, &[u8])) {
        if self.has_control {
            // SAFETY: the header is what the kernel has filled in, and its control buffer still lives.
            unsafe { each_control(&self.headers[index].msg_hdr, each) };
        }
    }
}

/// Makes an address of what the kernel wrote, so many bytes of it.
fn address(written: &libc::sockaddr_storage, len: libc::socklen_t) -> SockAddr {
    let mut storage = SockAddrStorage::zeroed();
    // SAFETY: SockAddrStorage is a sockaddr_storage, which holds every address; the length is the
    // one that the kernel gave with it.
    unsafe {
        *storage.view_as::<libc::sockaddr_storage>() = *written;
        SockAddr::new(storage, len)
    }
}

/// Walks the control messages of a header: level, type, data.
///
/// # Safety
/// SAFETY: `header.msg_control` points to `header.msg_controllen` bytes that the kernel wrote.
unsafe fn each_control(header: &libc::msghdr, mut each: impl FnMut(i32, i32, &[u8])) {
    // SAFETY: the macros walk within the control buffer, which the caller vouches for.
    let mut next = unsafe { libc::CMSG_FIRSTHDR(header) };
    while !next.is_null() {
        // SAFETY: CMSG_FIRSTHDR and CMSG_NXTHDR give headers that lie whole in the buffer.
        let (head, data) = unsafe { (next.read_unaligned(), libc::CMSG_DATA(next)) };
        // SAFETY: CMSG_LEN only computes.
        let len = head.cmsg_len.saturating_sub(unsafe { libc::CMSG_LEN(0) } as usize);
        // SAFETY: the kernel wrote `len` bytes of data behind the head, inside the buffer.
        each(head.cmsg_level, head.cmsg_type, unsafe { std::slice::from_raw_parts(data, len) });
        // SAFETY: as above; it answers null at the end.
        next = unsafe { libc::CMSG_NXTHDR(header, next) };
    }
}

fn bytes<const N: usize>(data: &[u8], at: usize) -> Option<[u8; N]> {
    data.get(at..at + N)?.try_into().ok()
}

fn number(data: &[u8]) -> Option<i32> {
    bytes(data, 0).map(i32::from_ne_bytes)
}

/// The places of two of three stamps (struct scm_timestamping): the kernel's, and the one of the network device's own
/// clock; the second is no longer used.
const SOFTWARE: usize = 0;
const DEVICE: usize = 2;

/// Reads one of three stamps; it is 0 where there is none.
fn stamp(data: &[u8], which: usize) -> Option<u64> {
    let half = size_of::<libc::time_t>();
    let read = |nth: usize| match half {
        4 => bytes::<4>(data, nth * half).map(|raw| i64::from(i32::from_ne_bytes(raw))),
        _ => bytes::<8>(data, nth * half).map(i64::from_ne_bytes),
    };
    let (seconds, nanos) = (u64::try_from(read(2 * which)?).ok()?, u64::try_from(read(2 * which + 1)?).ok()?);
    let all = seconds.checked_mul(1_000_000_000)?.checked_add(nanos)?;
    (all > 0).then_some(all)
}

/// A datagram that is to go, or several of one size in one buffer (UDP_SEGMENT).
#[derive(Clone, Copy, Debug)]
pub struct Outgoing<'a> {
    /// To whom; `None` on a socket that is connected.
    pub to: Option<&'a SockAddr>,
    /// Its bytes, in two parts that are sent as one.
    pub parts: [&'a [u8]; 2],
    /// The size of each datagram, where the kernel is to cut them.
    pub segment: Option<u16>,
    /// Our address to send from, and by which interface: as it arrived.
    pub from: Option<ArrivedAt>,
    /// How many hops it may go, where that is not what the socket says; and whether it is of IPv6.
    pub hops: Option<(u8, bool)>,
}

/// Buffers for datagrams that go.
#[derive(Default)]
pub struct SendBatch {
    parts: Vec<[libc::iovec; 2]>,
    control: Vec<OwnControl>,
    headers: Vec<libc::mmsghdr>,
}

impl SendBatch {
    /// Sends datagrams, and returns how many of them the kernel took.
    ///
    /// # Errors
    /// As sendmmsg(2): the first of them was not taken.
    pub fn send(&mut self, socket: BorrowedFd<'_>, datagrams: &[Outgoing<'_>]) -> io::Result<usize> {
        let part = libc::iovec { iov_base: null_mut(), iov_len: 0 };
        // SAFETY: integers and pointers, for which zero is valid; musl has padding in them.
        let header = unsafe { std::mem::zeroed() };
        if self.headers.len() < datagrams.len() {
            self.parts.resize(datagrams.len(), [part; 2]);
            self.control.resize(datagrams.len(), [MaybeUninit::uninit(); 8]);
            self.headers.resize(datagrams.len(), header);
        }
        for (index, datagram) in datagrams.iter().enumerate() {
            for (part, bytes) in self.parts[index].iter_mut().zip(datagram.parts) {
                part.iov_base = bytes.as_ptr().cast_mut().cast();
                part.iov_len = bytes.len();
            }
            let header = &mut self.headers[index].msg_hdr;
            header.msg_name = datagram.to.map_or(null_mut(), |to| to.as_ptr().cast_mut().cast());
            header.msg_namelen = datagram.to.map_or(0, SockAddr::len);
            // An empty part would be one more for the kernel to look at.
            let skipped = usize::from(datagram.parts[0].is_empty());
            header.msg_iov = self.parts[index][skipped..].as_mut_ptr();
            header.msg_iovlen = (2 - skipped) as _;
            header.msg_control = null_mut();
            header.msg_controllen = 0;
            if datagram.segment.is_some() || datagram.from.is_some() || datagram.hops.is_some() {
                header.msg_control = self.control[index].as_mut_ptr().cast();
                header.msg_controllen = write_control(&mut self.control[index], datagram) as _;
            }
        }
        // SAFETY: every header was filled in above with pointers that are valid for the length beside
        // them during the call: into the datagrams, which are borrowed, and into this batch.
        let count = unsafe {
            libc::sendmmsg(
                socket.as_raw_fd(),
                self.headers.as_mut_ptr(),
                datagrams.len() as _,
                (libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) as _,
            )
        };
        usize::try_from(count).map_err(|_| io::Error::last_os_error())
    }
}

/// Writes the control messages of a datagram, and returns how many bytes they have.
fn write_control(control: &mut OwnControl, datagram: &Outgoing<'_>) -> usize {
    let mut at = 0;
    if let Some(segment) = datagram.segment {
        at = put(control, at, libc::SOL_UDP, libc::UDP_SEGMENT, &segment.to_ne_bytes());
    }
    if let Some((hops, is_v6)) = datagram.hops {
        let (level, kind) = match is_v6 {
            true => (libc::IPPROTO_IPV6, libc::IPV6_HOPLIMIT),
            false => (libc::IPPROTO_IP, libc::IP_TTL),
        };
        at = put(control, at, level, kind, &i32::from(hops).to_ne_bytes());
    }
    match datagram.from {
        Some(ArrivedAt { to: IpAddr::V6(to), interface, .. }) => {
            let mut info = [0; 20];
            info[..16].copy_from_slice(&to.octets());
            info[16..].copy_from_slice(&interface.to_ne_bytes());
            at = put(control, at, libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, &info);
        }
        Some(ArrivedAt { local: Some(local), interface, .. }) => {
            let mut info = [0; 12];
            info[..4].copy_from_slice(&interface.to_ne_bytes());
            info[4..8].copy_from_slice(&local.octets());
            at = put(control, at, libc::IPPROTO_IP, libc::IP_PKTINFO, &info);
        }
        // An IPv4 address on a socket of IPv6 goes as IPv6 knows it.
        Some(ArrivedAt { to: IpAddr::V4(to), interface, .. }) => {
            let mut info = [0; 20];
            info[..16].copy_from_slice(&to.to_ipv6_mapped().octets());
            info[16..].copy_from_slice(&interface.to_ne_bytes());
            at = put(control, at, libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, &info);
        }
        None => {}
    }
    at
}

/// Writes one control message, and returns where the next begins.
fn put(control: &mut OwnControl, at: usize, level: i32, kind: i32, data: &[u8]) -> usize {
    // SAFETY: CMSG_LEN and CMSG_SPACE only compute.
    let (len, space) = unsafe { (libc::CMSG_LEN(data.len() as _), libc::CMSG_SPACE(data.len() as _) as usize) };
    if at + space > size_of::<OwnControl>() {
        return at;
    }
    // SAFETY: zero is a valid header; musl has padding in it.
    let mut head: libc::cmsghdr = unsafe { std::mem::zeroed() };
    head.cmsg_len = len as _;
    (head.cmsg_level, head.cmsg_type) = (level, kind);
    let start = control.as_mut_ptr().cast::<u8>();
    // SAFETY: `space` bytes from `at` lie in the buffer, as was just checked: the head, then, where
    // CMSG_DATA has it, the data. Everything is written unaligned.
    unsafe {
        let place = start.add(at).cast::<libc::cmsghdr>();
        place.write_unaligned(head);
        std::ptr::copy_nonoverlapping(data.as_ptr(), libc::CMSG_DATA(place), data.len());
    }
    at + space
}

/// What the error queue of a socket gave.
#[derive(Debug)]
pub enum Queued {
    /// An ICMP error about what was sent, or an error of this host's own kernel.
    Error {
        /// The errno that it stands for.
        errno: i32,
        /// Who found it: SO_EE_ORIGIN_LOCAL (1), _ICMP (2), _ICMP6 (3) (linux/errqueue.h).
        origin: u8,
        /// The type of the ICMP error.
        kind: u8,
        /// Its code.
        code: u8,
        /// The MTU of the next hop, in bytes, where it is about that.
        info: u32,
        /// The host or router that sent it.
        from: Option<IpAddr>,
        /// Where the datagram was sent that it is about.
        to: Option<SockAddr>,
        /// How many bytes of that datagram's payload are in the buffer.
        quoted: usize,
        /// When the kernel received it: nanoseconds since 1970, by the wall clock.
        kernel_time: Option<u64>,
    },
    /// A datagram has left: told by the kernel, and once more by a network device that has a clock of its own.
    Sent {
        /// The number of its send, from 0 (SOF_TIMESTAMPING_OPT_ID).
        id: u32,
        /// When, as [`Received`] has it.
        kernel_time: Option<u64>,
        /// The same by the device's clock.
        device_time: Option<u64>,
    },
    /// Something that nobody asked for.
    Other,
}

/// SO_EE_ORIGIN_TIMESTAMPING (linux/errqueue.h).
const ORIGIN_TIMESTAMPING: u8 = 4;

/// Takes the oldest entry of a socket's error queue; what it quotes goes into the buffer.
///
/// # Errors
/// As recvmsg(2): EAGAIN where the queue is empty.
pub fn recv_queued(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<Queued> {
    let mut control: Control = [MaybeUninit::uninit(); 36];
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: integers and pointers, for which zero is valid; musl has padding in them.
    let (mut name, mut header) =
        unsafe { (std::mem::zeroed::<libc::sockaddr_storage>(), std::mem::zeroed::<libc::msghdr>()) };
    header.msg_name = (&raw mut name).cast();
    header.msg_namelen = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
    header.msg_iov = &raw mut part;
    header.msg_iovlen = 1;
    header.msg_control = control.as_mut_ptr().cast();
    header.msg_controllen = size_of::<Control>() as _;
    let flags = libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT;
    // SAFETY: every pointer in the header is valid for the length beside it during the call.
    let received = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut header, flags) };
    let quoted = usize::try_from(received).map_err(|_| io::Error::last_os_error())?.min(buffer.len());
    let to = (header.msg_namelen > 0).then(|| address(&name, header.msg_namelen));
    let (mut extended, mut from, mut kernel_time, mut device_time) = (None, None, None, None);
    // SAFETY: the header is what the kernel has filled in, and its control buffer still lives.
    unsafe {
        each_control(&header, |level, kind, data| match (level, kind) {
            (libc::IPPROTO_IP, libc::IP_RECVERR) | (libc::IPPROTO_IPV6, libc::IPV6_RECVERR) => {
                extended = bytes::<16>(data, 0);
                // Behind the sock_extended_err: a sockaddr_in, or a sockaddr_in6.
                from = match bytes::<2>(data, 16).map(|family| i32::from(u16::from_ne_bytes(family))) {
                    Some(libc::AF_INET) => bytes::<4>(data, 20).map(|ip| IpAddr::from(Ipv4Addr::from(ip))),
                    Some(libc::AF_INET6) => bytes::<16>(data, 24).map(|ip| IpAddr::from(ip).to_canonical()),
                    _ => None,
                };
            }
            (libc::SOL_SOCKET, libc::SCM_TIMESTAMPING) => {
                (kernel_time, device_time) = (stamp(data, SOFTWARE), stamp(data, DEVICE));
            }
            _ => {}
        });
    }
    let Some([e0, e1, e2, e3, origin, kind, code, _, i0, i1, i2, i3, d0, d1, d2, d3]) = extended else {
        return Ok(Queued::Other);
    };
    if origin == ORIGIN_TIMESTAMPING {
        return Ok(Queued::Sent { id: u32::from_ne_bytes([d0, d1, d2, d3]), kernel_time, device_time });
    }
    let (errno, info) = (i32::from_ne_bytes([e0, e1, e2, e3]), u32::from_ne_bytes([i0, i1, i2, i3]));
    Ok(Queued::Error { errno, origin, kind, code, info, from, to, quoted, kernel_time })
}

/// Joins a multicast group on an interface, 0 for the one that the routes say: of any source, or of
/// one (RFC 3678, MCAST_JOIN_GROUP and MCAST_JOIN_SOURCE_GROUP).
///
/// # Errors
/// As setsockopt(2).
pub fn join(socket: BorrowedFd<'_>, group: IpAddr, source: Option<IpAddr>, interface: u32) -> io::Result<()> {
    /// MCAST_JOIN_GROUP and MCAST_JOIN_SOURCE_GROUP (linux/in.h).
    const GROUP: i32 = 42;
    const SOURCE_GROUP: i32 = 46;
    let storage = size_of::<libc::sockaddr_storage>();
    // struct group_req, struct group_source_req: an index, padded, then one address or two.
    let mut request = vec![0; 8 + storage * if source.is_some() { 2 } else { 1 }];
    request[..4].copy_from_slice(&interface.to_ne_bytes());
    for (index, ip) in [Some(group), source].into_iter().flatten().enumerate() {
        let at = 8 + index * storage;
        let (family, offset, octets) = match ip {
            IpAddr::V4(v4) => (libc::AF_INET, 4, v4.octets().to_vec()),
            IpAddr::V6(v6) => (libc::AF_INET6, 8, v6.octets().to_vec()),
        };
        request[at..at + 2].copy_from_slice(&(family as libc::sa_family_t).to_ne_bytes());
        request[at + offset..at + offset + octets.len()].copy_from_slice(&octets);
    }
    let level = if group.is_ipv4() { libc::IPPROTO_IP } else { libc::IPPROTO_IPV6 };
    super::set_bytes(socket, level, if source.is_some() { SOURCE_GROUP } else { GROUP }, &request)
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::os::fd::AsFd;

    use super::*;

    fn pair() -> (UdpSocket, UdpSocket) {
        let (one, other) = (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
        one.connect(other.local_addr().unwrap()).unwrap();
        other.connect(one.local_addr().unwrap()).unwrap();
        (one, other)
    }

    fn on(socket: &UdpSocket, level: i32, option: i32) {
        super::super::set_int(socket.as_fd(), level, option, 1).unwrap();
    }

    fn whole<'a>(data: &'a [u8]) -> Outgoing<'a> {
        Outgoing { to: None, parts: [&[], data], segment: None, from: None, hops: None }
    }

    #[test]
    fn a_batch_goes_and_comes_with_what_belongs_to_each() {
        let (one, other) = pair();
        on(&other, libc::IPPROTO_IP, libc::IP_PKTINFO);
        on(&other, libc::IPPROTO_IP, libc::IP_RECVTTL);
        on(&other, libc::IPPROTO_IP, libc::IP_RECVTOS);
        let prefixed = Outgoing { parts: [b"a", b"bc"], ..whole(b"") };
        let sent = SendBatch::default().send(one.as_fd(), &[whole(b"first"), whole(b""), prefixed]).unwrap();
        assert_eq!(sent, 3);
        let mut batch = RecvBatch::new(8, 4, true);
        assert_eq!(batch.recv(other.as_fd(), 8, true).unwrap(), 3);
        let got: Vec<_> = (0..3).map(|index| (batch.get(index).data.to_vec(), batch.get(index).true_bytes)).collect();
        assert_eq!(got, [(b"firs".to_vec(), 5), (vec![], 0), (b"abc".to_vec(), 3)]);
        let first = batch.get(0);
        assert_eq!(first.from.as_socket(), Some(one.local_addr().unwrap()));
        assert_eq!(first.arrival.map(|arrival| arrival.to), Some("127.0.0.1".parse().unwrap()));
        assert_eq!((first.hops, first.class, first.segment), (Some(64), Some(0), None));
        assert_eq!(batch.recv(other.as_fd(), 8, false).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn segments_are_cut_by_the_kernel_and_merged_again() {
        let (one, other) = pair();
        on(&other, libc::SOL_UDP, libc::UDP_GRO);
        let data: Vec<u8> = (0..250).collect();
        let cut = Outgoing { segment: Some(100), ..whole(&data) };
        assert_eq!(SendBatch::default().send(one.as_fd(), &[cut]).unwrap(), 1);
        let mut batch = RecvBatch::new(4, 65_535, true);
        assert_eq!(batch.recv(other.as_fd(), 4, true).unwrap(), 1);
        assert_eq!(batch.size(0), (250, Some(100)));
        assert_eq!((batch.get(0).data, batch.get(0).segment), (&data[..], Some(100)));
    }

    #[test]
    fn the_error_queue_names_who_said_it_about_what() {
        let (one, other) = pair();
        let gone = other.local_addr().unwrap();
        drop(other);
        on(&one, libc::IPPROTO_IP, libc::IP_RECVERR);
        one.send(b"anybody there?").unwrap();
        let mut buffer = [0; 64];
        let Queued::Error { errno, origin, kind, code, from, to, quoted, .. } =
            recv_queued(one.as_fd(), &mut buffer).unwrap()
        else {
            panic!("no error");
        };
        assert_eq!((errno, origin, kind, code), (libc::ECONNREFUSED, 2, 3, 3));
        assert_eq!((from, to.and_then(|to| to.as_socket())), (Some(gone.ip()), Some(gone)));
        assert_eq!(&buffer[..quoted], b"anybody there?");
        assert_eq!(recv_queued(one.as_fd(), &mut buffer).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn a_send_has_its_number_and_time() {
        let (one, _other) = pair();
        let flags = libc::SOF_TIMESTAMPING_TX_SOFTWARE
            | libc::SOF_TIMESTAMPING_SOFTWARE
            | libc::SOF_TIMESTAMPING_OPT_ID
            | libc::SOF_TIMESTAMPING_OPT_TSONLY;
        super::super::set_int(one.as_fd(), libc::SOL_SOCKET, libc::SO_TIMESTAMPING, flags as i32).unwrap();
        for expected in 0..2 {
            one.send(b"x").unwrap();
            let Queued::Sent { id, kernel_time, device_time } = recv_queued(one.as_fd(), &mut []).unwrap() else {
                panic!("no stamp");
            };
            assert_eq!((id, device_time), (expected, None));
            assert!(kernel_time.unwrap() > 1_700_000_000_000_000_000);
        }
    }

    #[test]
    fn of_three_stamps_the_kernels_and_the_devices_are_read() {
        // A struct scm_timestamping of three struct timespec (linux/errqueue.h).
        let written = |stamps: [(libc::time_t, libc::time_t); 3]| -> Vec<u8> {
            let halves = stamps.into_iter().flat_map(|(seconds, nanos)| [seconds, nanos]);
            halves.flat_map(libc::time_t::to_ne_bytes).collect()
        };
        let read = |data: &[u8]| (stamp(data, SOFTWARE), stamp(data, DEVICE));
        let (kernel, device) = ((1_700_000_000, 5), (37, 999_999_999));
        // What comes has both; what left has one in each of two messages.
        assert_eq!(read(&written([kernel, (0, 0), device])), (Some(1_700_000_000_000_000_005), Some(37_999_999_999)));
        assert_eq!(read(&written([kernel, (0, 0), (0, 0)])), (Some(1_700_000_000_000_000_005), None));
        assert_eq!(read(&written([(0, 0), (0, 0), device])), (None, Some(37_999_999_999)));
        // The one that is no longer used is nobody's, and neither is what is cut or before its time.
        assert_eq!(read(&written([(0, 0), device, (0, 0)])), (None, None));
        assert_eq!(read(&written([(-1, 0), (0, 0), (0, -1)])), (None, None));
        let cut = written([kernel, (0, 0), device]);
        assert_eq!(read(&cut[..cut.len() - 1]), (Some(1_700_000_000_000_000_005), None));
        assert_eq!(read(&[]), (None, None));
    }

    #[test]
    fn an_answer_goes_from_the_address_that_was_asked() {
        let other = UdpSocket::bind("0.0.0.0:0").unwrap();
        on(&other, libc::IPPROTO_IP, libc::IP_PKTINFO);
        let one = UdpSocket::bind("127.0.0.1:0").unwrap();
        one.send_to(b"x", ("127.0.0.9", other.local_addr().unwrap().port())).unwrap();
        let mut batch = RecvBatch::new(1, 9, true);
        assert_eq!(batch.recv(other.as_fd(), 1, true).unwrap(), 1);
        let got = batch.get(0);
        let answer = Outgoing { to: Some(&got.from), from: got.arrival, ..whole(b"y") };
        assert_eq!(SendBatch::default().send(other.as_fd(), &[answer]).unwrap(), 1);
        let (_, from) = one.recv_from(&mut [0]).unwrap();
        assert_eq!(from.ip(), "127.0.0.9".parse::<IpAddr>().unwrap());
    }
}
