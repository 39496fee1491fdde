"""What an invocation of a WebAssembly command costs in its worker, as CPU time of that process.

wasm.py PROGRAMS SCRIPTS FLIGHTS WORKERS... prints a line of JSON for each command in the folder SCRIPTS, number in
flight (`16,64`) and folder with the programs of workers. Rounds are interleaved; the figure is their median. The engine alone,
embedded (`wasm_peer`), runs in each round too.
"""
import json
import os
import subprocess
import sys

import processes
from processes import Processes, cpu_seconds, load, own_cpu_seconds

ROUNDS = 5


class Server:
    def __init__(self, running, scripts, folder):
        self.process, ready = running.broker(scripts, "--worker-dir", folder)
        self.http = ready["http"]

    def cost(self, name, flight, seconds):
        """Microseconds of an invocation in its worker."""
        before = self.workers_seconds()
        report = load("load-http", to=self.http, what=f"/funcs.wasm.{name}", flight=flight, seconds=seconds,
                      has='"error":""')
        return (self.workers_seconds() - before) / report["requests"] * 1e6

    def workers_seconds(self):
        # Nothing but these commands runs: the other workers do nothing meanwhile.
        return cpu_seconds([self.process]) - own_cpu_seconds(self.process.pid)


def peer(programs, module):
    """Microseconds of CPU time of a run by the engine alone."""
    run = subprocess.run([os.path.join(programs, "wasm_peer"), module, "10000"], capture_output=True, text=True,
                         check=True)
    return json.loads(run.stdout)["warm_cpu_us"]


def main():
    programs, scripts, flights, folders = sys.argv[1], sys.argv[2], sys.argv[3].split(","), sys.argv[4:]
    processes.BIN = programs
    names = sorted(name[:-5] for name in os.listdir(scripts) if name.endswith(".wasm"))
    figures = {}
    with Processes() as running:
        servers = {folder: Server(running, scripts, folder) for folder in folders}
        for server in servers.values():
            for name in names:
                server.cost(name, 1, 0.3)
        for _ in range(ROUNDS):
            for name in names:
                figures.setdefault((name, "-", "engine alone"), []).append(
                    peer(programs, os.path.join(scripts, f"{name}.wasm")))
                for flight in flights:
                    for folder, server in servers.items():
                        figures.setdefault((name, flight, folder), []).append(server.cost(name, flight, 0.5))
    for (name, flight, who), values in sorted(figures.items()):
        print(json.dumps({"module": name, "in_flight": flight, "who": who,
                          "cpu_us": round(sorted(values)[len(values) // 2], 1)}))


main()
