"""All loads, beside their peers, interleaved; see scripts/bench."""
import argparse
import contextlib
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

import peers
import report
from processes import BIN, ROOT, Processes, cpu_seconds, load, memory_kib, tree

LOOP = "local x = 0\nfor i = 1, 20000000 do x = (x * 1103515245 + i) % 2147483648 end\n"

SCRIPTS = {
    "hello.lua": "--* subject: bench.hello\n--* name: hello\n"
    "function OnMessage(subject, payload)\n  return 'Hello ' .. payload\nend\n",
    "web.lua": "--* subject: bench.web\n--* name: web\n--* http: true\n"
    "function POST(url, body)\n  return 'Hello ' .. body\nend\n",
    "json.lua": "--* subject: bench.json\n--* name: json\n--* http: true\nlocal json = require('json')\n"
    "function POST(url, body)\n  local items, total, names = json.decode(body), 0, {}\n"
    "  for i, item in ipairs(items) do\n    total = total + item.price * item.count\n"
    "    names[i] = item.name:upper()\n  end\n  return json.encode({ total = total, names = names })\nend\n",
    "loop.lua": "--* subject: bench.loop\n--* name: loop\n--* http: true\n--* jit: true\n"
    "function POST(url, body)\n" + LOOP + "return tostring(x) .. body\nend\n",
    "call.lua": "--* subject: bench.call\n--* name: call\n--* http: true\nlocal http = require('http')\n"
    "function POST(url, body)\n"
    "  local response = http.post('http://BACK/', { body = body })\n  return response.body\nend\n",
}


@contextlib.contextmanager
def awake(wanted):
    """Keeps idle virtual processors from sleeping, which takes them longer to end than a request lasts."""
    burners = []
    if wanted:
        burn = ["chrt", "-i", "0", "sh", "-c", "while :; do :; done"]
        burners = [subprocess.Popen(burn) for _ in range(os.cpu_count())]
    try:
        yield
    finally:
        for burner in burners:
            burner.kill()
            burner.wait()


class Bench:
    def __init__(self, args, folder, processes):
        self.args, self.folder, self.processes = args, folder, processes
        self.text, self.data = [], {}

    def wants(self, title):
        return not self.args.only or any(word in title for word in self.args.only)

    def scripts(self, name, files):
        folder = os.path.join(self.folder, name)
        os.mkdir(folder)
        for file, text in files.items():
            peers.write(folder, file, text)
        return folder

    def say(self, text):
        print(text, flush=True)
        self.text.append(text)

    def matrix(self, title, loads, compare, flight):
        """Runs each of the loads in each round, and shows them. A load: kind, server processes, options."""
        if not self.wants(title):
            return
        results = {name: [] for name in loads}
        with awake(flight == 1):
            for _ in range(self.args.rounds):
                for name, (kind, servers, options) in loads.items():
                    before = cpu_seconds(servers)
                    try:
                        run = load(kind, flight=flight, seconds=self.args.seconds, **options)
                    except RuntimeError as error:
                        sys.exit(f"bench: {name}: {error}")
                    run["cpu"] = (cpu_seconds(servers) - before) * 1e6 / run["requests"]
                    results[name].append(run)
        self.data[title] = results
        self.say(report.matrix(title, results, compare))

    def table(self, title, rows):
        self.data[title] = rows
        self.say(report.table(title, rows))


def fill_with_items(size):
    items, number = [], 0
    while len(json.dumps(items)) < size:
        number += 1
        items.append({"name": f"item number {number}", "price": number % 17, "count": number % 5,
                      "tags": ["a", "b"], "open": number % 2 == 0})
    return json.dumps(items)


def hello(bench, servers):
    nats, echo, own, outer = servers["nats"], servers["echo"], servers["own"], servers["outer"]
    nginx, node, workerd, redis = (servers[name] for name in ("nginx", "node", "workerd", "redis"))
    # What a request through nats-server costs it counts as well.
    through = [nats[1], echo[1]], [nats[1], outer[1]]
    for flight in (64, 1):
        suffix = f"{flight} in flight" + (", processors kept awake" if flight == 1 else "")
        bare = "async-nats echo"
        bench.matrix(f"Hello over NATS, {suffix}", {
            bare: ("load-nats", through[0], {"to": nats[0], "what": "echo"}),
            f"{bare} again": ("load-nats", through[0], {"to": nats[0], "what": "echo"}),
            "msgscript, nats-server": ("load-nats", through[1], {"to": nats[0], "what": "bench.hello"}),
            "msgscript, embedded server": ("load-nats", [own[1]], {"to": own[0]["nats"], "what": "bench.hello"}),
            "redis function": ("load-redis", [redis[1]], {"to": redis[0], "what": "hello"}),
        }, {name: bare for name in (f"{bare} again", "msgscript, nats-server", "msgscript, embedded server")}, flight)
        ours = "msgscript"
        bench.matrix(f"Hello over HTTP, {suffix}", {
            "hyper": ("load-http", [servers["hyper"][1]], {"to": servers["hyper"][0], "what": "/"}),
            "hyper again": ("load-http", [servers["hyper"][1]], {"to": servers["hyper"][0], "what": "/"}),
            ours: ("load-http", [own[1]], {"to": own[0]["http"], "what": "/bench.web"}),
            "nginx + Lua, fresh globals": ("load-http", [nginx[1]], {"to": nginx[0], "what": "/fresh"}),
            "nginx + Lua, shared globals": ("load-http", [nginx[1]], {"to": nginx[0], "what": "/shared"}),
            "node": ("load-http", [node[1]], {"to": node[0], "what": "/"}),
            "php-fpm": ("load-http", [nginx[1], nginx[2]], {"to": nginx[0], "what": "/"}),
            "workerd": ("load-http", [workerd[1]], {"to": workerd[0], "what": "/"}),
        }, {"hyper again": "hyper", ours: "hyper", "nginx + Lua, fresh globals": ours,
            "nginx + Lua, shared globals": ours, "node": ours, "php-fpm": ours, "workerd": ours}, flight)


def payloads(bench, servers):
    own, nginx, node = servers["own"], servers["nginx"], servers["node"]
    items = peers.write(bench.folder, "items.json", fill_with_items(10_000))
    options = {"payload": items, "has": "total"}
    fresh = "nginx + Lua, fresh globals"
    bench.matrix("JSON of 10 KB decoded, summed, encoded, over HTTP, 16 in flight", {
        "msgscript": ("load-http", [own[1]], {"to": own[0]["http"], "what": "/bench.json", **options}),
        fresh: ("load-http", [nginx[1]], {"to": nginx[0], "what": "/fresh-json", **options}),
        "node": ("load-http", [node[1]], {"to": node[0], "what": "/json", **options}),
        "php-fpm": ("load-http", [nginx[1], nginx[2]], {"to": nginx[0], "what": "/json", **options}),
    }, {"msgscript": fresh, "node": fresh, "php-fpm": fresh}, 16)
    for size, name, flight in ((65_536, "64 KB", 16), (1_000_000, "1 MB", 4)):
        # What a broker admits is set beside it; a megabyte with its greeting is within the usual limit.
        bench.matrix(f"{name} there and back, {flight} in flight", {
            "async-nats echo": ("load-nats", [servers["nats"][1], servers["echo"][1]],
                                {"to": servers["nats"][0], "what": "echo", "size": size}),
            "msgscript, nats-server": ("load-nats", [servers["nats"][1], servers["outer"][1]],
                                       {"to": servers["nats"][0], "what": "bench.hello", "size": size}),
            "msgscript, embedded server": ("load-nats", [own[1]],
                                           {"to": own[0]["nats"], "what": "bench.hello", "size": size}),
            "hyper": ("load-http", [servers["hyper"][1]],
                      {"to": servers["hyper"][0], "what": "/", "size": size}),
            "msgscript, HTTP": ("load-http", [own[1]], {"to": own[0]["http"], "what": "/bench.web", "size": size}),
        }, {"msgscript, nats-server": "async-nats echo", "msgscript, embedded server": "async-nats echo",
            "msgscript, HTTP": "hyper"}, flight)
    bench.matrix("A call to a local HTTP server from within, 16 in flight", {
        "nginx + Lua": ("load-http", [nginx[1]], {"to": nginx[0], "what": "/call"}),
        "msgscript": ("load-http", [own[1]], {"to": own[0]["http"], "what": "/bench.call"}),
    }, {"msgscript": "nginx + Lua"}, 16)


def computing(bench, servers):
    title = "Computing, JIT on"
    if not bench.wants(title):
        return
    program = LOOP.replace("local x = 0", "local began = os.clock() local x = 0") + "print(os.clock() - began)"
    ours, plain = [], []
    own = servers["own"]
    with awake(True):
        for _ in range(bench.args.rounds):
            run = subprocess.run(["luajit", "-e", program], capture_output=True, text=True, check=True)
            plain.append(float(run.stdout) * 1e6)
            ours.append(load("load-http", to=own[0]["http"], what="/bench.loop", flight=1,
                             seconds=bench.args.seconds)["p50"])
    ratio = report.spread([a / b for a, b in zip(ours, plain)])
    bench.table(title, [("a loop of 20 million steps in luajit", f"{statistics.median(plain):,.0f} µs", ""),
                        ("the same in msgscript, over HTTP", f"{statistics.median(ours):,.0f} µs", ratio)])


def open_loop(bench, servers):
    own = servers["own"]
    # What the machine itself allows is seen by the bare peers.
    loads = {
        "async-nats echo, nats-server": ("load-nats", {"to": servers["nats"][0], "what": "echo"}),
        "msgscript, embedded NATS": ("load-nats", {"to": own[0]["nats"], "what": "bench.hello"}),
        "hyper": ("load-http", {"to": servers["hyper"][0], "what": "/"}),
        "msgscript, HTTP": ("load-http", {"to": own[0]["http"], "what": "/bench.web"}),
    }
    title = "Latency at half of the peak rate (counted from when each request was due)"
    if not bench.wants(title):
        return
    rows = []
    for name, (kind, options) in loads.items():
        runs = []
        for _ in range(bench.args.rounds):
            peak = load(kind, flight=64, seconds=bench.args.seconds, **options)["rate"]
            run = load(kind, flight=32, seconds=bench.args.seconds, rate=peak / 2, **options)
            runs.append({**run, "ratio": run["p999"] / run["p50"]})
        figures = ", ".join(f"{key} {report.median(runs, key):,.0f} µs" for key in ("p50", "p99", "p999"))
        rows.append((name, figures, "p99.9 / p50: " + report.spread([run["ratio"] for run in runs])))
    bench.table(title, rows)


def ask(address, path, body=b"x"):
    request = urllib.request.Request(f"http://{address}{path}", data=body, method="POST")
    with urllib.request.urlopen(request, timeout=5) as response:
        return response.read()


def first_answer(address, path, end):
    while True:
        try:
            return ask(address, path)
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.001)


def cold(bench):
    title = "From cold"
    if not bench.wants(title):
        return
    starts, added = [], []
    for round_ in range(bench.args.rounds):
        scripts = bench.scripts(f"cold{round_}", {"web.lua": SCRIPTS["web.lua"]})
        began = time.monotonic()
        process, ready = bench.processes.broker(scripts, "--embedded-nats", "127.0.0.1:0")
        first_answer(ready["http"], "/bench.web", began + 5)
        starts.append((time.monotonic() - began) * 1e3)
        began = time.monotonic()
        peers.write(scripts, "new.lua", SCRIPTS["web.lua"].replace("bench.web", "bench.new"))
        first_answer(ready["http"], "/bench.new", began + 5)
        added.append((time.monotonic() - began) * 1e3)
        bench.processes.end(process)
    bench.table(title, [
        ("server: from the start of the program to the first answer", f"{statistics.median(starts):.0f} ms",
         f"[{min(starts):.0f}–{max(starts):.0f}]"),
        ("script: from its file to its first answer", f"{statistics.median(added):.0f} ms",
         f"[{min(added):.0f}–{max(added):.0f}]"),
    ])


def size(bench, servers):
    title = "Many scripts, many subjects, memory"
    if not bench.wants(title):
        return
    own = servers["own"]
    dirty = [memory_kib(pid, "Private_Dirty") for pid in tree(own[1].pid)[1:]]
    many = {f"s{n}.lua": SCRIPTS["hello.lua"].replace("bench.hello", f"many.s{n}") for n in range(10_000)}
    thousand = bench.scripts("thousand", dict(list(many.items())[:1000]))
    process, ready = bench.processes.broker(thousand, "--embedded-nats", "127.0.0.1:0")
    load("load-nats", to=ready["nats"], what="many.s500", flight=64, seconds=1)
    rss = memory_kib(process.pid, "Rss")
    bench.processes.end(process)
    crowd = bench.scripts("crowd", {**many, "hello.lua": SCRIPTS["hello.lua"]})
    process, ready = bench.processes.broker(crowd, "--embedded-nats", "127.0.0.1:0")
    pairs = []
    for _ in range(bench.args.rounds):
        one = load("load-nats", to=own[0]["nats"], what="bench.hello", flight=64, seconds=bench.args.seconds)
        crowded = load("load-nats", to=ready["nats"], what="bench.hello", flight=64, seconds=bench.args.seconds)
        pairs.append(crowded["rate"] / one["rate"])
    bench.processes.end(process)
    bench.table(title, [
        ("idle worker, private and dirty", f"{statistics.median(dirty):,.0f} KiB", f"[{min(dirty)}–{max(dirty)}]"),
        ("broker with 1,000 scripts, resident", f"{rss / 1024:.0f} MiB", ""),
        ("hello's rate with 10,000 subjects / with five", report.spread(pairs), ""),
    ])


def main():
    parser = argparse.ArgumentParser(prog="scripts/bench")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--only", nargs="*", help="tables whose title has one of these words in it")
    args = parser.parse_args()
    workerd = os.path.join(ROOT, "target/peers/node_modules/.bin/workerd")
    with tempfile.TemporaryDirectory() as folder, Processes() as processes:
        os.chmod(folder, 0o755)
        bench = Bench(args, folder, processes)
        cpu = re.search(r"model name\s*: (.*)", open("/proc/cpuinfo").read())
        bench.say(f"# Speed beside peers\n\n{os.cpu_count()} x {cpu.group(1) if cpu else platform.machine()}, Linux "
                  f"{platform.release()}, {args.rounds} rounds of {args.seconds:g} s, medians; ratios within each "
                  "round as median [min–max]. Payload 100 bytes where nothing is said.")
        servers = {"nats": peers.nats_server(processes)}
        servers["echo"] = (None, peers.bare(processes, "echo", f"nats://{servers['nats'][0]}", "echo"))
        address = f"127.0.0.1:{peers.free_port()}"
        servers["hyper"] = (address, peers.bare(processes, "http-echo", address))
        servers["node"] = peers.node(processes, folder)
        servers["nginx"] = peers.nginx(processes, folder, servers["hyper"][0])
        servers["workerd"] = peers.workerd(processes, folder, workerd)
        servers["redis"] = peers.redis(processes, folder)
        files = {name: text.replace("BACK", servers["hyper"][0]) for name, text in SCRIPTS.items()}
        scripts = bench.scripts("scripts", files)
        # Under a fixed rate what waits is to be seen as latency, not as refusals.
        queue = ("--queue", "65536")
        process, ready = processes.broker(scripts, "--embedded-nats", "127.0.0.1:0", *queue)
        servers["own"] = (ready, process)
        process, ready = processes.broker(scripts, "--natsurl", f"nats://{servers['nats'][0]}", *queue)
        servers["outer"] = (ready, process)
        hello(bench, servers)
        payloads(bench, servers)
        computing(bench, servers)
        open_loop(bench, servers)
        size(bench, servers)
        cold(bench)
        report.write(os.path.join(ROOT, "target", "bench"), "\n".join(bench.text), bench.data)


main()
