"""Probes: the network, and services of the machine that listen on loopback or sockets."""

from __future__ import annotations

from tests.isolation.kernel import PRIVILEGED, python
from tests.isolation.probe import Leak, Probe


def loopback(name: str, host: str, nowhere: str = "") -> Probe:
    return Probe(f"loopback-{name}", f"Reaches a service on the machine's loopback as {host}.",
                 f"reach '{host}' $PORT", Leak("tcp"), nowhere)  # fmt: skip


NETWORK = [
    loopback("address", "127.0.0.1"),
    loopback("allowed-name", "localhost"),
    loopback("zero", "0.0.0.0"),
    loopback("hex", "0x7f000001"),
    loopback("number", "2130706433"),
    loopback("mapped", "::ffff:127.0.0.1"),
    loopback("bracket", "[::ffff:7f00:1]", nowhere="Only a proxy understands brackets."),
    loopback("dot", "localhost.", nowhere="Depends on the machine's resolver."),
    Probe("loopback-udp", "Sends a datagram to the machine's loopback.",
          python("""
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(1)
s.sendto(b'x', ('127.0.0.1', int(sys.argv[1])))
print(s.recv(200))
""", "$UDP"), Leak("udp")),
    Probe("proxy-get", "Asks the egress proxy for a plain page on loopback.",
          "curl -s -m 3 --http0.9 http://127.0.0.1:$PORT/; "
          "curl -s -m 3 --noproxy '' --http0.9 -x http://127.0.0.1:9201 http://127.0.0.1:$PORT/",
          Leak("tcp")),
    Probe("proxy-smuggle", "Hides a second host behind an allowed one in the proxy's request.",
          "exec 3<>/dev/tcp/127.0.0.1/9201 && { printf 'CONNECT localhost:%s HTTP/1.1\\r\\nHost: "
          "127.0.0.1:%s\\r\\n\\r\\nCONNECT 127.0.0.1:%s HTTP/1.1\\r\\n\\r\\n' $PORT $PORT $PORT "
          ">&3; timeout 2 cat <&3; }; timeout 2 cat < /dev/tcp/127.0.0.1/$PORT", Leak("tcp")),
    Probe("proxy-metadata", "Asks the proxy for a cloud's metadata service.",
          "exec 3<>/dev/tcp/127.0.0.1/9201 && { printf 'CONNECT 169.254.169.254:80 HTTP/1.1\\r\\n"
          "\\r\\n' >&3; timeout 2 head -c 12 <&3 | grep -q ' 200' && echo ESCAPED; }",
          nowhere="Without the sandbox there is no proxy to ask."),
    Probe("tcp", "Connects to an address of the machine beyond loopback.",
          python("""
s = socket.socket()
s.settimeout(2)
try: s.connect((sys.argv[1], 9)); print('ESCAPED')
except ConnectionRefusedError: print('ESCAPED: it was there to refuse')
""", "$HOST_IP"), needs="network"),
    Probe("udp", "Sends a datagram beyond loopback.",
          python("""
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.sendto(b'x', (sys.argv[1], 9))
print('ESCAPED')
""", "$HOST_IP"), needs="network"),
    Probe("dns", "Asks a name server.",
          python("""
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
asked = b'\\x12\\x34\\1\\0\\0\\1\\0\\0\\0\\0\\0\\0\\7example\\3org\\0\\0\\1\\0\\1'
s.sendto(asked, (sys.argv[1], 53))
print('ESCAPED')
""", "$HOST_IP"), needs="network"),
    Probe("multicast", "Calls to its whole network.",
          python("""
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 0)
s.sendto(b'x', ('224.0.0.251', 5353))
print('ESCAPED')
"""), needs="network"),
    Probe("icmp", "Pings.",
          python("""
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP)
s.connect((sys.argv[1], 1))
print('ESCAPED')
""", "$HOST_IP"), nowhere="Depends on net.ipv4.ping_group_range."),
    Probe("raw", "Opens a raw socket.",
          python("socket.socket(socket.AF_INET, socket.SOCK_RAW, 1); print('ESCAPED')"),
          nowhere=PRIVILEGED),
    Probe("packet", "Listens to the network.",
          python("socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0); print('ESCAPED')"),
          nowhere=PRIVILEGED),
    Probe("interfaces", "Sees the machine's network.",
          "grep -v -E 'lo:|Inter|face' /proc/net/dev | grep -q : && echo ESCAPED",
          needs="network"),
    Probe("proc-net", "Sees who listens on the machine.",
          "grep -i $(printf ':%04X' $PORT) /proc/net/tcp && echo ESCAPED"),
    Probe("abstract", "Connects to an abstract socket of the machine.",
          python("""
s = socket.socket(socket.AF_UNIX)
s.connect('\\0' + sys.argv[1])
print(s.recv(200))
""", "$ABSTRACT"), Leak("abstract")),
    Probe("abstract-list", "Lists the sockets of the machine.",
          "cat /proc/net/unix", Leak("abstract name")),
    Probe("socket", "Connects to a socket of another program.",
          python("s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); print(s.recv(200))",
                 "$OUT/by.sock"), Leak("socket")),
    Probe("agent-socket", "Connects to the service's own socket.",
          "curl -s -m 3 --unix-socket $DEPLOYMENT/run/agent.sock http://agent/healthz && "
          "echo ESCAPED"),
    Probe("other-model-socket", "Connects to another session's way to the model.",
          python("""
import glob
for path in glob.glob(sys.argv[1] + '/run/s/*/*.sock') + [sys.argv[2]]:
    try: socket.socket(socket.AF_UNIX).connect(path)
    except OSError as error: print(error)
    else: print('ESCAPED')
""", "$DEPLOYMENT", "$OTHER_SOCKET")),
    Probe("between-sessions", "Finds the sockets by which sessions of the CLI talk.",
          "find /tmp $HOME -maxdepth 2 -name 'cc-*'; "
          "cat $OUT/cc-socks/secret", Leak("temporary")),
]  # fmt: skip
