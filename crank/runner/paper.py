# The ablation's rows as tables: medians, and the paper's Table 3 made again.
import statistics
from collections import defaultdict

# What the ablation calls the two baselines of today, in the order in which they are looked for.
BASELINES = ["epoll-shared", "epoll-reuseport"]


def gains(rows, by_cpu):
    """Table 3: for each (server cores, message bytes, baseline, variant, transactions) the median gain in %, taken
    round by round, with its range. By CPU: transactions per second of server CPU time; otherwise transactions per
    second, without the rows in which the generator was the limit or used the server's CPUs."""
    rate = {}
    for row in rows:
        if by_cpu or not (row.get("generator_bound") or row.get("generator_shares_cpus")):
            key = (row["server_cores"], row["message_bytes"], row["transactions_per_connection"], row["round"])
            rate[(row["variant"], *key)] = 1 / row["server_cpu_us_per_request"] if by_cpu else row["rps"]
    table = defaultdict(list)
    for (variant, cores, size, transactions, number), value in rate.items():
        for baseline in BASELINES:
            base = rate.get((baseline, cores, size, transactions, number))
            if base and variant != baseline:
                table[(cores, size, baseline, variant, transactions)].append(100 * (value / base - 1))
    return {key: (statistics.median(values), min(values), max(values)) for key, values in table.items()}


def tables(rows):
    """Everything in Markdown."""
    return "\n".join([
        _medians(rows, "server_cpu_us_per_request", "Server CPU, µs a transaction", ".2f"),
        _medians(rows, "rps", "Transactions per second", ",.0f"),
        _table3(rows, True), _table3(rows, False)])


def _medians(rows, value, title, form):
    cells = defaultdict(list)
    for row in rows:
        group = (row["server_cores"], row["message_bytes"])
        cells[group, row["variant"], row["transactions_per_connection"]].append(row[value])
    lines = []
    for group in sorted({key[0] for key in cells}):
        lines += _grid(f"{title}, {_words(*group)}; median", rows,
                       {key[1:]: f"{statistics.median(found):{form}}" for key, found in cells.items()
                        if key[0] == group})
    return "\n".join(lines)


def _table3(rows, by_cpu):
    found = gains(rows, by_cpu)
    what = "transactions per CPU time" if by_cpu else "transactions per second"
    lines = []
    for group in sorted({key[:3] for key in found}):
        lines += _grid(f"Gain in {what} over {group[2]} in %, {_words(*group[:2])}; median [min…max] of the rounds",
                       rows, {key[3:]: f"{middle:+.1f} [{low:+.0f}…{high:+.0f}]"
                              for key, (middle, low, high) in found.items() if key[:3] == group})
    return "\n".join(lines)


def _words(cores, size):
    return f"{cores} server core{'s' if cores > 1 else ''}, {size} B, by transactions per connection"


def _grid(title, rows, cells):
    """A row for each variant, a column for each number of transactions."""
    counts = sorted({count for _, count in cells})
    lines = [title, "", "| variant | " + " | ".join(map(str, counts)) + " |", "| --- |" + " --- |" * len(counts)]
    for variant in dict.fromkeys(row["variant"] for row in rows):
        if any(name == variant for name, _ in cells):
            lines.append(f"| {variant} | " + " | ".join(cells.get((variant, count), "") for count in counts) + " |")
    return [*lines, ""]
