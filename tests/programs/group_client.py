"""Does in a cgroup and a network namespace what it is told, line by line, and answers each with a line.

Arguments: the group's folder, the namespace's file, and a file in the place of /etc/resolv.conf.
"""

import ctypes
import errno
import os
import select
import socket
import struct
import sys

CLONE_NEWNS, CLONE_NEWNET = 0x20000, 0x40000000
MS_BIND, MS_REC, MS_PRIVATE = 0x1000, 0x4000, 0x40000
TCP_SYNCNT = 7


def enter(group, namespace, resolvers):
    libc = ctypes.CDLL(None, use_errno=True)

    def call(function, *words):
        if function(*words) != 0:
            raise OSError(ctypes.get_errno(), function.__name__)

    with open(f"{group}/cgroup.procs", "w") as procs:
        procs.write(str(os.getpid()))
    call(libc.unshare, CLONE_NEWNS)
    call(libc.mount, b"none", b"/", None, MS_REC | MS_PRIVATE, None)
    call(libc.mount, resolvers.encode(), b"/etc/resolv.conf", None, MS_BIND, None)
    with open(namespace) as file:
        call(libc.setns, file.fileno(), CLONE_NEWNET)


def query(name, number, kind=1, flags=0x0100, more=b""):
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    header = struct.pack("!6H", number, flags, 1, 0, 0, 0)
    return header + labels + b"\0" + struct.pack("!2H", kind, 1) + more


def family(address):
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def attempt(send):
    try:
        send()
        return "sent"
    except PermissionError:
        return "refused"


class Client:
    def __init__(self):
        self.asking = self.connection = None

    def resolve(self, name):
        try:
            found = socket.getaddrinfo(name, 9, type=socket.SOCK_DGRAM)
            return " ".join(sorted({one[4][0] for one in found}))
        except socket.gaierror:
            return "unknown"

    def udp(self, address, port, times="1", size="1"):
        with socket.socket(family(address), socket.SOCK_DGRAM) as sender:
            send = lambda: sender.sendto(b"x" * int(size), (address, int(port)))
            return [attempt(send) for _ in range(int(times))][-1]

    def options(self, address, port):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.setsockopt(socket.IPPROTO_IP, socket.IP_OPTIONS, b"\x01\x01\x01\x01")
            return attempt(lambda: sender.sendto(b"x", (address, int(port))))

    def frame(self, interface, kind, frame):
        """A whole frame; `kind` is what the kernel is told that it is."""
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sender:
            try:
                sender.sendto(bytes.fromhex(frame), (interface, int(kind, 16)))
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                return "refused"
            return "sent"

    def tcp(self, address, port, own=None):
        connection = socket.socket(family(address), socket.SOCK_STREAM)
        connection.setsockopt(socket.IPPROTO_TCP, TCP_SYNCNT, 1)
        if own:
            connection.bind(own)
        try:
            connection.connect((address, int(port)))
        except TimeoutError:
            return "refused"
        self.connection = connection
        return "connected"

    def again(self, address, port):
        """Connects as the connection before, from the same port: that one is reset."""
        if self.connection.fileno() >= 0:
            self.own = self.connection.getsockname()
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
        return self.tcp(address, port, self.own)

    def say(self, word):
        self.connection.sendall(word.encode())
        return self.connection.recv(len(word)).decode()

    def open(self, address):
        self.asking = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.asking.bind((address, 0))
        return str(self.asking.getsockname()[1])

    def ask(self, resolver, name, number):
        return attempt(lambda: self.asking.sendto(query(name, int(number)), (resolver, 53)))

    def strange(self, resolver, name):
        """Messages to a resolver that are no plain queries."""
        ways = [
            b"x",
            query(name, 1, flags=0x8180),
            query(name, 1, flags=0x2800),
            query(name, 1)[:-6],
            query(name, 1)[:6] + b"\0\1" + query(name, 1)[8:],
            query("a" * 63 + "." + "b" * 63 + "." + "c" * 63, 1),
            query("a@b", 1),
            query("x.example", 1).replace(b"\1x", b"\x09a.allowed"),
        ]
        return " ".join(attempt(lambda: self.asking.sendto(way, (resolver, 53))) for way in ways)

    def receive(self):
        return self.asking.recv(512)[:2].hex()

    def waits(self):
        return "yes" if select.select([self.asking], [], [], 0)[0] else "no"


enter(*sys.argv[1:])
client = Client()
print("ready", flush=True)
for line in sys.stdin:
    verb, *words = line.split()
    print(getattr(client, verb)(*words), flush=True)
