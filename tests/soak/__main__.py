"""`python -m tests.soak`: a soak, and the page that tells of it. The exit code is 1 when something was found.

Ctrl-C ends the load early; what was asked for is still waited for and checked, and the page says how long it was. A
second one leaves everything as it stands.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import tempfile
import time
from pathlib import Path

import uvloop
from rich.console import Console

from batchyard import testing
from tests.soak import report
from tests.soak.run import Plan, Soak

RETENTION_SECONDS = 180.0
"""Longer than a job of the soak takes from its end to its check, however slow the machine."""
LINE_SECONDS = 30.0


def main() -> int:
    plan, out = _parse()
    console = Console(highlight=False)
    with tempfile.TemporaryDirectory(prefix="batchyard-soak-") as folder:
        settings = {
            "overcommit": True,
            "minimum_timeout_seconds": 1,
            "job_retention_days": RETENTION_SECONDS / 86_400,
        }
        with testing.server(**settings) as yard:
            result = uvloop.run(_run(yard, plan, Path(folder), console))
            output = yard.output
    report.write(result, out)
    console.print(f"{result.minutes:.1f} minutes: {out / 'soak.md'}, {out / 'soak.png'}", soft_wrap=True)
    for problem in result.problems[: report.MOST_SHOWN]:
        console.print(f"[red]{problem[:600]}[/]", markup=True, soft_wrap=True)
    if result.problems:
        console.print(f"The server said last:\n{output[-3000:]}", markup=False)
    return 1 if result.problems else 0


async def _run(yard: testing.Server, plan: Plan, folder: Path, console: Console) -> report.Result:
    loop = asyncio.get_running_loop()
    with console.status("a server starts") as status:
        last_line = 0.0

        def say(text: str) -> None:
            nonlocal last_line
            status.update(text)
            if not console.is_terminal and time.monotonic() - last_line >= LINE_SECONDS:
                last_line = time.monotonic()
                console.print(text, soft_wrap=True)

        soak = Soak(yard, plan, folder, say)

        def interrupt() -> None:
            soak.is_over.set()
            loop.remove_signal_handler(signal.SIGINT)
            console.print("Ctrl-C: the load ends; what is under way is waited for. Once more leaves all as it is.")

        loop.add_signal_handler(signal.SIGINT, interrupt)
        await soak.run()
    soak.records.close()
    return report.Result(soak, plan)


def _parse() -> tuple[Plan, Path]:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--share", type=float, default=0.7, help="of the capacity that a short burst finds (0.7)")
    parser.add_argument("--burst", type=float, default=20.0, metavar="SECONDS", help="how long that burst is (20)")
    parser.add_argument("--kill-server", type=float, default=150.0, metavar="SECONDS", help="between two kills (150)")
    parser.add_argument("--calm", type=float, default=0.4, help="the last part without kills of the server (0.4)")
    parser.add_argument("--kill-supervisor", type=float, default=400.0, metavar="SECONDS", help="likewise (400)")
    parser.add_argument("--seed", type=int, default=1, help="of the order of stories and the moments of kills")
    parser.add_argument("--out", type=Path, default=Path("docs"), help="the folder for soak.md, soak.png and soak.csv")
    given = parser.parse_args()
    plan = Plan(
        minutes=given.minutes,
        share=given.share,
        burst_seconds=given.burst,
        server_kill_seconds=given.kill_server,
        calm_share=given.calm,
        supervisor_kill_seconds=given.kill_supervisor,
        seed=given.seed,
    )
    return plan, given.out


if __name__ == "__main__":
    sys.exit(main())
