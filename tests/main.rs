//! Black-box tests of sockeye, written from the contract: one binary, a module a subject.
//!
//! They drive the built program against sockets that others wrote (Python, nc, ncat, socat), look
//! at it with strace and /proc, and check every JSON line of every run. All traffic stays on
//! loopback; what needs a machine of its own gets a namespace. A program that is missing fails the
//! test that needs it: `.ci/run` installs them all.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on ends by a panic")]

// Runs of sockeye, foreign peers, the strict reader of the events.
mod harness;

// The main job: the four commands that sockeye grew from, word for word.
mod tutorial;

// 8 MiB both ways, unchanged, against everyone.
mod relay;

// A server whose peers one task answers.
mod crowd;

// What follows urgent data.
mod urgent;

// A server that relays: one peer, both ways.
mod relay_server;

// A server that sends a pattern.
mod source;

// A server that misbehaves on purpose.
mod faults;

// A server whose peers talk to one another.
mod broker;

// Who closes first, and how; who breaks off.
mod broken_off;
mod half_close;

// TLS: a client of others, a server for others.
mod tls;
mod tls_broken;
mod tls_late;
mod tls_serve;
mod tls_starttls;
mod tls_told;
mod without_tls;

// Why a connection ended as it did, and what held it back.
mod why;

// Whether each end got everything.
mod clean;

// How a run goes while it goes.
mod report_every;

// A server that falls behind.
mod accept_queue;

// Data with the SYN, and TCP over several paths.
mod fast_open;
mod mptcp;

// Every row of the table of exit codes that serve and connect can reach.
mod exit_codes;
mod firewall;

// Wrong command lines, and right ones.
mod usage;

// The socket options that the subcommands share.
mod options;

// Signals, the deadline, a closed pipe.
mod signals;

// A run that is told to stop.
mod stopped;

// Whom warnings and errors are about.
mod about;

// Until the port opens, and again and again.
mod again;

// Datagrams that are sent.
mod udp_send;

// Datagrams that are received.
mod udp_listen;

// Groups and broadcasts.
mod multicast;

// What comes back instead of an answer.
mod udp_errors;

// Through proxies that others wrote, and through bad ones; the PROXY protocol.
mod proxy;
mod proxy_misbehaviour;
mod proxy_protocol;

// Names with several addresses.
mod happy_eyeballs;

// Many clients, bad clients, too many clients.
mod server;

// What this machine permits.
mod doctor;
mod doctor_udp;

// Unix sockets with connections, of every type.
mod unix;
mod unix_deaf;

// The files of unix sockets.
mod unix_file;

// Unix datagrams.
mod unix_datagram;

// What may stand at a path, and what becomes of it.
mod unix_targets;

// The events, their schema, and the reader itself.
mod json;

// The events against the system calls.
mod strace;

// Loss, order, delay and delay variation, by STAMP.
mod measure;

// What is lost on the way, and what this host's kernel drops.
mod udp_loss;

// Datagrams at their times.
mod udp_rates;

// The simulated network, and raw-ping in it.
mod raw_ping;
mod raw_ping_device;
mod raw_ping_errors;
mod raw_ping_local;
mod raw_ping_network;
mod raw_ping_observers;
mod raw_ping_path;
mod raw_ping_regressions;
mod raw_ping_targets;
mod raw_ping_times;
mod raw_ping_views;

// What a review of the UDP commands found.
mod udp_regressions;

// Defects that were found and fixed.
mod regressions;

// Whole runs as people see them, and how far they have come.
mod progress;
mod text;

// Examples that work.
mod help;

// Completions and man pages are fresh.
mod generated;

// The house itself: headers, sizes, imports, unsafe.
mod tidy;
