"""The report: medians over the rounds, ratios within each round."""
import json
import statistics

FIGURES = ("rate", "p50", "p90", "p99", "p999", "cpu")


def median(runs, key):
    values = [run[key] for run in runs if run.get(key) is not None]
    return statistics.median(values) if values else None


def ratios(runs, peer, key):
    return [run[key] / other[key] for run, other in zip(runs, peer) if run.get(key) and other.get(key)]


def spread(values):
    if not values:
        return ""
    return f"{statistics.median(values):.2f} [{min(values):.2f}–{max(values):.2f}]"


def number(value):
    if value is None:
        return ""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def matrix(title, results, peers):
    """A table of loads; `peers` says whom each is compared with."""
    lines = [f"\n### {title}\n",
             "| load | requests/s | p50 µs | p90 | p99 | p99.9 | CPU µs/request | rate to peer | p50 | p99 | CPU |",
             "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|"]
    for name, runs in results.items():
        cells = [number(median(runs, key)) for key in FIGURES]
        for key in ("rate", "p50", "p99", "cpu"):
            cells.append(spread(ratios(runs, results[peers[name]], key)) if name in peers else "")
        peer = f" / {peers[name]}" if name in peers else ""
        lines.append(f"| {name}{peer} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def table(title, rows):
    """A table of single figures: what, value, remark."""
    lines = [f"\n### {title}\n", "| what | figure | |", "|---|---:|---|"]
    lines += [f"| {what} | {value} | {remark} |" for what, value, remark in rows]
    return "\n".join(lines)


def write(path, text, data):
    with open(path + ".md", "w") as file:
        file.write(text + "\n")
    with open(path + ".json", "w") as file:
        json.dump(data, file, indent=1)
