"""What a soak came to: a page, a picture and a table."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from pathlib import Path

from batchyard import __version__
from tests.soak.run import Plan, Soak
from tests.soak.samples import SETTLED_MINUTES, Sample, Trend, long_life, trends, write_csv

MOST_SHOWN = 20


class Result:
    """Read from a soak that is over."""

    def __init__(self, soak: Soak, plan: Plan) -> None:
        self.soak, self.plan = soak, plan
        self.trends: list[Trend] = trends(soak.samples)
        """Of the whole run."""
        self.long_life = long_life(soak.samples, max(soak.server_kills, default=0.0))
        self.problems = [*soak.ledger.complaints, *soak.failures]
        self.problems += [
            f"{each.bound.name} grew: {each.first:.4g} → {each.last:.4g} {each.bound.unit}"
            for each in (*self.trends, *filter(None, [self.long_life]))
            if not each.holds
        ]
        if not soak.ledger.ended:
            self.problems.append("no job ended")

    @property
    def minutes(self) -> float:
        return self.soak.samples[-1].minute if self.soak.samples else 0.0


def write(result: Result, folder: Path) -> None:
    """soak.md, soak.png and soak.csv."""
    folder.mkdir(parents=True, exist_ok=True)
    write_csv(folder / "soak.csv", result.soak.samples)
    _plot(result, folder / "soak.png")
    (folder / "soak.md").write_text(page(result))


def page(result: Result) -> str:
    return "\n".join([*_what_was_run(result), "", *_what_came_of_it(result), "", *_problems(result)]) + "\n"


def _what_was_run(result: Result) -> list[str]:
    soak, plan = result.soak, result.plan
    told = "as planned" if result.minutes >= plan.minutes else f"of {plan.minutes:g} planned"
    return [
        "<!-- Written by `make soak`. -->",
        "",
        "# Soak",
        "",
        "Mixed load for a long time, with kills in between: `make soak MINUTES=30`. This page is of one run:",
        "",
        f"- {datetime.now(UTC):%Y-%m-%d %H:%M} UTC, Batchyard {__version__}, Python {platform.python_version()},"
        f" {os.cpu_count()} CPUs, {platform.system()} {platform.release()};",
        f"- **{result.minutes:.1f} minutes** ({told}), until the last job had ended; load average at the end"
        f" {os.getloadavg()[1]:.1f};",
        f"- {plan.share:.0%} of the capacity, which a burst of {plan.burst_seconds:g} s before it found to be"
        f" {soak.capacity:.0f} attempts a second; for {soak.held_seconds:.0f} s the load was held back because the"
        " machine had become slower;",
        f"- SIGKILL of the server {len(soak.server_kills)} times, about every {plan.server_kill_seconds:g} s of the"
        f" first {1 - plan.calm_share:.0%} of the time, and of the supervisor {len(soak.supervisor_kills)} times,"
        f" about every {plan.supervisor_kill_seconds:g} s.",
        "",
        "Load: single jobs, sleepers, failures, retries, arrays, dependencies on jobs, `N_TO_N` and `SEQUENTIAL`,"
        " timeouts, terminates and cancels; beside it DescribeJobs of all that is open every second, ListJobs and"
        " GetLogEvents four times a second. Finished jobs are removed after a few minutes, so that the database and the"
        " logs should reach a size and keep it.",
        "",
        "![Memory, latency, disk and jobs over time](soak.png)",
        "",
        "Dotted lines: the server was killed; dashed lines: the supervisor was. Every sample is in"
        " [soak.csv](soak.csv).",
    ]


def _what_came_of_it(result: Result) -> list[str]:
    ledger = result.soak.ledger
    lines = [
        "## Jobs",
        "",
        f"{sum(ledger.ended.values())} jobs and children were acknowledged and ended. Each appended its begins and"
        " its ends to a file, with the attempt's number and the exit code, and each was compared with what DescribeJobs"
        " tells of it: attempts, exit codes, the end that its kind must have.",
        "",
        "| Kind | Ended |",
        "| --- | ---: |",
        *(f"| {kind} | {count} |" for kind, count in sorted(ledger.ended.items())),
        "",
        f"Lost with a supervisor, and declared so by the API: {len(ledger.lost)} jobs and children (those that waited"
        f" for them included). Ran although a kill cut off their acknowledgement, so that the client sent them again:"
        f" {ledger.unacknowledged()}. Requests sent again: {result.soak.api.retries}.",
        "",
        "## Trends",
        "",
        "Medians over the samples of the first and of the last third of the run. A bound is a factor and an absolute"
        " part, which allows for the noise of small figures.",
        "",
        "| | First third | Last third | Bound | |",
        "| --- | ---: | ---: | ---: | --- |",
    ]
    lines += map(_row, result.trends)
    lines += ["", *_growth(result)]
    return lines


def _growth(result: Result) -> list[str]:
    text = (
        "A server that was started a short while ago grows for some minutes, most likely because the database caches"
        " pages, up to 32 MiB in each of its three connections. So the server is left alive in the last part of the"
        " run, and its memory"
        f" compared once more from {SETTLED_MINUTES:g} minutes after its last start, by halves."
    )
    if result.long_life is None:
        return [f"{text} This run was too short for that."]
    return [
        text,
        "",
        "| | First half | Second half | Bound | |",
        "| --- | ---: | ---: | ---: | --- |",
        _row(result.long_life),
    ]


def _row(each: Trend) -> str:
    bound, unit = each.limit, f" {each.bound.unit}".rstrip()
    verdict = "holds" if each.holds else "**broken**"
    figures = (f"{figure:.4g}{unit}" for figure in (each.first, each.last, bound))
    return f"| {each.bound.name} | {' | '.join(figures)} | {verdict} |"


def _problems(result: Result) -> list[str]:
    if not result.problems:
        return ["## Findings", "", "None: no job was lost, every record agrees with the API, and every bound holds."]
    shown = [f"- {each}" for each in result.problems[:MOST_SHOWN]]
    return ["## Findings", "", f"{len(result.problems)}, the first of them:", "", *shown]


def _plot(result: Result, path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    samples = result.soak.samples
    figure, axes = pyplot.subplots(6, 1, figsize=(10, 15), sharex=True, layout="constrained")
    panels = [
        ("Memory, MiB", [("server_mib", "server"), ("supervisor_mib", "supervisor")]),
        ("Latency, median, ms", [(f"{each}_p50_ms", each) for each in ("submit", "describe", "list", "logs")]),
        ("Latency, 95 %, ms", [(f"{each}_p95_ms", each) for each in ("submit", "describe", "list", "logs")]),
        ("Disk, MiB", [("database_mib", "database"), ("logs_mib", "logs")]),
        ("Open jobs", [("open", "acknowledged and not ended")]),
        ("Ended jobs", [("ended", "all so far")]),
    ]
    for axis, (title, fields) in zip(axes, panels, strict=True):
        for field, label in fields:
            axis.plot(*_line(samples, field), label=label, linewidth=1.3)
        for moments, style in ((result.soak.server_kills, ":"), (result.soak.supervisor_kills, "--")):
            for minute in moments:
                axis.axvline(minute, color="0.6", linestyle=style, linewidth=0.9)
        axis.set_title(title, loc="left", fontsize=10)
        axis.legend(loc="lower right", bbox_to_anchor=(1, 1), fontsize=8, ncols=4, frameon=False, borderaxespad=0.2)
        axis.grid(alpha=0.25)
    for axis in axes[1:3]:
        axis.set_yscale("log")
        axis.yaxis.set_major_formatter("{x:g}")
        axis.yaxis.set_minor_formatter("")
    for axis in (axes[0], *axes[3:]):
        axis.set_ylim(bottom=0)
    axes[-1].set_xlabel("minutes")
    axes[0].set_xlim(0, result.minutes)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def _line(samples: list[Sample], field: str) -> tuple[list[float], list[float]]:
    """The points at which it was measured; a gap where it was not."""
    values = [getattr(sample, field) for sample in samples]
    return [sample.minute for sample in samples], [float("nan") if value is None else value for value in values]
