"""Processes of a benchmark: started, asked what they cost, ended by id."""
import json
import os
import shutil
import socket
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BIN = os.path.join(ROOT, "target", "release")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for_port(address, process, seconds=20):
    """Until it accepts connections."""
    end = time.monotonic() + seconds
    host, port = address.split(":")
    while time.monotonic() < end:
        if process.poll() is not None:
            sys.exit(f"bench: {process.args[0]} ended with status {process.returncode}")
        with socket.socket() as probe:
            probe.settimeout(1)
            if probe.connect_ex((host, int(port))) == 0:
                return
        time.sleep(0.02)
    sys.exit(f"bench: {process.args[0]} does not listen on {address}")


def tree(pid):
    """A process and all below it."""
    found, rest = [], [pid]
    children = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/stat") as file:
                    parent = int(file.read().rsplit(")", 1)[1].split()[1])
            except OSError:
                continue
            children.setdefault(parent, []).append(int(entry))
    while rest:
        pid = rest.pop()
        found.append(pid)
        rest += children.get(pid, [])
    return found


def own_cpu_seconds(pid):
    """CPU time that a process has used, all its threads together, by its clock (clock_getcpuclockid(3))."""
    return time.clock_gettime(~pid << 3 | 2)


def cpu_seconds(servers):
    """CPU time that these and all below them have used so far, with the threads and processes that have ended."""
    total = 0
    for pid in (pid for server in servers for pid in tree(server.pid)):
        try:
            total += own_cpu_seconds(pid)
            # What it has waited for: workers are replaced after so many runs.
            with open(f"/proc/{pid}/stat") as file:
                ended = file.read().rsplit(")", 1)[1].split()[13:15]
            total += sum(map(int, ended)) / os.sysconf("SC_CLK_TCK")
        except OSError:
            pass
    return total


def memory_kib(pid, what):
    """A figure of smaps_rollup."""
    try:
        with open(f"/proc/{pid}/smaps_rollup") as file:
            return next(int(line.split()[1]) for line in file if line.startswith(what + ":"))
    except (OSError, StopIteration):
        return 0


class Processes:
    """Each is ended with the block."""

    def __init__(self):
        self.all = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in reversed(self.all):
            self.end(process)

    def end(self, process):
        if process in self.all:
            self.all.remove(process)
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def start(self, *command, listens=None, cwd=None, env=None):
        """A server that is up when it accepts connections there."""
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL, cwd=cwd, env=env)
        self.all.append(process)
        if listens:
            wait_for_port(listens, process)
        return process

    def start_talking(self, *command, ready, stream="stdout"):
        """A program that says when it is up, and the line in which it does."""
        pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, stream: subprocess.PIPE}
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, text=True, **pipes)
        self.all.append(process)
        for line in getattr(process, stream):
            if ready in line:
                return process, line
        sys.exit(f"bench: {command[0]} did not start")

    def broker(self, scripts, *args, workers=2):
        """Our server: its process, and what it says of itself."""
        process, line = self.start_talking(
            os.path.join(BIN, "msgscript-broker"), "--script", scripts, "--bind", "127.0.0.1", "--port", "0",
            "--workers", str(workers), *args, ready='"ready"', stream="stderr")
        # Nobody reads what it says later: a full pipe must not hold it.
        subprocess.Popen(["cat"], stdin=process.stderr, stdout=subprocess.DEVNULL)
        return process, json.loads(line)


def load(kind, **options):
    """One run of the load generator."""
    words = [f"{name.replace('_', '-')}={value}" for name, value in options.items() if value is not None]
    run = subprocess.run([os.path.join(BIN, "bench"), kind, *words], capture_output=True, text=True)
    if run.returncode:
        raise RuntimeError(f"{kind} {' '.join(words)}: {run.stderr.strip()[:500]}")
    return json.loads(run.stdout)


def find(name):
    """A program, also where only root looks."""
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
