"""What a cluster costs and gives; see scripts/bench-cluster."""
import argparse
import base64
import http.client
import json
import os
import socket
import statistics
import sys
import tempfile
import threading
import time
import urllib.request

import processes
from processes import ROOT, Processes, find, free_port, load, wait_for_port

HELLO = "function OnMessage(_, payload) return 'Hello ' .. payload end"
SCRIPTS = {
    "bench.hello": HELLO,
    "bench.locked": "--* lock: script\n" + HELLO,
    "bench.hold": "--* lock: shared\n--* timeout: 60s\nfunction OnMessage() require('time').sleep(50) end",
    "bench.take": "--* lock: shared\n--* timeout: 30s\n" + HELLO,
    "bench.order": "--* stream: ORDERS\nfunction OnMessage() return '' end",
}


class Etcd:
    """Members on loopback, asked by the gateway that they have for JSON."""

    def __init__(self, running, folder, size):
        self.ports = [(free_port(), free_port()) for _ in range(size)]
        url = "http://127.0.0.1:{}".format
        cluster = ",".join(f"e{n}={url(peer)}" for n, (_, peer) in enumerate(self.ports))
        started = []
        for n, (client, peer) in enumerate(self.ports):
            started.append(running.start(
                find("etcd"), "--name", f"e{n}", "--data-dir", os.path.join(folder, f"etcd{n}"), "--log-level", "error",
                "--listen-client-urls", url(client), "--advertise-client-urls", url(client),
                "--listen-peer-urls", url(peer), "--initial-advertise-peer-urls", url(peer),
                "--initial-cluster", cluster))
        for (client, _), process in zip(self.ports, started):
            wait_for_port(f"127.0.0.1:{client}", process)
        self.endpoints = ",".join(url(client) for client, _ in self.ports)
        until(lambda: self.ask("kv/range", key=encode("ready")) is not None, "etcd")

    def ask(self, what, **fields):
        """None while it does not answer."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.ports[0][0]}/v3/{what}", json.dumps(fields).encode())
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return json.load(answer)
        except OSError:
            return None

    def put_script(self, subject, text):
        value = {"content": encode(text), "executor": "", "is_html": False, "libraries": None, "name": "n",
                 "subject": subject}
        key = f"msgscript/scripts/{subject}/n"
        if self.ask("kv/put", key=encode(key), value=encode(json.dumps(value))) is None:
            sys.exit("bench: etcd takes no script")

    def has(self, prefix):
        found = self.ask("kv/range", key=encode(prefix), range_end=encode(prefix[:-1] + chr(ord(prefix[-1]) + 1)))
        return bool(found and found.get("kvs"))


class Nats:
    """A client that publishes and asks, by the bare protocol."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.input = self.socket.makefile("rb")
        self.socket.sendall(b'CONNECT {"verbose":false}\r\nSUB _INBOX.bench-cluster 1\r\n')

    def publish(self, subject, payload, reply=""):
        self.socket.sendall(b"PUB %s %s %d\r\n%s\r\n" % (subject.encode(), reply.encode(), len(payload), payload))

    def ask(self, subject, **fields):
        self.publish(subject, json.dumps(fields).encode(), "_INBOX.bench-cluster")
        for line in self.input:
            if line.startswith(b"PING"):
                self.socket.sendall(b"PONG\r\n")
            elif line.startswith(b"MSG"):
                return json.loads(self.input.read(int(line.split()[-1]) + 2))
        return sys.exit("bench: the NATS server hangs up")


class Bench:
    def __init__(self, args, folder, running):
        self.args, self.folder, self.running = args, folder, running
        self.etcd = Etcd(running, folder, args.etcd)
        for subject, text in SCRIPTS.items():
            self.etcd.put_script(subject, f"--* subject: {subject}\n--* name: n\n{text}\n")
        self.nats_port = free_port()
        running.start(find("nats-server"), "-a", "127.0.0.1", "-p", str(self.nats_port), "-js", "-sd",
                      os.path.join(folder, "nats"), listens=f"127.0.0.1:{self.nats_port}")
        self.nats = Nats(self.nats_port)
        made = self.nats.ask("$JS.API.STREAM.CREATE.ORDERS", name="ORDERS", subjects=["bench.order"],
                             retention="limits", storage="file", num_replicas=1)
        if "error" in made:
            sys.exit(f"bench: no stream: {made['error']}")
        self.brokers = []
        self.rows = []

    def grow(self, size):
        """Until so many brokers serve."""
        scripts = os.path.join(self.folder, "scripts")
        os.makedirs(scripts, exist_ok=True)
        while len(self.brokers) < size:
            control = os.path.join(self.folder, f"control-{time.monotonic_ns()}")
            process, said = self.running.broker(
                scripts, "--natsurl", f"nats://127.0.0.1:{self.nats_port}", "-backend", "etcd", "-etcdurl",
                self.etcd.endpoints, "--control", control)
            self.brokers.append((process, said["http"]))
            until(lambda: post(said["http"], "/bench.hello", "x")[0] == 200, "a broker")

    def add(self, what, values, unit):
        median, least, most = (f"{f(values):,.{0 if max(values) >= 100 else 2}f}" for f in (statistics.median, min, max))
        self.rows.append(f"| {what} | {median} {unit} | {least} | {most} |")
        print(self.rows[-1], flush=True)

    def rate(self, what, subject, flight):
        values = []
        for _ in range(self.args.rounds):
            values.append(load("load-nats", to=f"127.0.0.1:{self.nats_port}", what=subject, flight=flight,
                               seconds=self.args.seconds)["rate"])
            # Answers to the last requests of this load are not to meet the next.
            time.sleep(1)
        self.add(what, values, "/s")

    def reload(self):
        """From the moment at which etcd is asked to take a new version, until all brokers answer with it."""
        values = []
        for number in range(3 * self.args.rounds):
            text = f"--* subject: bench.new\n--* name: n\nfunction OnMessage() return 'version {number}' end\n"
            wanted = encode(f"version {number}")
            began = time.monotonic()
            self.etcd.put_script("bench.new", text)
            for _, address in self.brokers:
                until(lambda: wanted in post(address, "/bench.new", "")[1], "a new version", pause=0.001)
            values.append((time.monotonic() - began) * 1e3)
        self.add(f"a new version in etcd until all {len(self.brokers)} brokers answer with it", values, "ms")

    def durable(self):
        values = []
        for _ in range(self.args.rounds):
            began = time.monotonic()
            for number in range(self.args.messages):
                self.nats.publish("bench.order", b"%d" % number)
            until(self.settled, "all messages", pause=0.01)
            values.append(self.args.messages / (time.monotonic() - began))
            self.nats.ask("$JS.API.STREAM.PURGE.ORDERS")
        self.add(f"durable messages, {len(self.brokers)} brokers", values, "/s")

    def settled(self):
        stream = self.nats.ask("$JS.API.STREAM.INFO.ORDERS")["state"]["messages"]
        known = self.nats.ask("$JS.API.CONSUMER.INFO.ORDERS.msgscript-n")
        return stream >= self.args.messages and known.get("num_pending") == 0 and known["num_ack_pending"] == 0

    def handover(self):
        values = []
        for _ in range(self.args.rounds):
            process, address = self.brokers.pop(0)
            holding = threading.Thread(target=post, args=(address, "/bench.hold?_timeout=55s", ""), daemon=True)
            holding.start()
            until(lambda: self.etcd.has("msgscript/locks/shared/"), "the lock is held")
            process.kill()
            killed = time.monotonic()
            status, text = post(self.brokers[0][1], "/bench.take?_timeout=30s", "x")
            if status != 200:
                sys.exit(f"bench: the lock is not handed over: {text}")
            values.append(time.monotonic() - killed)
            self.running.end(process)
            holding.join()
            self.grow(len(self.brokers) + 1)
        self.add("a lock whose holder's broker was killed (-9), until the next run has answered", values, "s")


def encode(text):
    return base64.b64encode(text.encode()).decode()


def post(address, path, body):
    """Status and text; 0 while nobody answers."""
    host, port = address.rsplit(":", 1)
    connection = http.client.HTTPConnection(host, int(port), timeout=60)
    try:
        connection.request("POST", path, body)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    except (OSError, http.client.HTTPException):
        return 0, ""
    finally:
        connection.close()


def until(so, what, pause=0.05, seconds=120):
    end = time.monotonic() + seconds
    while not so():
        if time.monotonic() > end:
            sys.exit(f"bench: not in time: {what}")
        time.sleep(pause)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3, help="for each load in each round")
    parser.add_argument("--etcd", type=int, default=3, choices=(1, 3), help="members")
    parser.add_argument("--messages", type=int, default=5000, help="durable ones in each round")
    parser.add_argument("--debug", action="store_true", help="programs of target/debug: the figures say nothing")
    args = parser.parse_args()
    if args.debug:
        processes.BIN = os.path.join(ROOT, "target", "debug")
    with tempfile.TemporaryDirectory() as folder, Processes() as running:
        bench = Bench(args, folder, running)
        print(f"{os.path.basename(processes.BIN)} build, {args.rounds} rounds of {args.seconds:g} s, one nats-server, "
              f"{args.etcd} etcd, two workers a broker, {os.cpu_count()} processors for all\n")
        print("| what | median | least | most |\n|---|---:|---:|---:|", flush=True)
        for size in (1, 2, 3):
            bench.grow(size)
            bench.rate(f"hello over NATS, {size} broker{'s' if size > 1 else ''}, 64 in flight", "bench.hello", 64)
        bench.rate("hello without a lock, 3 brokers, 16 in flight", "bench.hello", 16)
        bench.rate("the same with `lock: script`", "bench.locked", 16)
        bench.reload()
        bench.durable()
        bench.handover()


main()
