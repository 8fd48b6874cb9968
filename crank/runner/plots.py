# Plots, as PNG: each scenario against the first target, and the paper's Figure 1 and Table 3 made again.
import os
import statistics
from collections import defaultdict

from .paper import BASELINES, gains

# Okabe and Ito's palette: told apart by colour-blind readers too.
COLOURS = ["#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#999999", "#000000"]
MARKERS = ["o", "s", "D", "^", "v", "P", "X", "*"]


def available():
    """None, or why nothing can be drawn."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        return "plots are skipped: the Python module matplotlib is missing (Debian: apt-get install python3-matplotlib)"
    return None


def ratios(report, folder):
    """CPU per request and requests per second as ratios to the first target, with the range over the rounds."""
    _ratio_plot(report, "cpuRatio", "Server CPU per request, relative to {first} (left is better)",
                os.path.join(folder, "cpu-ratio"))
    _ratio_plot(report, "rpsRatio", "Requests per second, relative to {first} (right is better)",
                os.path.join(folder, "rps-ratio"))


def ablation(rows, folder):
    """Everything that the ablation's rows allow; gives the paths written."""
    figures = []
    for server_cores in sorted({row["server_cores"] for row in rows}):
        chosen = [row for row in rows if row["server_cores"] == server_cores]
        for message_bytes in sorted({row["message_bytes"] for row in chosen}):
            of_size = [row for row in chosen if row["message_bytes"] == message_bytes]
            if len({row["transactions_per_connection"] for row in of_size}) > 1:
                figures += _by_transactions(of_size, server_cores, message_bytes, folder)
        if len({row["message_bytes"] for row in chosen}) > 1:
            figures += _by_size(chosen, server_cores, folder)
    return figures


def _plt():
    import matplotlib
    matplotlib.use("Agg")
    from matplotlib import pyplot
    pyplot.rcParams.update({"axes.spines.top": False, "axes.spines.right": False,
                            "font.size": 9, "figure.dpi": 110})
    return pyplot


def _save(figure, path):
    figure.savefig(path + ".png", bbox_inches="tight", dpi=160)
    _plt().close(figure)
    return [path + ".png"]


def _ratio_plot(report, key, title, path):
    scenarios = [s for s in report["scenarios"] if len(s["targets"]) > 1]
    if not scenarios:
        return
    pyplot = _plt()
    first = scenarios[0]["targets"][0]["name"]
    names = list(dict.fromkeys(t["name"] for s in scenarios for t in s["targets"][1:]))
    figure, axes = pyplot.subplots(figsize=(8, 1.2 + 0.42 * len(scenarios)))
    axes.axvline(1, color="0.4", linewidth=1)
    hollow = False
    for row, scenario in enumerate(scenarios):
        for target in scenario["targets"][1:]:
            number = names.index(target["name"])
            value = target["summary"][key]
            if value is None:
                continue
            y = row + 0.17 * (number - (len(names) - 1) / 2)
            bound = key == "rpsRatio" and (
                target["summary"]["generatorBound"] or scenario["targets"][0]["summary"]["generatorBound"])
            hollow |= bound
            colour = COLOURS[number % len(COLOURS)]
            axes.plot([value["min"], value["max"]], [y, y], color=colour, linewidth=1.5, alpha=0.6)
            axes.plot(value["median"], y, MARKERS[number % len(MARKERS)], color=colour, markersize=5,
                      markerfacecolor="white" if bound else colour,
                      label=target["name"] if row == 0 else None)
    axes.set_yticks(range(len(scenarios)), [s["name"] for s in scenarios])
    axes.invert_yaxis()
    axes.set_xlim(left=0)
    axes.grid(axis="x", alpha=0.3)
    remark = "\nhollow: the generator was the bottleneck" if hollow else ""
    axes.set_title(title.format(first=first) + remark, fontsize=10)
    axes.set_xlabel(f"median and range of {report['rounds']} interleaved rounds")
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False)
    _save(figure, path)


def _series(rows, variant, axis, value):
    """Sorted x, median, lowest, highest."""
    points = defaultdict(list)
    for row in rows:
        if row["variant"] == variant:
            points[row[axis]].append(row[value])
    xs = sorted(points)
    return xs, [statistics.median(points[x]) for x in xs], [min(points[x]) for x in xs], [max(points[x]) for x in xs]


def _variants(rows):
    names = list(dict.fromkeys(row["variant"] for row in rows))
    return [b for b in BASELINES if b in names] + [n for n in names if n not in BASELINES]


def _curves(axes, rows, axis, value, scale=1.0):
    for number, variant in enumerate(_variants(rows)):
        xs, middle, low, high = _series(rows, variant, axis, value)
        colour = COLOURS[number % len(COLOURS)]
        axes.plot(xs, [y * scale for y in middle], marker=MARKERS[number % len(MARKERS)], color=colour, markersize=4,
                  linestyle="--" if variant in BASELINES else "-", label=variant)
        axes.fill_between(
            xs, [y * scale for y in low], [y * scale for y in high], color=colour, alpha=0.15, linewidth=0)
    ticks = sorted({row[axis] for row in rows})
    axes.set_xscale("log", base=2)
    axes.set_xticks(ticks, [f"{x:,}" for x in ticks])
    axes.minorticks_off()
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)


def _by_transactions(rows, server_cores, message_bytes, folder):
    """Figure 1: rate and CPU over the length of connections; beside it the gains of Table 3."""
    pyplot = _plt()
    figure, (left, middle, right) = pyplot.subplots(1, 3, figsize=(14, 4))
    _curves(left, rows, "transactions_per_connection", "rps", 1e-3)
    unsaturated = any(row.get("generator_bound") or row.get("generator_shares_cpus") for row in rows)
    remark = "\n(the generator was the limit in some rows)" if unsaturated else ""
    left.set_ylabel("thousand transactions a second" + remark)
    left.legend(frameon=False, fontsize=8)
    _curves(middle, rows, "transactions_per_connection", "server_cpu_us_per_request")
    middle.set_ylabel("server CPU, µs a transaction")
    table = gains(rows, by_cpu=True)
    baseline = next((b for b in BASELINES if any(key[2] == b for key in table)), None)
    drawn = [v for v in _variants(rows) if v != baseline]
    transactions = sorted({row["transactions_per_connection"] for row in rows})
    width = 0.8 / max(1, len(drawn))
    for number, variant in enumerate(drawn):
        colour = COLOURS[_variants(rows).index(variant) % len(COLOURS)]
        for i, count in enumerate(transactions):
            found = table.get((server_cores, message_bytes, baseline, variant, count))
            if found:
                x = i + (number - (len(drawn) - 1) / 2) * width
                right.bar(x, found[0], width * 0.9, color=colour)
                right.plot([x, x], found[1:], color="0.2", linewidth=0.8)
    right.axhline(0, color="0.4", linewidth=1)
    right.set_xticks(range(len(transactions)), transactions)
    right.set_ylabel(f"transactions per CPU time,\n% over {baseline}")
    for axes in (left, middle, right):
        axes.set_xlabel("transactions per connection")
    figure.suptitle(f"{server_cores} server core{'s' if server_cores > 1 else ''}, {message_bytes} B messages; "
                    "median and range of the rounds")
    figure.tight_layout()
    return _save(figure, os.path.join(folder, f"figure1-{server_cores}core-{message_bytes}b"))


def _by_size(rows, server_cores, folder):
    pyplot = _plt()
    counts = sorted({row["transactions_per_connection"] for row in rows})
    # The count that has the most sizes: the sweep over sizes is made at one of them.
    count = max(counts, key=lambda c: len({r["message_bytes"] for r in rows if r["transactions_per_connection"] == c}))
    chosen = [row for row in rows if row["transactions_per_connection"] == count]
    figure, axes = pyplot.subplots(figsize=(6, 4))
    _curves(axes, chosen, "message_bytes", "server_cpu_us_per_request")
    axes.set_xlabel("message bytes")
    axes.set_ylabel("server CPU, µs a transaction")
    axes.set_title(f"{server_cores} server core{'s' if server_cores > 1 else ''}, {count} transactions per connection",
                   fontsize=10)
    axes.legend(frameon=False, fontsize=8)
    return _save(figure, os.path.join(folder, f"message-size-{server_cores}core"))
