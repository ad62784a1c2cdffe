"""Attacks that look for a way to the outside."""

from __future__ import annotations

import os
import secrets
import socket
import threading
from contextlib import ExitStack

import pytest

from tests.sandboxes.attacks.hostile import CALL, TAG

WORD = b"from-inside"
_REFUSED = ("[Errno 1]", "[Errno 13]")  # EPERM, EACCES: by the sandbox, not for want of a network


def listening(family: int, kind: int, address: object, stack: ExitStack) -> socket.socket:
    """A socket of the host at which nothing waits."""
    try:
        server = stack.enter_context(socket.socket(family, kind))
        server.bind(address)
    except OSError as error:
        pytest.skip(f"this machine has no sockets of this family: {error}")
    if kind != socket.SOCK_DGRAM:
        server.listen()
    server.setblocking(False)
    return server


def arrived(server: socket.socket) -> bool:
    """Whether anything has come to `server`."""
    try:
        if server.type == socket.SOCK_DGRAM:
            server.recv(99)
        else:
            server.accept()[0].close()
    except BlockingIOError:
        return False
    return True


WAYS = {
    "tcp": ("AF_INET", "SOCK_STREAM", ("127.0.0.1", 0), "s.connect(to)"),
    "tcp_6": ("AF_INET6", "SOCK_STREAM", ("::1", 0), "s.connect(to)"),
    "tcp_without_connect": ("AF_INET", "SOCK_STREAM", ("127.0.0.1", 0), "s.sendto(word, 0x20000000, to)"),
    "udp": ("AF_INET", "SOCK_DGRAM", ("127.0.0.1", 0), "s.sendto(word, to)"),
    "udp_6": ("AF_INET6", "SOCK_DGRAM", ("::1", 0), "s.sendto(word, to)"),
    "udp_message": ("AF_INET", "SOCK_DGRAM", ("127.0.0.1", 0), "s.sendmsg([word], (), 0, to)"),
    "unix": ("AF_UNIX", "SOCK_STREAM", "{folder}/s", "s.connect(to)"),
    "unix_datagram": ("AF_UNIX", "SOCK_DGRAM", "{folder}/s", "s.sendto(word, to)"),
    "unix_packet": ("AF_UNIX", "SOCK_SEQPACKET", "{folder}/s", "s.connect(to)"),
    "unix_abstract": ("AF_UNIX", "SOCK_STREAM", "\0{name}", "s.connect(to)"),
    "unix_abstract_datagram": ("AF_UNIX", "SOCK_DGRAM", "\0{name}", "s.sendto(word, to)"),
}


@pytest.mark.parametrize("way", WAYS)
def test_no_socket_reaches_the_host(box, control, tmp_path_factory, way):
    family, kind, address, send = WAYS[way]
    if isinstance(address, str):
        address = address.format(folder=tmp_path_factory.mktemp("s"), name=f"{TAG}-{secrets.token_hex(4)}")
    code = f"import socket\ns = socket.socket(socket.{family}, socket.{kind})\ns.settimeout(30)\n{send}\nprint('sent')"
    with ExitStack() as stack:
        server = listening(getattr(socket, family), getattr(socket, kind), address, stack)
        known = {"to": server.getsockname(), "word": WORD}
        control(code, known)
        assert arrived(server)
        execution = box.run(code, known)
        assert not arrived(server)
    assert "sent" not in execution.stdout
    assert "Error" in execution.stderr
    if family != "AF_UNIX":
        assert any(number in execution.stderr for number in _REFUSED)


def test_a_pair_of_sockets_does_not_reach_the_host(box, control, tmp_path_factory):
    """A datagram socket sends to any address, also one that was made as a pair."""
    code = (
        "import socket\ns, _ = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)\ns.sendto(word, to)\nprint('sent')"
    )
    with ExitStack() as stack:
        server = listening(socket.AF_UNIX, socket.SOCK_DGRAM, f"{tmp_path_factory.mktemp('s')}/s", stack)
        known = {"to": server.getsockname(), "word": WORD}
        control(code, known)
        assert arrived(server)
        box.run(code, known)
        assert not arrived(server)


def test_nothing_listens_for_the_host(box, control):
    code = """
import socket
try:
    server = socket.create_server(("127.0.0.1", port))
    server.settimeout(30)
    print("accepted", server.accept())
except OSError as error:
    print("REFUSED", error)
"""

    def connect(over: threading.Event) -> bool:
        while not over.is_set():
            try:
                # From another address: otherwise a socket may happen to have the port as its own, and reach itself.
                socket.create_connection(("127.0.0.1", port), 30, ("127.0.0.2", 0)).close()
            except OSError:
                over.wait(0.01)
            else:
                return True
        return False

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    outcome: list[bool] = []
    over = threading.Event()
    thread = threading.Thread(target=lambda: outcome.append(connect(over)))
    thread.start()
    try:
        assert "accepted" in control(code, {"port": port}).stdout
    finally:
        over.set()
        thread.join()
    assert outcome == [True]
    execution, reached = box.meanwhile(code, connect, {"port": port})
    assert not reached
    assert "accepted" not in execution.stdout


FAMILIES = {
    "netlink": "socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)",
    "packet": "socket.socket(socket.AF_PACKET, socket.SOCK_RAW)",
    "raw": "socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)",
    "ping": "socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP)",
    "mptcp": "socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262)",
    "vsock": "socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)",
    "tipc": "socket.socket(30, socket.SOCK_RDM)",
    "bluetooth": "socket.socket(31, socket.SOCK_RAW)",
    "crypto": "socket.socket(38, socket.SOCK_SEQPACKET)",
    "xdp": "socket.socket(44, socket.SOCK_RAW)",
    "hidden_by_a_large_number": "call(41, (1 << 32) + 2, 1, 0)",
    "by_a_started_program": "subprocess.run([sys.executable, '-S', '-c', 'import socket; socket.socket()'], check=True)",
    "by_a_shell": "subprocess.run(['bash', '-c', f'exec 3<>/dev/udp/127.0.0.1/9'], check=True)",
}


@pytest.mark.parametrize("family", FAMILIES)
def test_no_other_family_of_sockets_can_be_made(box, control, family):
    code = f"{CALL}import socket, subprocess, sys\nattempt(lambda: {FAMILIES[family]})"
    outside = control(code)
    execution = box.run(code)
    assert "GOT" not in execution.stdout
    assert "REFUSED" in execution.stdout
    if "CalledProcessError" not in execution.stdout:
        assert any(number in execution.stdout for number in _REFUSED)
    if not outside.succeeded:
        pytest.skip(f"refused, but so it is without the sandbox: {outside.stdout.strip()}")


def test_names_are_not_resolved_over_the_network(box):
    """`getaddrinfo` must fail at once, not wait for a name server that it cannot reach."""
    code = "import socket\nattempt(lambda: socket.getaddrinfo('attack.example', 80))"
    execution = box.run(code, wall_s=5)
    assert execution.status == "ok"
    assert "REFUSED" in execution.stdout


def test_connections_of_the_host_are_not_seen(box, control):
    box.skip_if_documented("host_tables")
    code = "attempt(lambda: [line for line in open('/proc/net/tcp') if f':{port:04X} ' in line])"
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert f":{port:04X} " in control(code, {"port": port}).stdout
        assert f":{port:04X} " not in box.run(code, {"port": port}).stdout


def test_no_descriptor_of_another_process_is_taken(box, control):
    """`pidfd_getfd` would take an open socket or file out of the host's process."""
    code = f"""{CALL}
target = os.open("main.py", 0)
attempt(lambda: call(438, call(434, process or os.getpid(), 0), target, 0))
"""
    assert control(code, {"process": 0}).succeeded
    for process in (os.getpid(), 1):
        assert "REFUSED" in box.run(code, {"process": process}).stdout
    parent = f"import os\nprocess = os.getppid()\n{code.replace('main.py', '.')}"
    assert "REFUSED" in box.run(parent).stdout
