"""Shared by bench-neighbours and soak: the programs, a broker for them, and what the kernel says of it."""
import http.client
import json
import os
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def programs():
    """The folder of the newest kind of build that is there: release before debug."""
    for kind in ("release", "debug"):
        folder = os.path.join(ROOT, "target", kind)
        if all(os.path.exists(os.path.join(folder, name)) for name in ("msgscript-broker", "bench")):
            return folder
    sys.exit("build first: cargo build --release --workspace")


class Broker:
    """A broker with these tenants and scripts, ended with the value."""

    def __init__(self, config, scripts, *args):
        self.programs = programs()
        self.folder = tempfile.TemporaryDirectory()
        for path, text in scripts.items():
            path = os.path.join(self.folder.name, "scripts", path)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "w") as file:
                file.write(text)
        with open(os.path.join(self.folder.name, "config.toml"), "w") as file:
            file.write(config)
        # The log goes to a file: a pipe that nobody reads would stop it.
        self.log = os.path.join(self.folder.name, "log")
        with open(self.log, "w") as log:
            self.process = subprocess.Popen(
                [os.path.join(self.programs, "msgscript-broker"), "--script", os.path.join(self.folder.name, "scripts"),
                 "--config", os.path.join(self.folder.name, "config.toml"), "--bind", "127.0.0.1", "--port", "0",
                 "--embedded-nats", "127.0.0.1:0", "--workers", "2", "--log", "error",
                 "--audit-log", os.path.join(self.folder.name, "audit"), *args],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=log)
        self.http = self._address()

    def _address(self):
        # `ready` is no error, so it is not in this log: the listening port is the kernel's word.
        for _ in range(1000):
            if self.process.poll() is not None:
                break
            for port in listening(self.process.pid):
                if is_http(port):
                    return f"127.0.0.1:{port}"
            time.sleep(0.02)
        with open(self.log) as log:
            sys.exit("the broker did not start:\n" + log.read())

    def bench(self, *args):
        """A mode of the bench program, running."""
        return subprocess.Popen(
            [os.path.join(self.programs, "bench"), *map(str, args)],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def state(self):
        """Memory in MiB, descriptors, threads and children of the broker."""
        pid = self.process.pid
        status = dict(line.split(":", 1) for line in open(f"/proc/{pid}/status") if ":" in line)
        children = sum(len(open(f"/proc/{pid}/task/{task}/children").read().split())
                       for task in os.listdir(f"/proc/{pid}/task"))
        return {"memory": int(status["VmRSS"].split()[0]) / 1024, "descriptors": len(os.listdir(f"/proc/{pid}/fd")),
                "threads": int(status["Threads"]), "processes": children}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.folder.cleanup()


def listening(pid):
    """Ports that a process listens on."""
    inodes = set()
    for fd in os.listdir(f"/proc/{pid}/fd"):
        try:
            link = os.readlink(f"/proc/{pid}/fd/{fd}")
        except OSError:
            continue
        if link.startswith("socket:["):
            inodes.add(link[8:-1])
    with open(f"/proc/{pid}/net/tcp") as table:
        rows = [line.split() for line in table][1:]
    return [int(row[1].split(":")[1], 16) for row in rows if row[3] == "0A" and row[9] in inodes]


def is_http(port):
    try:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
        connection.request("GET", "/_/healthz")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False


def result(load):
    """What a load printed."""
    out, err = load.communicate()
    if load.returncode:
        sys.exit(f"a load failed: {err.strip()}")
    return json.loads(out)
