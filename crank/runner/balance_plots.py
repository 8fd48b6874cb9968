# Plots of the balancing simulator, as SVG: imbalance and 99th percentile over the number of channels.
import os

from .plots import COLOURS, MARKERS, _plt

TITLES = {
    "Uniform": "uniform", "Skewed": "skewed: channel 0's hashes cost 20×", "Shifting": "the skew moves",
    "Bursty": "bursts of 20 ms", "HeavyTailed": "heavy tail", "Hung": "one channel stuck for 2 s",
    "Even": "all cost the same", "HeavyChannel": "those of channel 0 cost 20×",
    "HeavyShifts": "then those of channel 1", "HeavyFew": "2 % cost 50×",
}


def simulation(rows, folder, name="balancing"):
    """A row of plots for imbalance, one for the 99th percentile, a column for each pattern."""
    pyplot = _plt()
    pyplot.rcParams["svg.hashsalt"] = "balance"  # the same rows, the same file
    patterns = list(dict.fromkeys(row["pattern"] for row in rows))
    variants = list(dict.fromkeys(row["variant"] for row in rows))
    figure, grid = pyplot.subplots(2, len(patterns), figsize=(2.9 * len(patterns), 6), sharex=True, squeeze=False)
    for column, pattern in enumerate(patterns):
        for line, (key, scale) in enumerate((("imbalance", 1), ("p99_us", 1e-3))):
            axes = grid[line][column]
            for number, variant in enumerate(variants):
                chosen = sorted((row for row in rows if row["pattern"] == pattern and row["variant"] == variant),
                                key=lambda row: row["channels"])
                axes.plot([row["channels"] for row in chosen], [row[key] * scale for row in chosen],
                          marker=MARKERS[number], markersize=4, color=COLOURS[number], label=variant,
                          linewidth=2 if variant in ("Balanced", "Moving") else 1,
                          linestyle="--" if variant in ("Hash", "Cpu", "Staying") else "-")
            axes.set_xscale("log", base=2)
            axes.grid(alpha=0.3)
            if key == "p99_us":
                axes.set_yscale("log")
                axes.set_ylim(0.5, 3000)
                axes.set_xlabel("channels")
            else:
                axes.set_ylim(0.9, 3.1)
                axes.set_title(TITLES.get(pattern, pattern), fontsize=9)
            ticks = sorted({row["channels"] for row in rows})
            axes.set_xticks(ticks, [str(tick) for tick in ticks])
            axes.minorticks_off()
    grid[0][0].set_ylabel("work of the busiest, of the mean")
    grid[1][0].set_ylabel("99th percentile, ms")
    grid[0][-1].legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
    figure.tight_layout()
    path = os.path.join(folder, f"{name}.svg")
    figure.savefig(path, bbox_inches="tight", metadata={"Date": None})
    pyplot.close(figure)
    with open(path, encoding="utf-8") as file:
        lines = [line.rstrip() for line in file]
    with open(path, "w", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")
    return [path]
