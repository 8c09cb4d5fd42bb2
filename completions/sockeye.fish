# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_sockeye_global_optspecs
    string join \n h/help V/version
end

function __fish_sockeye_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_sockeye_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_sockeye_using_subcommand
    set -l cmd (__fish_sockeye_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c sockeye -n "__fish_sockeye_needs_command" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c sockeye -n "__fish_sockeye_needs_command" -s V -l version -d 'Print version'
complete -c sockeye -n "__fish_sockeye_needs_command" -f -a "serve" -d 'Serve a TCP port: echo, answer by rule, discard, send a pattern, relay, or misbehave'
complete -c sockeye -n "__fish_sockeye_needs_command" -f -a "connect" -d 'Connect to a TCP port or a unix socket: talk, relay stdin and stdout, or test the port'
complete -c sockeye -n "__fish_sockeye_needs_command" -f -a "udp-send" -d 'Send datagrams: once, at a rate, as fast as the kernel takes them, or to measure the way'
complete -c sockeye -n "__fish_sockeye_needs_command" -f -a "udp-listen" -d 'Receive datagrams of many peers: print, answer, count, or measure'
complete -c sockeye -n "__fish_sockeye_needs_command" -f -a "raw-ping" -d 'Ping hosts and whole networks, and the path between: who answers, when, and why not'
complete -c sockeye -n "__fish_sockeye_needs_command" -f -a "unix-serve" -d 'Serve a unix socket: all that serve does, on this machine, with the peer\'s credentials'
complete -c sockeye -n "__fish_sockeye_needs_command" -f -a "doctor" -d 'Show what this machine permits, with a real round trip through each kind of socket'
complete -c sockeye -n "__fish_sockeye_needs_command" -f -a "completions" -d 'Print the completion script of a shell'
complete -c sockeye -n "__fish_sockeye_needs_command" -f -a "man" -d 'Print a man page'
complete -c sockeye -n "__fish_sockeye_needs_command" -f -a "schema" -d 'Print the JSON Schema of the events'
complete -c sockeye -n "__fish_sockeye_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c sockeye -n "__fish_sockeye_using_subcommand serve" -l prefix -d 'Put this before each answer' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand serve" -l when -d 'Answer REPLY when one recv gave exactly TEXT, one trailing line end apart (repeatable)' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand serve" -l when-regex -d 'Answer REPLY when REGEX matches what one recv gave (repeatable; tried after every --when)' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand serve" -l otherwise -d 'Answer REPLY when nothing else matched' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand serve" -l source-bytes -d 'Send a pattern to every peer, SIZE bytes of it or without end: the lines of RFC 864. What the peer sends is read and dropped' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand serve" -l on-peer-close -d 'What a relay does when the peer has closed its side: end, or send the rest of stdin first [default: exit on a terminal, drain elsewhere]' -r -f -a "exit\t'End at once'
drain\t'Send the rest of stdin first'"
complete -c sockeye -n "__fish_sockeye_using_subcommand serve" -l fault -d 'Misbehave on purpose, to test clients: reset (each connection at once; unix-serve: when bytes have come), hang (accept, then neither read nor send), never-accept (with --backlog N), half-close (send nothing more from the start, and read on), slow=RATE (send and read no faster: 1000/s is bytes, or 100kbit/s), close-after=SIZE (in the middle of an answer too; with --discard of bytes received), delay=D (before each answer). Of TLS: expired, wrong-name, self-signed (show such a certificate), handshake-cut (close in the middle of our flight)' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand serve" -l tls-cert -d 'Speak TLS, and show this certificate (PEM, its chain after it)' -r -F
complete -c sockeye -n "__fish_sockeye_using_subcommand serve" -l tls-key -d 'The private key of --tls-cert (PEM) [default: it is in that file]' -r -F
complete -c sockeye -n "__fish_sockeye_using_subcommand serve" -l client-ca -d 'Let only clients in whose certificate one of these (PEM) has issued' -r -F
complete -c sockeye -n "__fish_sockeye_using_subcommand serve" -l alpn -d 'Offer, or take, these protocols (ALPN), the best first: h2,http/1.1' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand serve" -l tls-min -d 'Speak no older version of TLS' -r -f -a "1.2\t'TLS 1.2 (RFC 5246)'
1.3\t'TLS 1.3 (RFC 8446)'"
complete -c sockeye -n "__fish_sockeye_using_subcommand serve" -l tls-max -d 'Speak no newer version of TLS' -r -f -a "1.2\t'TLS 1.2 (RFC 5246)'
1.3\t'TLS 1.3 (RFC 8446)'"
complete -c sockeye -n "__fish_sockeye_using_subcommand serve" -l tls-timeout -d 'Wait at most this long for a TLS handshake [default: --timeout; of a server without one, 10s]' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand serve" -l backlog -d 'Let this many connections wait to be accepted; the kernel cuts it to net.core.somaxconn [default: 65535]' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand serve" -l recv-size -d 'Take at most this many bytes with one recv; what it does not take stays for the next [default: 64KiB]' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand serve" -s w -l timeout -d 'Close a connection whose peer is silent for this long; of datagrams: end when none comes for this long [default: none]' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand serve" -l messages -d 'Close a connection after this many answers; 0 closes it when it is accepted' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand serve" -l count -d 'End after this many connections, or datagrams' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand serve" -l max-connections -d 'Hold at most this many connections at once; further ones wait in the backlog' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand serve" -l allow -d 'Let only peers from this network in (repeatable; --deny wins)' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand serve" -l deny -d 'Keep peers from this network out (repeatable)' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand serve" -s s -l source -d 'Use this address of ours, and this port (serve: instead of ADDR)' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand serve" -l interface -d 'Keep to this interface (SO_BINDTODEVICE)' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand serve" -l recv-buffer -d 'Receive buffer in bytes (SO_RCVBUF; past the limit SO_RCVBUFFORCE where permitted)' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand serve" -l send-buffer -d 'Send buffer in bytes (SO_SNDBUF; past the limit SO_SNDBUFFORCE where permitted)' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand serve" -l ttl -d 'Time to live, or hop limit, of what is sent' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand serve" -l dscp -d 'Mark what is sent with this DSCP, a name (ef, af41, cs5) or a number' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand serve" -l mark -d 'Firewall mark (SO_MARK)' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand serve" -l keepalive -d 'Probe a silent connection after this long (SO_KEEPALIVE, TCP_KEEPIDLE, TCP_KEEPINTVL)' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand serve" -l mss -d 'Maximum segment size in bytes (TCP_MAXSEG)' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand serve" -l congestion -d 'Congestion algorithm (TCP_CONGESTION)' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand serve" -l user-timeout -d 'Give a connection up when sent data stays unacknowledged this long (TCP_USER_TIMEOUT)' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand serve" -l busy-poll -d 'Poll the device this long before waiting (SO_BUSY_POLL)' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand serve" -l report-every -d 'Report the totals so far each time this long has passed, and the TCP figures of every connection on which bytes moved' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand serve" -l format -d 'Report in this form' -r -f -a "text\t'For people'
json\t'For scripts: one JSON object a line'"
complete -c sockeye -n "__fish_sockeye_using_subcommand serve" -l events -d 'Write the JSON events to this file as well' -r -F
complete -c sockeye -n "__fish_sockeye_using_subcommand serve" -l color -d 'Colour the text' -r -f -a "auto\t'On terminals, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c sockeye -n "__fish_sockeye_using_subcommand serve" -l deadline -d 'End the whole run after this long (5s, 200ms, 1m 30s; a bare number is seconds)' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand serve" -l echo -d 'Send back what came (the default of serve and unix-serve)'
complete -c sockeye -n "__fish_sockeye_using_subcommand serve" -l discard -d 'Read and drop what comes'
complete -c sockeye -n "__fish_sockeye_using_subcommand serve" -l crlf -d 'End each text that is sent with CR LF'
complete -c sockeye -n "__fish_sockeye_using_subcommand serve" -l lf -d 'End each text that is sent with LF'
complete -c sockeye -n "__fish_sockeye_using_subcommand serve" -l escape -d 'Read \\r \\n \\t \\0 \\\\ and \\xNN in texts'
complete -c sockeye -n "__fish_sockeye_using_subcommand serve" -l hex -d 'Read texts as hexadecimal digits'
complete -c sockeye -n "__fish_sockeye_using_subcommand serve" -l broker -d 'Send what one peer sends to all others. One for which more than 1 MiB waits is closed'
complete -c sockeye -n "__fish_sockeye_using_subcommand serve" -l relay -d 'Relay this terminal or pipe with one peer, both ways: stdin to it, what it sends to stdout'
complete -c sockeye -n "__fish_sockeye_using_subcommand serve" -l tls-self-signed -d 'Speak TLS with a certificate made for this run; the `certificate` event has its SHA-256 and the certificate itself'
complete -c sockeye -n "__fish_sockeye_using_subcommand serve" -l proxy-protocol -d 'Take a header of the PROXY protocol, version 1 or 2, from each peer first, within --timeout [default: 5s]; who sends none, or a broken one, is closed. --allow and --deny are of the socket\'s peer'
complete -c sockeye -n "__fish_sockeye_using_subcommand serve" -l reuse-port -d 'Let other sockets share the port (SO_REUSEPORT)'
complete -c sockeye -n "__fish_sockeye_using_subcommand serve" -l no-delay -d 'Send small segments at once (TCP_NODELAY)'
complete -c sockeye -n "__fish_sockeye_using_subcommand serve" -l fast-open -d 'Send the first MESSAGE with the SYN, and take such (TCP_FASTOPEN_CONNECT, TCP_FASTOPEN; RFC 7413)'
complete -c sockeye -n "__fish_sockeye_using_subcommand serve" -l mptcp -d 'Speak MPTCP, with a peer that does too (IPPROTO_MPTCP; RFC 8684)'
complete -c sockeye -n "__fish_sockeye_using_subcommand serve" -l dont-fragment -d 'Forbid fragmentation (IP_MTU_DISCOVER)'
complete -c sockeye -n "__fish_sockeye_using_subcommand serve" -s j -l json -d 'Report as JSON, one object a line'
complete -c sockeye -n "__fish_sockeye_using_subcommand serve" -s v -l verbose -d 'Report more: each setsockopt, sends of a relay, TCP figures'
complete -c sockeye -n "__fish_sockeye_using_subcommand serve" -s q -l quiet -d 'Report results and errors only'
complete -c sockeye -n "__fish_sockeye_using_subcommand serve" -s 4 -l ipv4 -d 'Use IPv4 only'
complete -c sockeye -n "__fish_sockeye_using_subcommand serve" -s 6 -l ipv6 -d 'Use IPv6 only'
complete -c sockeye -n "__fish_sockeye_using_subcommand serve" -s n -l numeric -d 'Numeric only: look no name up'
complete -c sockeye -n "__fish_sockeye_using_subcommand serve" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c sockeye -n "__fish_sockeye_using_subcommand serve" -s V -l version -d 'Print version'
complete -c sockeye -n "__fish_sockeye_using_subcommand connect" -l parallel -d 'Probe at most this many targets at once' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand connect" -l expect -d 'An answer must match; with MESSAGEs, recv until it does' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand connect" -l send-delay -d 'Wait this long before each MESSAGE' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand connect" -l recv-size -d 'Take at most this many bytes with one recv; what it does not take stays for the next' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand connect" -l type -d 'The type of a unix socket [default: stream]' -r -f -a "stream\t'SOCK_STREAM: connections that carry bytes'
dgram\t'SOCK_DGRAM: datagrams, without a connection'
seqpacket\t'SOCK_SEQPACKET: connections that carry records'"
complete -c sockeye -n "__fish_sockeye_using_subcommand connect" -l on-peer-close -d 'When the peer closes its side of a relay: end, or send the rest of stdin first [default: exit on a terminal, drain elsewhere]' -r -f -a "exit\t'End at once'
drain\t'Send the rest of stdin first'"
complete -c sockeye -n "__fish_sockeye_using_subcommand connect" -l retry-for -d 'Where a connect fails, try again with back-off until the port opens, for at most this long' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand connect" -l count -d 'Do the whole of it this many times, with statistics and outage spans; 0 is for ever' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand connect" -l interval -d 'Begin a round this long after the one before began; 0 is without a pause' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand connect" -s w -l timeout -d 'Wait at most this long for each thing that is waited for; in a relay only --idle-timeout bounds the wait for data' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand connect" -l resolve-timeout -d 'Wait at most this long for a name to resolve [default: --timeout]' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand connect" -l connect-timeout -d 'Wait at most this long for a connection, over all addresses of the name [default: --timeout]' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand connect" -l idle-timeout -d 'End after this long without a byte either way [default: --timeout for answers, none for a relay]' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand connect" -l proxy -d 'Connect through this proxy: socks5://HOST:PORT (the target\'s name is looked up here), socks5h:// (there), socks4a:// (there), http:// (CONNECT; there). Without PORT it is 1080, save for http. Repeatable: a chain, the first is the nearest. A user may stand before the host: socks5://USER@HOST' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand connect" -l proxy-user-file -d 'Read the credentials for the proxies from this file, a line USER:PASSWORD each; without it SOCKEYE_PROXY_USER and SOCKEYE_PROXY_PASSWORD (username and password) say who we are' -r -F
complete -c sockeye -n "__fish_sockeye_using_subcommand connect" -l proxy-protocol -d 'Begin with a header of the PROXY protocol that tells the two ends of our connection, as a load balancer does' -r -f -a "v1\t'A line of text'
v2\t'Binary'"
complete -c sockeye -n "__fish_sockeye_using_subcommand connect" -l sni -d 'Ask for, and check the certificate against, this name [default: the host of the TARGET]' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand connect" -l ca -d 'Trust these certificates (PEM), and not the system\'s; a server\'s own may be among them' -r -F
complete -c sockeye -n "__fish_sockeye_using_subcommand connect" -l pin -d 'Refuse any other certificate: its SHA-256 in hexadecimal, or sha256//BASE64 of its key, as curl\'s --pinnedpubkey' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand connect" -l min-days -d 'Exit with 1 where the server\'s certificate expires in fewer days than this' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand connect" -l client-cert -d 'Show this certificate (PEM, its chain after it) to a server that asks for one' -r -F
complete -c sockeye -n "__fish_sockeye_using_subcommand connect" -l client-key -d 'The private key of --client-cert (PEM) [default: it is in that file]' -r -F
complete -c sockeye -n "__fish_sockeye_using_subcommand connect" -l starttls -d 'Ask for TLS in plain text first, as this protocol has it' -r -f -a "smtp\t''
imap\t''
pop3\t''
ftp\t''
postgres\t''
mysql\t''
ldap\t''
xmpp\t''"
complete -c sockeye -n "__fish_sockeye_using_subcommand connect" -l alpn -d 'Offer, or take, these protocols (ALPN), the best first: h2,http/1.1' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand connect" -l tls-min -d 'Speak no older version of TLS' -r -f -a "1.2\t'TLS 1.2 (RFC 5246)'
1.3\t'TLS 1.3 (RFC 8446)'"
complete -c sockeye -n "__fish_sockeye_using_subcommand connect" -l tls-max -d 'Speak no newer version of TLS' -r -f -a "1.2\t'TLS 1.2 (RFC 5246)'
1.3\t'TLS 1.3 (RFC 8446)'"
complete -c sockeye -n "__fish_sockeye_using_subcommand connect" -l tls-timeout -d 'Wait at most this long for a TLS handshake [default: --timeout; of a server without one, 10s]' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand connect" -s s -l source -d 'Use this address of ours, and this port (serve: instead of ADDR)' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand connect" -l interface -d 'Keep to this interface (SO_BINDTODEVICE)' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand connect" -l recv-buffer -d 'Receive buffer in bytes (SO_RCVBUF; past the limit SO_RCVBUFFORCE where permitted)' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand connect" -l send-buffer -d 'Send buffer in bytes (SO_SNDBUF; past the limit SO_SNDBUFFORCE where permitted)' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand connect" -l ttl -d 'Time to live, or hop limit, of what is sent' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand connect" -l dscp -d 'Mark what is sent with this DSCP, a name (ef, af41, cs5) or a number' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand connect" -l mark -d 'Firewall mark (SO_MARK)' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand connect" -l keepalive -d 'Probe a silent connection after this long (SO_KEEPALIVE, TCP_KEEPIDLE, TCP_KEEPINTVL)' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand connect" -l mss -d 'Maximum segment size in bytes (TCP_MAXSEG)' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand connect" -l congestion -d 'Congestion algorithm (TCP_CONGESTION)' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand connect" -l user-timeout -d 'Give a connection up when sent data stays unacknowledged this long (TCP_USER_TIMEOUT)' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand connect" -l busy-poll -d 'Poll the device this long before waiting (SO_BUSY_POLL)' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand connect" -l report-every -d 'Report the totals so far each time this long has passed, and the TCP figures of every connection on which bytes moved' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand connect" -l format -d 'Report in this form' -r -f -a "text\t'For people'
json\t'For scripts: one JSON object a line'"
complete -c sockeye -n "__fish_sockeye_using_subcommand connect" -l events -d 'Write the JSON events to this file as well' -r -F
complete -c sockeye -n "__fish_sockeye_using_subcommand connect" -l color -d 'Colour the text' -r -f -a "auto\t'On terminals, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c sockeye -n "__fish_sockeye_using_subcommand connect" -l deadline -d 'End the whole run after this long (5s, 200ms, 1m 30s; a bare number is seconds)' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand connect" -l crlf -d 'End each text that is sent with CR LF'
complete -c sockeye -n "__fish_sockeye_using_subcommand connect" -l lf -d 'End each text that is sent with LF'
complete -c sockeye -n "__fish_sockeye_using_subcommand connect" -l escape -d 'Read \\r \\n \\t \\0 \\\\ and \\xNN in texts'
complete -c sockeye -n "__fish_sockeye_using_subcommand connect" -l hex -d 'Read texts as hexadecimal digits'
complete -c sockeye -n "__fish_sockeye_using_subcommand connect" -s z -l probe -d 'Connect, report, close; no byte is sent. Every word is a TARGET, or: a host and its ports (22,80,8000-8010)'
complete -c sockeye -n "__fish_sockeye_using_subcommand connect" -l until-eof -d 'After the last answer, read on to the peer\'s end'
complete -c sockeye -n "__fish_sockeye_using_subcommand connect" -l hex-dump -d 'Show the bytes of each direction in hexadecimal, with offset and time'
complete -c sockeye -n "__fish_sockeye_using_subcommand connect" -l tls -d 'Speak TLS on the connection: the server\'s certificate is verified before anything is sent'
complete -c sockeye -n "__fish_sockeye_using_subcommand connect" -l insecure -d 'Go on where the certificate is not trusted; what is wrong with it is told all the same, but not with -q'
complete -c sockeye -n "__fish_sockeye_using_subcommand connect" -l reuse-port -d 'Let other sockets share the port (SO_REUSEPORT)'
complete -c sockeye -n "__fish_sockeye_using_subcommand connect" -l no-delay -d 'Send small segments at once (TCP_NODELAY)'
complete -c sockeye -n "__fish_sockeye_using_subcommand connect" -l fast-open -d 'Send the first MESSAGE with the SYN, and take such (TCP_FASTOPEN_CONNECT, TCP_FASTOPEN; RFC 7413)'
complete -c sockeye -n "__fish_sockeye_using_subcommand connect" -l mptcp -d 'Speak MPTCP, with a peer that does too (IPPROTO_MPTCP; RFC 8684)'
complete -c sockeye -n "__fish_sockeye_using_subcommand connect" -l dont-fragment -d 'Forbid fragmentation (IP_MTU_DISCOVER)'
complete -c sockeye -n "__fish_sockeye_using_subcommand connect" -s j -l json -d 'Report as JSON, one object a line'
complete -c sockeye -n "__fish_sockeye_using_subcommand connect" -s v -l verbose -d 'Report more: each setsockopt, sends of a relay, TCP figures'
complete -c sockeye -n "__fish_sockeye_using_subcommand connect" -s q -l quiet -d 'Report results and errors only'
complete -c sockeye -n "__fish_sockeye_using_subcommand connect" -s 4 -l ipv4 -d 'Use IPv4 only'
complete -c sockeye -n "__fish_sockeye_using_subcommand connect" -s 6 -l ipv6 -d 'Use IPv6 only'
complete -c sockeye -n "__fish_sockeye_using_subcommand connect" -s n -l numeric -d 'Numeric only: look no name up'
complete -c sockeye -n "__fish_sockeye_using_subcommand connect" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c sockeye -n "__fish_sockeye_using_subcommand connect" -s V -l version -d 'Print version'
complete -c sockeye -n "__fish_sockeye_using_subcommand udp-send" -l count -d 'Send this many datagrams, what could not be sent among them; 0 is for ever [default: each MESSAGE once, of --measure 4; with --rate or --flood for ever]' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand udp-send" -l interval -d 'Send a datagram this long after the one before [default: 1s]' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand udp-send" -l rate -d 'Send at this rate: 1000/s, or 100Mbit/s of UDP payload' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand udp-send" -l size -d 'Send datagrams of this many bytes: their number, from 0, then the pattern of RFC 864' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand udp-send" -l wait -d 'Wait this long for an answer to each datagram, and after the last one' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand udp-send" -s w -l timeout -d 'Wait at most this long for each thing that is waited for: an answer of --measure' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand udp-send" -l resolve-timeout -d 'Wait at most this long for a name to resolve' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand udp-send" -l multicast-interface -d 'Send to a multicast group by this interface (IP_MULTICAST_IF, IPV6_MULTICAST_IF)' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand udp-send" -s s -l source -d 'Use this address of ours, and this port (serve: instead of ADDR)' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand udp-send" -l interface -d 'Keep to this interface (SO_BINDTODEVICE)' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand udp-send" -l ttl -d 'Time to live, or hop limit, of what is sent' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand udp-send" -l dscp -d 'Mark what is sent with this DSCP, a name (ef, af41, cs5) or a number' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand udp-send" -l mark -d 'Firewall mark (SO_MARK)' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand udp-send" -l keepalive -d 'Probe a silent connection after this long (SO_KEEPALIVE, TCP_KEEPIDLE, TCP_KEEPINTVL)' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand udp-send" -l mss -d 'Maximum segment size in bytes (TCP_MAXSEG)' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand udp-send" -l congestion -d 'Congestion algorithm (TCP_CONGESTION)' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand udp-send" -l user-timeout -d 'Give a connection up when sent data stays unacknowledged this long (TCP_USER_TIMEOUT)' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand udp-send" -l busy-poll -d 'Poll the device this long before waiting (SO_BUSY_POLL)' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand udp-send" -l report-every -d 'Report the totals so far each time this long has passed, and the TCP figures of every connection on which bytes moved' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand udp-send" -l format -d 'Report in this form' -r -f -a "text\t'For people'
json\t'For scripts: one JSON object a line'"
complete -c sockeye -n "__fish_sockeye_using_subcommand udp-send" -l events -d 'Write the JSON events to this file as well' -r -F
complete -c sockeye -n "__fish_sockeye_using_subcommand udp-send" -l color -d 'Colour the text' -r -f -a "auto\t'On terminals, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c sockeye -n "__fish_sockeye_using_subcommand udp-send" -l deadline -d 'End the whole run after this long (5s, 200ms, 1m 30s; a bare number is seconds)' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand udp-send" -l send-buffer -d 'Send buffer in bytes (SO_SNDBUF; past the limit SO_SNDBUFFORCE where permitted) [default: the system\'s, with --rate or --flood 4MiB]' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand udp-send" -l recv-buffer -d 'Receive buffer in bytes (SO_RCVBUF; past the limit SO_RCVBUFFORCE where permitted) [default: with --measure 32MiB]' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand udp-send" -l crlf -d 'End each text that is sent with CR LF'
complete -c sockeye -n "__fish_sockeye_using_subcommand udp-send" -l lf -d 'End each text that is sent with LF'
complete -c sockeye -n "__fish_sockeye_using_subcommand udp-send" -l escape -d 'Read \\r \\n \\t \\0 \\\\ and \\xNN in texts'
complete -c sockeye -n "__fish_sockeye_using_subcommand udp-send" -l hex -d 'Read texts as hexadecimal digits'
complete -c sockeye -n "__fish_sockeye_using_subcommand udp-send" -l flood -d 'Send as fast as the kernel takes them'
complete -c sockeye -n "__fish_sockeye_using_subcommand udp-send" -l measure -d 'Send STAMP test packets (RFC 8762), and measure loss, order, round-trip time and delay variation each way; a udp-listen --measure or another STAMP reflector answers'
complete -c sockeye -n "__fish_sockeye_using_subcommand udp-send" -l one-way -d 'Measure one way: a udp-listen --measure --one-way counts, and answers nothing'
complete -c sockeye -n "__fish_sockeye_using_subcommand udp-send" -l broadcast -d 'Let it be a broadcast address (SO_BROADCAST)'
complete -c sockeye -n "__fish_sockeye_using_subcommand udp-send" -l no-gso -d 'Do not let the kernel cut datagrams of one buffer (UDP_SEGMENT), as it does above 20,000/s: what a full device drops of a buffer it does not tell'
complete -c sockeye -n "__fish_sockeye_using_subcommand udp-send" -l reuse-port -d 'Let other sockets share the port (SO_REUSEPORT)'
complete -c sockeye -n "__fish_sockeye_using_subcommand udp-send" -l no-delay -d 'Send small segments at once (TCP_NODELAY)'
complete -c sockeye -n "__fish_sockeye_using_subcommand udp-send" -l fast-open -d 'Send the first MESSAGE with the SYN, and take such (TCP_FASTOPEN_CONNECT, TCP_FASTOPEN; RFC 7413)'
complete -c sockeye -n "__fish_sockeye_using_subcommand udp-send" -l mptcp -d 'Speak MPTCP, with a peer that does too (IPPROTO_MPTCP; RFC 8684)'
complete -c sockeye -n "__fish_sockeye_using_subcommand udp-send" -l dont-fragment -d 'Forbid fragmentation (IP_MTU_DISCOVER)'
complete -c sockeye -n "__fish_sockeye_using_subcommand udp-send" -s j -l json -d 'Report as JSON, one object a line'
complete -c sockeye -n "__fish_sockeye_using_subcommand udp-send" -s v -l verbose -d 'Report more: each setsockopt, sends of a relay, TCP figures'
complete -c sockeye -n "__fish_sockeye_using_subcommand udp-send" -s q -l quiet -d 'Report results and errors only'
complete -c sockeye -n "__fish_sockeye_using_subcommand udp-send" -s 4 -l ipv4 -d 'Use IPv4 only'
complete -c sockeye -n "__fish_sockeye_using_subcommand udp-send" -s 6 -l ipv6 -d 'Use IPv6 only'
complete -c sockeye -n "__fish_sockeye_using_subcommand udp-send" -s n -l numeric -d 'Numeric only: look no name up'
complete -c sockeye -n "__fish_sockeye_using_subcommand udp-send" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c sockeye -n "__fish_sockeye_using_subcommand udp-send" -s V -l version -d 'Print version'
complete -c sockeye -n "__fish_sockeye_using_subcommand udp-listen" -l prefix -d 'Put this before each answer' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand udp-listen" -l when -d 'Answer REPLY when one recv gave exactly TEXT, one trailing line end apart (repeatable)' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand udp-listen" -l when-regex -d 'Answer REPLY when REGEX matches what one recv gave (repeatable; tried after every --when)' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand udp-listen" -l otherwise -d 'Answer REPLY when nothing else matched' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand udp-listen" -l join -d 'Join a multicast group, on an interface, of one source only (repeatable)' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand udp-listen" -l recv-size -d 'Take at most this many bytes of a datagram; the rest of it is cut off, and told' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand udp-listen" -s w -l timeout -d 'End when no datagram comes for this long [default: none]' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand udp-listen" -l count -d 'End after this many datagrams' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand udp-listen" -s s -l source -d 'Use this address of ours, and this port (serve: instead of ADDR)' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand udp-listen" -l interface -d 'Keep to this interface (SO_BINDTODEVICE)' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand udp-listen" -l send-buffer -d 'Send buffer in bytes (SO_SNDBUF; past the limit SO_SNDBUFFORCE where permitted)' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand udp-listen" -l ttl -d 'Time to live, or hop limit, of what is sent' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand udp-listen" -l dscp -d 'Mark what is sent with this DSCP, a name (ef, af41, cs5) or a number' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand udp-listen" -l mark -d 'Firewall mark (SO_MARK)' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand udp-listen" -l keepalive -d 'Probe a silent connection after this long (SO_KEEPALIVE, TCP_KEEPIDLE, TCP_KEEPINTVL)' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand udp-listen" -l mss -d 'Maximum segment size in bytes (TCP_MAXSEG)' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand udp-listen" -l congestion -d 'Congestion algorithm (TCP_CONGESTION)' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand udp-listen" -l user-timeout -d 'Give a connection up when sent data stays unacknowledged this long (TCP_USER_TIMEOUT)' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand udp-listen" -l busy-poll -d 'Poll the device this long before waiting (SO_BUSY_POLL)' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand udp-listen" -l report-every -d 'Report the totals so far each time this long has passed, and the TCP figures of every connection on which bytes moved' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand udp-listen" -l format -d 'Report in this form' -r -f -a "text\t'For people'
json\t'For scripts: one JSON object a line'"
complete -c sockeye -n "__fish_sockeye_using_subcommand udp-listen" -l events -d 'Write the JSON events to this file as well' -r -F
complete -c sockeye -n "__fish_sockeye_using_subcommand udp-listen" -l color -d 'Colour the text' -r -f -a "auto\t'On terminals, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c sockeye -n "__fish_sockeye_using_subcommand udp-listen" -l deadline -d 'End the whole run after this long (5s, 200ms, 1m 30s; a bare number is seconds)' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand udp-listen" -l recv-buffer -d 'Receive buffer in bytes (SO_RCVBUF; past the limit SO_RCVBUFFORCE where permitted) [default: 32MiB]' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand udp-listen" -l echo -d 'Send back what came (the default of serve and unix-serve)'
complete -c sockeye -n "__fish_sockeye_using_subcommand udp-listen" -l discard -d 'Read and drop what comes'
complete -c sockeye -n "__fish_sockeye_using_subcommand udp-listen" -l crlf -d 'End each text that is sent with CR LF'
complete -c sockeye -n "__fish_sockeye_using_subcommand udp-listen" -l lf -d 'End each text that is sent with LF'
complete -c sockeye -n "__fish_sockeye_using_subcommand udp-listen" -l escape -d 'Read \\r \\n \\t \\0 \\\\ and \\xNN in texts'
complete -c sockeye -n "__fish_sockeye_using_subcommand udp-listen" -l hex -d 'Read texts as hexadecimal digits'
complete -c sockeye -n "__fish_sockeye_using_subcommand udp-listen" -l measure -d 'Measure loss, order and delay variation of numbered datagrams, and answer each: a stateful STAMP reflector (RFC 8762), for udp-send --measure and others'
complete -c sockeye -n "__fish_sockeye_using_subcommand udp-listen" -l one-way -d 'Measure only what comes, and answer nothing'
complete -c sockeye -n "__fish_sockeye_using_subcommand udp-listen" -l no-gro -d 'Do not let the kernel merge datagrams (UDP_GRO); its drops are then counted in datagrams'
complete -c sockeye -n "__fish_sockeye_using_subcommand udp-listen" -l reuse-port -d 'Let other sockets share the port (SO_REUSEPORT)'
complete -c sockeye -n "__fish_sockeye_using_subcommand udp-listen" -l no-delay -d 'Send small segments at once (TCP_NODELAY)'
complete -c sockeye -n "__fish_sockeye_using_subcommand udp-listen" -l fast-open -d 'Send the first MESSAGE with the SYN, and take such (TCP_FASTOPEN_CONNECT, TCP_FASTOPEN; RFC 7413)'
complete -c sockeye -n "__fish_sockeye_using_subcommand udp-listen" -l mptcp -d 'Speak MPTCP, with a peer that does too (IPPROTO_MPTCP; RFC 8684)'
complete -c sockeye -n "__fish_sockeye_using_subcommand udp-listen" -l dont-fragment -d 'Forbid fragmentation (IP_MTU_DISCOVER)'
complete -c sockeye -n "__fish_sockeye_using_subcommand udp-listen" -s j -l json -d 'Report as JSON, one object a line'
complete -c sockeye -n "__fish_sockeye_using_subcommand udp-listen" -s v -l verbose -d 'Report more: each setsockopt, sends of a relay, TCP figures'
complete -c sockeye -n "__fish_sockeye_using_subcommand udp-listen" -s q -l quiet -d 'Report results and errors only'
complete -c sockeye -n "__fish_sockeye_using_subcommand udp-listen" -s 4 -l ipv4 -d 'Use IPv4 only'
complete -c sockeye -n "__fish_sockeye_using_subcommand udp-listen" -s 6 -l ipv6 -d 'Use IPv6 only'
complete -c sockeye -n "__fish_sockeye_using_subcommand udp-listen" -s n -l numeric -d 'Numeric only: look no name up'
complete -c sockeye -n "__fish_sockeye_using_subcommand udp-listen" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c sockeye -n "__fish_sockeye_using_subcommand udp-listen" -s V -l version -d 'Print version'
complete -c sockeye -n "__fish_sockeye_using_subcommand raw-ping" -s c -l count -d 'Send so many probes to each target, or to each hop of --trace; 0 is for ever [default: 4; with --until-reply for ever]' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand raw-ping" -s i -l interval -d 'Probe each target so often; the sends to many are spread evenly; 0 is as --flood [default: 1s]' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand raw-ping" -l rate -d 'Send at this rate over all targets, like 500/s' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand raw-ping" -l schedule -d 'When probes go' -r -f -a "periodic\t'One each time that the interval has passed'
poisson\t'At random, so many in the long run (RFC 2330, 11.1.1): nothing periodic is missed'"
complete -c sockeye -n "__fish_sockeye_using_subcommand raw-ping" -l retry -d 'With --sweep: try a silent target so often again' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand raw-ping" -l backoff -d 'With --retry: multiply the time-out by this with each try' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand raw-ping" -s s -l size -d 'Data of each echo request, or of a datagram, in bytes [default: 56]' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand raw-ping" -s p -l pattern -d 'Fill the data after the nonce with this, in hexadecimal, again and again [default: the pattern of RFC 864]' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand raw-ping" -l socket -d 'By which socket echo requests go' -r -f -a "auto\t'SOCK_RAW where it is permitted, else SOCK_DGRAM'
raw\t'SOCK_RAW: it needs CAP_NET_RAW'
dgram\t'SOCK_DGRAM: net.ipv4.ping_group_range permits it'"
complete -c sockeye -n "__fish_sockeye_using_subcommand raw-ping" -l with -d 'What is sent' -r -f -a "icmp\t'An echo request of ICMP'
tcp-syn\t'A SYN of TCP: a SYN-ACK and a RST are both answers'
udp\t'A datagram of UDP: a port unreachable is an answer too'"
complete -c sockeye -n "__fish_sockeye_using_subcommand raw-ping" -l port -d 'With tcp-syn and udp: to which port [default: 80 of TCP, 33434 of UDP]' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand raw-ping" -s W -l timeout -d 'Wait so long for an answer to each probe; what comes later is late' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand raw-ping" -l resolve-timeout -d 'Wait at most this long for a name to resolve' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand raw-ping" -l max-loss -d 'Exit with 1 where a target lost more than this percentage, late answers and refusals among it' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand raw-ping" -l max-rtt -d 'Exit with 1 where a round trip took longer than this' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand raw-ping" -l recv-buffer -d 'Receive buffer in bytes (SO_RCVBUF; past the limit SO_RCVBUFFORCE where permitted)' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand raw-ping" -l send-buffer -d 'Send buffer in bytes (SO_SNDBUF; past the limit SO_SNDBUFFORCE where permitted)' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand raw-ping" -l dscp -d 'Mark what is sent with this DSCP, a name (ef, af41, cs5) or a number' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand raw-ping" -l mark -d 'Firewall mark (SO_MARK)' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand raw-ping" -l keepalive -d 'Probe a silent connection after this long (SO_KEEPALIVE, TCP_KEEPIDLE, TCP_KEEPINTVL)' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand raw-ping" -l mss -d 'Maximum segment size in bytes (TCP_MAXSEG)' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand raw-ping" -l congestion -d 'Congestion algorithm (TCP_CONGESTION)' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand raw-ping" -l user-timeout -d 'Give a connection up when sent data stays unacknowledged this long (TCP_USER_TIMEOUT)' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand raw-ping" -l busy-poll -d 'Poll the device this long before waiting (SO_BUSY_POLL)' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand raw-ping" -l format -d 'Report in this form' -r -f -a "text\t'For people'
json\t'For scripts: one JSON object a line'"
complete -c sockeye -n "__fish_sockeye_using_subcommand raw-ping" -l events -d 'Write the JSON events to this file as well' -r -F
complete -c sockeye -n "__fish_sockeye_using_subcommand raw-ping" -l color -d 'Colour the text' -r -f -a "auto\t'On terminals, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c sockeye -n "__fish_sockeye_using_subcommand raw-ping" -l report-every -d 'Report the totals so far each time this long has passed' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand raw-ping" -l source -d 'Use this address of ours' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand raw-ping" -s t -l ttl -d 'Time to live, or hop limit, of what is sent; with --trace the most hops that are looked at [default: the system\'s; with --trace 30]' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand raw-ping" -s I -l interface -d 'Keep to this interface (SO_BINDTODEVICE)' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand raw-ping" -s w -l deadline -d 'End the whole run after this long (5s, 200ms, 1m 30s; a bare number is seconds)' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand raw-ping" -s f -l flood -d 'Send as fast as answers come, 64 probes in flight; a line an answer only with --verbose'
complete -c sockeye -n "__fish_sockeye_using_subcommand raw-ping" -s A -l adaptive -d 'Send the next probe to a target when the last was answered'
complete -c sockeye -n "__fish_sockeye_using_subcommand raw-ping" -l sweep -d 'One probe to each target, as fast as answers come, 1,000 in flight'
complete -c sockeye -n "__fish_sockeye_using_subcommand raw-ping" -l until-reply -d 'End with a target when it has answered once'
complete -c sockeye -n "__fish_sockeye_using_subcommand raw-ping" -l trace -d 'Show every hop on the way, all at once, with statistics of each (traceroute and mtr in one)'
complete -c sockeye -n "__fish_sockeye_using_subcommand raw-ping" -l path-mtu -d 'Find the largest packet that passes whole, and who says so'
complete -c sockeye -n "__fish_sockeye_using_subcommand raw-ping" -l all-addresses -d 'Take all addresses of a name, not the first alone'
complete -c sockeye -n "__fish_sockeye_using_subcommand raw-ping" -l include-broadcast -d 'Take the first and the last address of an IPv4 network too, where its prefix is shorter than /31'
complete -c sockeye -n "__fish_sockeye_using_subcommand raw-ping" -l plot -d 'At the end show round-trip times as a time line and a histogram'
complete -c sockeye -n "__fish_sockeye_using_subcommand raw-ping" -l live -d 'Show one screen, a row a target; q ends the run'
complete -c sockeye -n "__fish_sockeye_using_subcommand raw-ping" -l no-delay -d 'Send small segments at once (TCP_NODELAY)'
complete -c sockeye -n "__fish_sockeye_using_subcommand raw-ping" -l fast-open -d 'Send the first MESSAGE with the SYN, and take such (TCP_FASTOPEN_CONNECT, TCP_FASTOPEN; RFC 7413)'
complete -c sockeye -n "__fish_sockeye_using_subcommand raw-ping" -l mptcp -d 'Speak MPTCP, with a peer that does too (IPPROTO_MPTCP; RFC 8684)'
complete -c sockeye -n "__fish_sockeye_using_subcommand raw-ping" -l dont-fragment -d 'Forbid fragmentation (IP_MTU_DISCOVER)'
complete -c sockeye -n "__fish_sockeye_using_subcommand raw-ping" -s j -l json -d 'Report as JSON, one object a line'
complete -c sockeye -n "__fish_sockeye_using_subcommand raw-ping" -s q -l quiet -d 'Report results and errors only'
complete -c sockeye -n "__fish_sockeye_using_subcommand raw-ping" -s 4 -l ipv4 -d 'Use IPv4 only'
complete -c sockeye -n "__fish_sockeye_using_subcommand raw-ping" -s 6 -l ipv6 -d 'Use IPv6 only'
complete -c sockeye -n "__fish_sockeye_using_subcommand raw-ping" -s n -l numeric -d 'Numeric only: look no name up'
complete -c sockeye -n "__fish_sockeye_using_subcommand raw-ping" -l reuse-port -d 'Let other sockets share the port (SO_REUSEPORT)'
complete -c sockeye -n "__fish_sockeye_using_subcommand raw-ping" -s v -l verbose -d 'Report more: each setsockopt, each packet that goes'
complete -c sockeye -n "__fish_sockeye_using_subcommand raw-ping" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c sockeye -n "__fish_sockeye_using_subcommand raw-ping" -s V -l version -d 'Print version'
complete -c sockeye -n "__fish_sockeye_using_subcommand unix-serve" -l type -d 'The type of the socket' -r -f -a "stream\t'SOCK_STREAM: connections that carry bytes'
dgram\t'SOCK_DGRAM: datagrams, without a connection'
seqpacket\t'SOCK_SEQPACKET: connections that carry records'"
complete -c sockeye -n "__fish_sockeye_using_subcommand unix-serve" -l mode -d 'The rights of the socket\'s file, in octal; there is no moment of wider ones [default: 0600]' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand unix-serve" -l group -d 'Give the socket\'s file to this group, a name or a number' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand unix-serve" -l prefix -d 'Put this before each answer' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand unix-serve" -l when -d 'Answer REPLY when one recv gave exactly TEXT, one trailing line end apart (repeatable)' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand unix-serve" -l when-regex -d 'Answer REPLY when REGEX matches what one recv gave (repeatable; tried after every --when)' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand unix-serve" -l otherwise -d 'Answer REPLY when nothing else matched' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand unix-serve" -l source-bytes -d 'Send a pattern to every peer, SIZE bytes of it or without end: the lines of RFC 864. What the peer sends is read and dropped' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand unix-serve" -l on-peer-close -d 'What a relay does when the peer has closed its side: end, or send the rest of stdin first [default: exit on a terminal, drain elsewhere]' -r -f -a "exit\t'End at once'
drain\t'Send the rest of stdin first'"
complete -c sockeye -n "__fish_sockeye_using_subcommand unix-serve" -l fault -d 'Misbehave on purpose, to test clients: reset (each connection at once; unix-serve: when bytes have come), hang (accept, then neither read nor send), never-accept (with --backlog N), half-close (send nothing more from the start, and read on), slow=RATE (send and read no faster: 1000/s is bytes, or 100kbit/s), close-after=SIZE (in the middle of an answer too; with --discard of bytes received), delay=D (before each answer). Of TLS: expired, wrong-name, self-signed (show such a certificate), handshake-cut (close in the middle of our flight)' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand unix-serve" -l tls-cert -d 'Speak TLS, and show this certificate (PEM, its chain after it)' -r -F
complete -c sockeye -n "__fish_sockeye_using_subcommand unix-serve" -l tls-key -d 'The private key of --tls-cert (PEM) [default: it is in that file]' -r -F
complete -c sockeye -n "__fish_sockeye_using_subcommand unix-serve" -l client-ca -d 'Let only clients in whose certificate one of these (PEM) has issued' -r -F
complete -c sockeye -n "__fish_sockeye_using_subcommand unix-serve" -l alpn -d 'Offer, or take, these protocols (ALPN), the best first: h2,http/1.1' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand unix-serve" -l tls-min -d 'Speak no older version of TLS' -r -f -a "1.2\t'TLS 1.2 (RFC 5246)'
1.3\t'TLS 1.3 (RFC 8446)'"
complete -c sockeye -n "__fish_sockeye_using_subcommand unix-serve" -l tls-max -d 'Speak no newer version of TLS' -r -f -a "1.2\t'TLS 1.2 (RFC 5246)'
1.3\t'TLS 1.3 (RFC 8446)'"
complete -c sockeye -n "__fish_sockeye_using_subcommand unix-serve" -l tls-timeout -d 'Wait at most this long for a TLS handshake [default: --timeout; of a server without one, 10s]' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand unix-serve" -l backlog -d 'Let this many connections wait to be accepted; the kernel cuts it to net.core.somaxconn [default: 65535]' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand unix-serve" -l recv-size -d 'Take at most this many bytes with one recv; what it does not take stays for the next [default: 64KiB]' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand unix-serve" -s w -l timeout -d 'Close a connection whose peer is silent for this long; of datagrams: end when none comes for this long [default: none]' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand unix-serve" -l messages -d 'Close a connection after this many answers; 0 closes it when it is accepted' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand unix-serve" -l count -d 'End after this many connections, or datagrams' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand unix-serve" -l max-connections -d 'Hold at most this many connections at once; further ones wait in the backlog' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand unix-serve" -l allow-uid -d 'Let only peers of this user in, a name or a number (repeatable; with --allow-gid either is enough)' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand unix-serve" -l allow-gid -d 'Let only peers of this group in, a name or a number; supplementary groups count (repeatable)' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand unix-serve" -l report-every -d 'Report the totals so far each time this long has passed, and the TCP figures of every connection on which bytes moved' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand unix-serve" -s s -l source -d 'Use this address of ours, and this port (serve: instead of ADDR)' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand unix-serve" -l interface -d 'Keep to this interface (SO_BINDTODEVICE)' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand unix-serve" -l recv-buffer -d 'Receive buffer in bytes (SO_RCVBUF; past the limit SO_RCVBUFFORCE where permitted)' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand unix-serve" -l send-buffer -d 'Send buffer in bytes (SO_SNDBUF; past the limit SO_SNDBUFFORCE where permitted)' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand unix-serve" -l ttl -d 'Time to live, or hop limit, of what is sent' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand unix-serve" -l dscp -d 'Mark what is sent with this DSCP, a name (ef, af41, cs5) or a number' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand unix-serve" -l mark -d 'Firewall mark (SO_MARK)' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand unix-serve" -l keepalive -d 'Probe a silent connection after this long (SO_KEEPALIVE, TCP_KEEPIDLE, TCP_KEEPINTVL)' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand unix-serve" -l mss -d 'Maximum segment size in bytes (TCP_MAXSEG)' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand unix-serve" -l congestion -d 'Congestion algorithm (TCP_CONGESTION)' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand unix-serve" -l user-timeout -d 'Give a connection up when sent data stays unacknowledged this long (TCP_USER_TIMEOUT)' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand unix-serve" -l busy-poll -d 'Poll the device this long before waiting (SO_BUSY_POLL)' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand unix-serve" -l format -d 'Report in this form' -r -f -a "text\t'For people'
json\t'For scripts: one JSON object a line'"
complete -c sockeye -n "__fish_sockeye_using_subcommand unix-serve" -l events -d 'Write the JSON events to this file as well' -r -F
complete -c sockeye -n "__fish_sockeye_using_subcommand unix-serve" -l color -d 'Colour the text' -r -f -a "auto\t'On terminals, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c sockeye -n "__fish_sockeye_using_subcommand unix-serve" -l deadline -d 'End the whole run after this long (5s, 200ms, 1m 30s; a bare number is seconds)' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand unix-serve" -l echo -d 'Send back what came (the default of serve and unix-serve)'
complete -c sockeye -n "__fish_sockeye_using_subcommand unix-serve" -l discard -d 'Read and drop what comes'
complete -c sockeye -n "__fish_sockeye_using_subcommand unix-serve" -l crlf -d 'End each text that is sent with CR LF'
complete -c sockeye -n "__fish_sockeye_using_subcommand unix-serve" -l lf -d 'End each text that is sent with LF'
complete -c sockeye -n "__fish_sockeye_using_subcommand unix-serve" -l escape -d 'Read \\r \\n \\t \\0 \\\\ and \\xNN in texts'
complete -c sockeye -n "__fish_sockeye_using_subcommand unix-serve" -l hex -d 'Read texts as hexadecimal digits'
complete -c sockeye -n "__fish_sockeye_using_subcommand unix-serve" -l broker -d 'Send what one peer sends to all others. One for which more than 1 MiB waits is closed'
complete -c sockeye -n "__fish_sockeye_using_subcommand unix-serve" -l relay -d 'Relay this terminal or pipe with one peer, both ways: stdin to it, what it sends to stdout'
complete -c sockeye -n "__fish_sockeye_using_subcommand unix-serve" -l tls-self-signed -d 'Speak TLS with a certificate made for this run; the `certificate` event has its SHA-256 and the certificate itself'
complete -c sockeye -n "__fish_sockeye_using_subcommand unix-serve" -l proxy-protocol -d 'Take a header of the PROXY protocol, version 1 or 2, from each peer first, within --timeout [default: 5s]; who sends none, or a broken one, is closed. Only with --type stream; --allow-uid and --allow-gid are of the socket\'s peer'
complete -c sockeye -n "__fish_sockeye_using_subcommand unix-serve" -l reuse-port -d 'Let other sockets share the port (SO_REUSEPORT)'
complete -c sockeye -n "__fish_sockeye_using_subcommand unix-serve" -l no-delay -d 'Send small segments at once (TCP_NODELAY)'
complete -c sockeye -n "__fish_sockeye_using_subcommand unix-serve" -l fast-open -d 'Send the first MESSAGE with the SYN, and take such (TCP_FASTOPEN_CONNECT, TCP_FASTOPEN; RFC 7413)'
complete -c sockeye -n "__fish_sockeye_using_subcommand unix-serve" -l mptcp -d 'Speak MPTCP, with a peer that does too (IPPROTO_MPTCP; RFC 8684)'
complete -c sockeye -n "__fish_sockeye_using_subcommand unix-serve" -l dont-fragment -d 'Forbid fragmentation (IP_MTU_DISCOVER)'
complete -c sockeye -n "__fish_sockeye_using_subcommand unix-serve" -s j -l json -d 'Report as JSON, one object a line'
complete -c sockeye -n "__fish_sockeye_using_subcommand unix-serve" -s v -l verbose -d 'Report more: each setsockopt, sends of a relay, TCP figures'
complete -c sockeye -n "__fish_sockeye_using_subcommand unix-serve" -s q -l quiet -d 'Report results and errors only'
complete -c sockeye -n "__fish_sockeye_using_subcommand unix-serve" -s 4 -l ipv4 -d 'Use IPv4 only'
complete -c sockeye -n "__fish_sockeye_using_subcommand unix-serve" -s 6 -l ipv6 -d 'Use IPv6 only'
complete -c sockeye -n "__fish_sockeye_using_subcommand unix-serve" -s n -l numeric -d 'Numeric only: look no name up'
complete -c sockeye -n "__fish_sockeye_using_subcommand unix-serve" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c sockeye -n "__fish_sockeye_using_subcommand unix-serve" -s V -l version -d 'Print version'
complete -c sockeye -n "__fish_sockeye_using_subcommand doctor" -s w -l timeout -d 'Wait at most this long for each step of a round trip' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand doctor" -l format -d 'Report in this form' -r -f -a "text\t'For people'
json\t'For scripts: one JSON object a line'"
complete -c sockeye -n "__fish_sockeye_using_subcommand doctor" -l events -d 'Write the JSON events to this file as well' -r -F
complete -c sockeye -n "__fish_sockeye_using_subcommand doctor" -l color -d 'Colour the text' -r -f -a "auto\t'On terminals, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c sockeye -n "__fish_sockeye_using_subcommand doctor" -l deadline -d 'End the whole run after this long (5s, 200ms, 1m 30s; a bare number is seconds)' -r
complete -c sockeye -n "__fish_sockeye_using_subcommand doctor" -s j -l json -d 'Report as JSON, one object a line'
complete -c sockeye -n "__fish_sockeye_using_subcommand doctor" -s v -l verbose -d 'Report more: each setsockopt, sends of a relay, TCP figures'
complete -c sockeye -n "__fish_sockeye_using_subcommand doctor" -s q -l quiet -d 'Report results and errors only'
complete -c sockeye -n "__fish_sockeye_using_subcommand doctor" -s 4 -l ipv4 -d 'Use IPv4 only'
complete -c sockeye -n "__fish_sockeye_using_subcommand doctor" -s 6 -l ipv6 -d 'Use IPv6 only'
complete -c sockeye -n "__fish_sockeye_using_subcommand doctor" -s n -l numeric -d 'Numeric only: look no name up'
complete -c sockeye -n "__fish_sockeye_using_subcommand doctor" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c sockeye -n "__fish_sockeye_using_subcommand doctor" -s V -l version -d 'Print version'
complete -c sockeye -n "__fish_sockeye_using_subcommand completions" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c sockeye -n "__fish_sockeye_using_subcommand completions" -s V -l version -d 'Print version'
complete -c sockeye -n "__fish_sockeye_using_subcommand man" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c sockeye -n "__fish_sockeye_using_subcommand man" -s V -l version -d 'Print version'
complete -c sockeye -n "__fish_sockeye_using_subcommand schema" -s h -l help -d 'Print help'
complete -c sockeye -n "__fish_sockeye_using_subcommand schema" -s V -l version -d 'Print version'
complete -c sockeye -n "__fish_sockeye_using_subcommand help; and not __fish_seen_subcommand_from serve connect udp-send udp-listen raw-ping unix-serve doctor completions man schema help" -f -a "serve" -d 'Serve a TCP port: echo, answer by rule, discard, send a pattern, relay, or misbehave'
complete -c sockeye -n "__fish_sockeye_using_subcommand help; and not __fish_seen_subcommand_from serve connect udp-send udp-listen raw-ping unix-serve doctor completions man schema help" -f -a "connect" -d 'Connect to a TCP port or a unix socket: talk, relay stdin and stdout, or test the port'
complete -c sockeye -n "__fish_sockeye_using_subcommand help; and not __fish_seen_subcommand_from serve connect udp-send udp-listen raw-ping unix-serve doctor completions man schema help" -f -a "udp-send" -d 'Send datagrams: once, at a rate, as fast as the kernel takes them, or to measure the way'
complete -c sockeye -n "__fish_sockeye_using_subcommand help; and not __fish_seen_subcommand_from serve connect udp-send udp-listen raw-ping unix-serve doctor completions man schema help" -f -a "udp-listen" -d 'Receive datagrams of many peers: print, answer, count, or measure'
complete -c sockeye -n "__fish_sockeye_using_subcommand help; and not __fish_seen_subcommand_from serve connect udp-send udp-listen raw-ping unix-serve doctor completions man schema help" -f -a "raw-ping" -d 'Ping hosts and whole networks, and the path between: who answers, when, and why not'
complete -c sockeye -n "__fish_sockeye_using_subcommand help; and not __fish_seen_subcommand_from serve connect udp-send udp-listen raw-ping unix-serve doctor completions man schema help" -f -a "unix-serve" -d 'Serve a unix socket: all that serve does, on this machine, with the peer\'s credentials'
complete -c sockeye -n "__fish_sockeye_using_subcommand help; and not __fish_seen_subcommand_from serve connect udp-send udp-listen raw-ping unix-serve doctor completions man schema help" -f -a "doctor" -d 'Show what this machine permits, with a real round trip through each kind of socket'
complete -c sockeye -n "__fish_sockeye_using_subcommand help; and not __fish_seen_subcommand_from serve connect udp-send udp-listen raw-ping unix-serve doctor completions man schema help" -f -a "completions" -d 'Print the completion script of a shell'
complete -c sockeye -n "__fish_sockeye_using_subcommand help; and not __fish_seen_subcommand_from serve connect udp-send udp-listen raw-ping unix-serve doctor completions man schema help" -f -a "man" -d 'Print a man page'
complete -c sockeye -n "__fish_sockeye_using_subcommand help; and not __fish_seen_subcommand_from serve connect udp-send udp-listen raw-ping unix-serve doctor completions man schema help" -f -a "schema" -d 'Print the JSON Schema of the events'
complete -c sockeye -n "__fish_sockeye_using_subcommand help; and not __fish_seen_subcommand_from serve connect udp-send udp-listen raw-ping unix-serve doctor completions man schema help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
