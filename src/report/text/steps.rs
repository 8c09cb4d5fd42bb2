//! The lines that tell a step, without their time: `#1 recv 1 byte "1"`.

use super::escape::append_preview;
use super::{probes, say, tls};
use crate::event::{
    Accept, Bind, Close, Connect, Corrupted, Duplicate, Event, Foreign, HeldBack, How, IcmpError, Late, Listen,
    OptionValue, Outcome, Proxy, ProxyProtocol, ProxyStep, Queue, Reason, Recv, Resolve, ResolvedBy, Round, Send,
    Setsockopt, Side, Socket, SynRetransmit, Tcp, TcpFigures,
};
use crate::report::people::{bytes_short, count, duration};

/// Appends the line of a step; nothing for an event that is none.
pub(crate) fn append(buffer: &mut Vec<u8>, event: &Event<'_>, is_verbose: bool, has_preview: bool) {
    match event {
        Event::Resolve(resolve) => append_resolve(buffer, resolve),
        Event::Socket(socket) => append_socket(buffer, socket),
        Event::Setsockopt(setsockopt) => append_setsockopt(buffer, setsockopt),
        Event::Bind(bind) => append_bind(buffer, bind),
        Event::Unlink(unlink) => say(buffer, format_args!("unlink {} ({})", unlink.local, unlink.reason.name())),
        Event::Listen(listen) => append_listen(buffer, listen),
        Event::Queue(queue) => append_queue(buffer, queue),
        Event::Accept(accept) => append_accept(buffer, accept, is_verbose),
        Event::Connect(connect) => append_connect(buffer, connect),
        Event::Proxy(proxy) => append_proxy(buffer, proxy, is_verbose),
        Event::ProxyProtocol(header) => append_proxy_protocol(buffer, header),
        Event::OwnCertificate(own) => tls::append_own(buffer, own, is_verbose),
        Event::Tls(handshake) => tls::append(buffer, handshake, is_verbose),
        Event::Send(send) => append_send(buffer, send, has_preview),
        Event::Recv(recv) => append_recv(buffer, recv, has_preview),
        Event::Eof(eof) => say(buffer, format_args!("#{} eof", eof.conn)),
        Event::Shutdown(shutdown) => {
            let how = match shutdown.how {
                How::Write => "SHUT_WR",
            };
            say(buffer, format_args!("#{} shutdown {how}", shutdown.conn));
        }
        Event::Timeout(timeout) => {
            append_conn(buffer, timeout.conn);
            say(buffer, format_args!("timeout {} after {}", timeout.step, duration(timeout.after)));
        }
        Event::SynRetransmit(again) => append_syn_retransmit(buffer, again),
        Event::IcmpError(error) => append_icmp_error(buffer, error),
        Event::Reply(reply) => probes::append_reply(buffer, "reply", reply),
        Event::Late(Late(reply)) => probes::append_reply(buffer, "late", reply),
        Event::Duplicate(Duplicate(reply)) => probes::append_reply(buffer, "duplicate", reply),
        Event::Corrupted(Corrupted(stray)) => probes::append_stray(buffer, "corrupted", stray),
        Event::Foreign(Foreign(stray)) => probes::append_stray(buffer, "foreign", stray),
        Event::Hop(hop) => probes::append_hop(buffer, hop),
        Event::PathMtu(found) => probes::append_path_mtu(buffer, found),
        Event::Lost(lost) => {
            say(buffer, format_args!("lost {} seq={} after {}", lost.target, lost.sequence, duration(lost.after)));
        }
        Event::NotSent(not) => {
            say(buffer, format_args!("not-sent {}", not.target));
            if let Some(sequence) = not.sequence {
                say(buffer, format_args!(" seq={sequence}"));
            }
            say(buffer, format_args!(": {}", not.errno));
        }
        Event::Session(session) => probes::append_session(buffer, session),
        Event::KernelDrops(drops) => probes::append_kernel_drops(buffer, drops),
        Event::Close(close) => append_close(buffer, close, is_verbose),
        Event::Round(round) => append_round(buffer, round, is_verbose),
        Event::Tcp(tcp) => append_progress(buffer, tcp),
        // The table has it, or the steps themselves.
        Event::Probe(_)
        | Event::Start(_)
        | Event::Check(_)
        | Event::Error(_)
        | Event::Warning(_)
        | Event::TargetSummary(_)
        | Event::Interim(_)
        | Event::Summary(_) => {}
    }
}

fn append_conn(buffer: &mut Vec<u8>, conn: Option<u64>) {
    if let Some(conn) = conn {
        say(buffer, format_args!("#{conn} "));
    }
}

fn append_resolve(buffer: &mut Vec<u8>, resolve: &Resolve<'_>) {
    say(buffer, format_args!("resolve {}:", resolve.name));
    for (at, address) in resolve.addresses.iter().enumerate() {
        say(buffer, format_args!("{} {address}", if at == 0 { "" } else { "," }));
    }
    say(buffer, format_args!(" ({})", duration(resolve.duration)));
}

fn append_syn_retransmit(buffer: &mut Vec<u8>, again: &SynRetransmit<'_>) {
    let (syns, after) = (count(u64::from(again.retransmits), "SYN"), duration(again.after));
    say(buffer, format_args!("connect {}: no answer yet, {syns} sent again after {after}", again.peer));
}

fn append_icmp_error(buffer: &mut Vec<u8>, error: &IcmpError<'_>) {
    let IcmpError { target, from, kind, code, name, mtu, sequence, after, mpls, interface, .. } = error;
    say(buffer, format_args!("icmp-error {name} ({kind}/{code}) from {from} about {target}"));
    if let Some(mtu) = mtu {
        say(buffer, format_args!(", mtu {mtu}"));
    }
    if let Some(sequence) = sequence {
        say(buffer, format_args!(", seq={sequence}"));
    }
    if let Some(after) = after {
        say(buffer, format_args!(" after {}", duration(*after)));
    }
    for label in *mpls {
        say(buffer, format_args!(", MPLS label {} (class {}, ttl {})", label.label, label.class, label.ttl));
    }
    if let Some(interface) = interface {
        say(buffer, format_args!(", interface {interface}"));
    }
}

fn append_socket(buffer: &mut Vec<u8>, socket: &Socket<'_>) {
    say(buffer, format_args!("socket {} {}", socket.family, socket.kind));
    if let Some(protocol) = socket.protocol {
        say(buffer, format_args!(" {protocol}"));
    }
}

fn append_setsockopt(buffer: &mut Vec<u8>, setsockopt: &Setsockopt<'_>) {
    let append_value = |buffer: &mut Vec<u8>, value: &OptionValue| match value {
        OptionValue::Number(number) => say(buffer, format_args!("{number}")),
        OptionValue::Name(name) => say(buffer, format_args!("{name}")),
    };
    say(buffer, format_args!("setsockopt {} ", setsockopt.option));
    append_value(buffer, setsockopt.requested);
    if let Some(effective) = setsockopt.effective.filter(|effective| *effective != setsockopt.requested) {
        say(buffer, format_args!(", in force "));
        append_value(buffer, effective);
    }
}

fn append_listen(buffer: &mut Vec<u8>, listen: &Listen) {
    say(buffer, format_args!("listen backlog {}", listen.backlog));
    if let Some(effective) = listen.effective_backlog.filter(|effective| *effective != listen.backlog) {
        say(buffer, format_args!(", in force {effective}"));
    }
}

fn append_queue(buffer: &mut Vec<u8>, queue: &Queue<'_>) {
    say(buffer, format_args!("queue {} depth {}, limit {}", queue.local, queue.depth, queue.limit));
    if let Some(drops @ 1..) = queue.drops {
        say(buffer, format_args!(", {drops} dropped"));
        // Of all listeners: without a drop they are those of others.
        if let Some(overflows @ 1..) = queue.overflows {
            say(buffer, format_args!(", {}", count(overflows, "overflow")));
        }
    }
}

fn append_accept(buffer: &mut Vec<u8>, accept: &Accept<'_>, is_verbose: bool) {
    say(buffer, format_args!("#{} accept {}", accept.conn, accept.peer));
    if is_verbose {
        say(buffer, format_args!(" on {}", accept.local));
    }
    let who = [
        accept.process.map(str::to_owned),
        accept.fast_open.filter(|came| *came).map(|_| "data with the SYN".to_owned()),
        accept.mptcp.map(|mptcp| format!("MPTCP {}", mptcp.name())),
        accept.pid.map(|pid| format!("pid {pid}")),
        accept.uid.map(|uid| format!("uid {uid}")),
        accept.gid.map(|gid| format!("gid {gid}")),
    ];
    let who: Vec<String> = who.into_iter().flatten().collect();
    if !who.is_empty() {
        say(buffer, format_args!(" ({})", who.join(", ")));
    }
}

fn append_connect(buffer: &mut Vec<u8>, connect: &Connect<'_>) {
    say(buffer, format_args!("#{} connect {}", connect.conn, connect.peer));
    if let Some(local) = connect.local {
        say(buffer, format_args!(" from {local}"));
    }
    say(buffer, format_args!(" ({}", duration(connect.duration)));
    if connect.attempt > 1 {
        say(buffer, format_args!(", attempt {}", connect.attempt));
    }
    if let Some(syns @ 1..) = connect.syn_retransmits {
        say(buffer, format_args!(", {}", count(u64::from(syns), "SYN retransmit")));
    }
    if let Some(fast_open) = connect.fast_open {
        say(buffer, format_args!(", fast open {}", fast_open.name()));
    }
    if let Some(mptcp) = connect.mptcp {
        say(buffer, format_args!(", MPTCP {}", mptcp.name()));
    }
    buffer.push(b')');
}

fn append_proxy(buffer: &mut Vec<u8>, proxy: &Proxy<'_>, is_verbose: bool) {
    let Proxy { conn, protocol, target, reply, .. } = proxy;
    say(buffer, format_args!("#{conn} proxy {} ({protocol}) to {target}", proxy.proxy));
    match proxy.resolved_by {
        Some(ResolvedBy::Proxy) => say(buffer, format_args!(", looked up there")),
        Some(ResolvedBy::Local) => say(buffer, format_args!(", looked up here")),
        None => {}
    }
    say(buffer, format_args!(": {reply}"));
    if let Some(bound) = proxy.bound {
        say(buffer, format_args!(", from {bound}"));
    }
    say(buffer, format_args!(" ({}", duration(proxy.duration)));
    if is_verbose {
        append_questions(buffer, proxy.steps);
    }
    if let Some(authentication) = proxy.authentication {
        say(buffer, format_args!(", {authentication} authentication"));
    }
    buffer.push(b')');
}

/// Appends how long each question of a dialogue took, behind how long it took as a whole.
pub(super) fn append_questions(buffer: &mut Vec<u8>, steps: &[ProxyStep]) {
    for (index, step) in steps.iter().enumerate() {
        let before = if index == 0 { ':' } else { ',' };
        say(buffer, format_args!("{before} {} {}", step.name, duration(step.duration)));
    }
}

fn append_proxy_protocol(buffer: &mut Vec<u8>, header: &ProxyProtocol<'_>) {
    say(buffer, format_args!("#{} proxy-protocol v{}", header.conn, header.version));
    match (header.proxied_peer, header.proxied_local) {
        (Some(peer), Some(local)) => say(buffer, format_args!(" {peer} to {local}")),
        _ => say(buffer, format_args!(" {}", header.command)),
    }
    for tlv in header.tlvs {
        match tlv.name {
            Some(name) => say(buffer, format_args!(", {name} ")),
            None => say(buffer, format_args!(", type {:#04x} ", tlv.kind)),
        }
        append_preview(buffer, tlv.data.0);
    }
}

fn append_bind(buffer: &mut Vec<u8>, bind: &Bind<'_>) {
    say(buffer, format_args!("bind {}", bind.local));
    if let Some(mode) = bind.mode {
        say(buffer, format_args!(", mode {mode}"));
    }
    if let Some(gid) = bind.gid {
        say(buffer, format_args!(", gid {gid}"));
    }
}

/// Appends a send, with the true number of bytes, and the beginning of its data.
fn append_send(buffer: &mut Vec<u8>, send: &Send<'_>, has_preview: bool) {
    append_conn(buffer, send.conn);
    say(buffer, format_args!("send {}", count(send.bytes, "byte")));
    if let (Some(peer), None) = (send.peer, send.conn) {
        say(buffer, format_args!(" to {peer}"));
    }
    if let (Some(sequence), Some((_, hops))) = (send.sequence, send.probe) {
        say(buffer, format_args!(" seq={sequence}"));
        if let Some(hops) = hops {
            say(buffer, format_args!(" ttl={hops}"));
        }
    }
    append_data(buffer, send.data.0, has_preview);
}

/// Appends a recv likewise, and what came with the data.
fn append_recv(buffer: &mut Vec<u8>, recv: &Recv<'_>, has_preview: bool) {
    append_conn(buffer, recv.conn);
    say(buffer, format_args!("recv {}", count(recv.bytes, "byte")));
    if let (Some(true), Some(whole)) = (recv.truncated, recv.datagram_bytes) {
        say(buffer, format_args!(" of {whole}, truncated"));
    }
    if let (Some(peer), None) = (recv.peer, recv.conn) {
        say(buffer, format_args!(" from {peer}"));
    }
    if let (Some(pid), Some(uid), Some(gid)) = (recv.pid, recv.uid, recv.gid) {
        say(buffer, format_args!(" (pid {pid}, uid {uid}, gid {gid})"));
    }
    if recv.denied {
        say(buffer, format_args!(" denied"));
    }
    for descriptor in recv.descriptors {
        let target = descriptor.target.as_deref().unwrap_or_default();
        say(buffer, format_args!(", descriptor {} {target}", descriptor.kind));
    }
    append_data(buffer, recv.data.0, has_preview);
}

/// Appends the beginning of data, where there is any and it is to be seen.
fn append_data(buffer: &mut Vec<u8>, data: &[u8], has_preview: bool) {
    if has_preview && !data.is_empty() {
        buffer.push(b' ');
        append_preview(buffer, data);
    }
}

fn append_close(buffer: &mut Vec<u8>, close: &Close, is_verbose: bool) {
    let (received, sent) = (bytes_short(close.bytes_received), bytes_short(close.bytes_sent));
    let reason = close.reason.name();
    say(buffer, format_args!("#{} close ({reason}) {received} in, {sent} out", close.conn));
    if let Some(unread @ 1..) = close.bytes_unread {
        say(buffer, format_args!(", {} unread", bytes_short(unread)));
    }
    // Who closes right after an answer has seldom heard that it came.
    let is_routine = matches!(close.reason, Reason::Eof | Reason::Limit | Reason::Local | Reason::Denied);
    if let (Some(left @ 1..), true) = (close.bytes_unacknowledged, is_verbose || !is_routine) {
        say(buffer, format_args!(", {} unacknowledged", bytes_short(left)));
    }
    say(buffer, format_args!(", {}", duration(close.duration)));
    let who = |side| if side == Side::Peer { "the peer" } else { "us" };
    if let (Some(first), true) = (close.closed_first, is_verbose) {
        say(buffer, format_args!(", closed first by {}", who(first)));
    }
    if let Some(side) = close.reset_by {
        say(buffer, format_args!(", reset by {}", who(side)));
    }
    if is_verbose && close.clean == Some(true) {
        say(buffer, format_args!(", clean"));
    }
    if let (true, Some(tcp)) = (is_verbose, &close.tcp) {
        append_tcp(buffer, tcp);
    }
}

fn append_round(buffer: &mut Vec<u8>, round: &Round<'_>, is_verbose: bool) {
    say(buffer, format_args!("round {}", round.round));
    if is_verbose {
        say(buffer, format_args!(" of {}", round.target));
    }
    say(buffer, format_args!(" {} ({}", round.outcome.name(), duration(round.duration)));
    if round.outcome == Outcome::Error {
        say(buffer, format_args!(", exit code {}", round.exit_code));
    }
    buffer.push(b')');
}

fn append_progress(buffer: &mut Vec<u8>, tcp: &Tcp) {
    let (received, sent) = (bytes_short(tcp.bytes_received), bytes_short(tcp.bytes_sent));
    say(buffer, format_args!("#{} tcp {received} in, {sent} out", tcp.conn));
    if let Some(left @ 1..) = tcp.bytes_unacknowledged {
        say(buffer, format_args!(", {} unacknowledged", bytes_short(left)));
    }
    append_tcp(buffer, &tcp.figures);
}

fn append_tcp(buffer: &mut Vec<u8>, tcp: &TcpFigures) {
    let retransmits = count(u64::from(tcp.retransmits), "retransmit");
    say(buffer, format_args!(", rtt {}, {retransmits}", duration(tcp.rtt)));
    if let Some(verdict) = verdict(tcp) {
        say(buffer, format_args!(", {verdict}"));
    }
}

/// Returns what held a transfer back most, and for how long of the time that it took.
pub(crate) fn verdict(tcp: &TcpFigures) -> Option<String> {
    let busy = tcp.busy?;
    let [rwnd, sndbuf] = [tcp.rwnd_limited, tcp.sndbuf_limited].map(Option::unwrap_or_default);
    let (what, part) = match tcp.held_back_by? {
        HeldBack::Network => ("the network", busy.saturating_sub(rwnd + sndbuf)),
        HeldBack::PeerWindow => ("the peer's window", rwnd),
        HeldBack::SendBuffer => ("our send buffer", sndbuf),
    };
    Some(format!("held back by {what} for {} of {}", duration(part), duration(busy)))
}
