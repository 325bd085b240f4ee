"""The three actions a job's command can name, each `-b BASE -k KEY -o URI`.

    split   -k inputs/request.json -o BASE/shards    one job
    price   -k shards/             -o BASE/prices    one array child a shard, its index in AWS_BATCH_JOB_ARRAY_INDEX
    report  -k prices/             -o BASE/report    one job

KEY is read under BASE; URI is where the results go. Every result is a function of the inputs, so an action may run
again at any time and leaves the same objects. All documents of one run carry its fingerprint, so that leftovers of
another run in the same place are noticed and not mixed in.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import posixpath
import resource
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from montecarlo import storage
from montecarlo.market import Market
from montecarlo.portfolio import Option
from montecarlo.pricing import Estimate
from montecarlo.storage import InputError

INDEX_VARIABLE = "AWS_BATCH_JOB_ARRAY_INDEX"
SMALLEST_ARRAY, LARGEST_ARRAY = 2, 10_000


def shard_name(index: int) -> str:
    """The object that holds shard `index`, of options and later of prices."""
    return f"shard-{index:05d}.json"


def split(base: str, key: str, output: str) -> int:
    """Calibrate the market, draw the book and deal it into shards."""
    # scipy's optimiser is slow to import and no other action needs it
    from montecarlo import calibration, portfolio

    request = storage.read_json(storage.join(base, key))
    shards, options, paths, seed = (_count(request, name) for name in ("shards", "options", "paths", "seed"))
    if not SMALLEST_ARRAY <= shards <= min(LARGEST_ARRAY, options):
        raise InputError(f"{shards} shards: an array job takes {SMALLEST_ARRAY} to {LARGEST_ARRAY}, one option each")
    if paths < 4 or paths % 2:
        raise InputError(f"{paths} paths: antithetic paths come in pairs, and it takes two pairs for an error")

    folder = posixpath.dirname(key)
    history = calibration.read_history(storage.read_bytes(storage.join(base, folder, request["history"])))
    rate = calibration.read_rate(storage.read_bytes(storage.join(base, folder, request["risk_free"])))
    market = calibration.calibrate(history, rate, request.get("dividend_yields", {}))
    book = portfolio.draw(market, options, seed)

    market_document = storage.json_bytes(market.to_json())
    book_document = storage.json_bytes(
        {"paths": paths, "seed": seed, "shards": shards, "options": [option.to_json() for option in book]}
    )
    run = _fingerprint(market_document, book_document)
    returns = {name: series.tolist() for name, series in history.log_returns().items()}
    storage.write_bytes(storage.join(output, "market.json"), market_document)
    storage.write_bytes(storage.join(output, "portfolio.json"), book_document)
    scenarios = {"dates": history.dates, "returns": returns}
    storage.write_bytes(storage.join(output, "scenarios.json"), storage.json_bytes(scenarios))
    for index, part in enumerate(portfolio.cut(book, shards)):
        shard = {"run": run, "paths": paths, "seed": seed, "options": [option.to_json() for option in part]}
        storage.write_bytes(storage.join(output, shard_name(index)), storage.json_bytes(shard))

    for name, level in market.indices.items():
        month, year = level.volatility(21), level.volatility(252)
        print(f"{name}: {level.spot:,.2f}, volatility {month:.1%} over a month, {year:.1%} over a year")
    print(f"rate {market.rate:.2%}; {options} options in {shards} shards, {paths} paths each")
    return 0


def price(base: str, key: str, output: str) -> int:
    """Price the shard whose index the environment gives."""
    from montecarlo import pricing

    index = _array_index(os.environ)
    folder = storage.join(base, key)
    shard = storage.read_json(storage.join(folder, shard_name(index)))
    market = Market.from_json(storage.read_json(storage.join(folder, "market.json")))
    options = [Option.from_json(document) for document in shard["options"]]
    estimates = pricing.price_shard(options, market, shard["paths"], shard["seed"], index)
    result = {
        "run": shard["run"],
        "shards_key": key,
        "options": {name: _estimate_json(estimate) for name, estimate in estimates.items()},
    }
    storage.write_bytes(storage.join(output, shard_name(index)), storage.json_bytes(result))
    print(f"shard {index}: {len(options)} options")
    return 0


def report(base: str, key: str, output: str) -> int:
    """Collect the prices, check them and write the report; 1 when a European price is off."""
    from montecarlo import figure, risk
    from montecarlo import report as reporting

    folder = storage.join(base, key)
    first = storage.read_json(storage.join(folder, shard_name(0)))
    shards_folder = storage.join(base, first["shards_key"])
    market_document = storage.read_bytes(storage.join(shards_folder, "market.json"))
    book_document = storage.read_bytes(storage.join(shards_folder, "portfolio.json"))
    market = Market.from_json(storage.parse_json(market_document, "market.json"))
    book = storage.parse_json(book_document, "portfolio.json")
    options = [Option.from_json(document) for document in book["options"]]
    estimates = _collect(folder, book["shards"], _fingerprint(market_document, book_document))
    missing = [option.id for option in options if option.id not in estimates]
    if missing:
        raise InputError(f"{folder}: no price for {len(missing)} options, among them {missing[0]}")

    scenarios = storage.read_json(storage.join(shards_folder, "scenarios.json"))
    returns = {name: np.array(series) for name, series in scenarios["returns"].items()}
    profits = risk.scenario_profits(market.shocks, risk.ladders(options, estimates), returns)
    table = reporting.lines(options, estimates, market)
    summary = reporting.summarise(table, market, book["paths"], profits, scenarios["dates"])
    text = reporting.to_text(summary, table)
    dates = scenarios["dates"]
    picture = figure.draw(reporting.scores(table), profits, summary.risk, reporting.LIMIT, dates[0], dates[-1])
    storage.write_bytes(storage.join(output, "options.csv"), reporting.to_csv(table))
    storage.write_bytes(storage.join(output, "summary.json"), storage.json_bytes(_finite(asdict(summary))))
    storage.write_bytes(storage.join(output, "summary.md"), f"{text}\n".encode())
    storage.write_bytes(storage.join(output, "report.png"), picture)
    print(text)
    if summary.failures:
        print(f"montecarlo-report: {len(summary.failures)} European prices are off", file=sys.stderr)
        return 1
    return 0


ACTIONS: Mapping[str, Callable[[str, str, str], int]] = {"split": split, "price": price, "report": report}


def main(arguments: Sequence[str]) -> int:
    """Run the action that the first of `arguments` names; the exit status."""
    parser = argparse.ArgumentParser(prog="montecarlo", description="Monte Carlo pricing of an option portfolio.")
    parser.add_argument("action", choices=sorted(ACTIONS))
    parser.add_argument("-b", "--bucket", required=True, help="where inputs lie: a folder or any fsspec URI")
    parser.add_argument("-k", "--key", required=True, help="the input under it")
    parser.add_argument("-o", "--output", required=True, help="where results go: a folder or any fsspec URI")
    chosen = parser.parse_args(arguments)
    try:
        status = ACTIONS[chosen.action](chosen.bucket, chosen.key, chosen.output)
    except InputError as error:
        print(f"montecarlo-{chosen.action}: {error}", file=sys.stderr)
        return 1
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{time.process_time():.1f} s of processor time, {peak_mib:.0f} MiB at most")
    return status


def _count(request: Mapping[str, Any], name: str) -> int:
    value = request.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise InputError(f"the request's {name} must be a positive whole number, not {value!r}")
    return value


def _array_index(environment: Mapping[str, str]) -> int:
    text = environment.get(INDEX_VARIABLE, "")
    if not text.isdecimal():
        raise InputError(f"{INDEX_VARIABLE} is {text!r}: price runs as the child of an array job")
    return int(text)


def _fingerprint(*documents: bytes) -> str:
    return hashlib.sha256(b"\0".join(documents)).hexdigest()


def _estimate_json(estimate: Estimate) -> dict[str, Any]:
    return {"price": estimate.price, "error": estimate.standard_error, "ladder": estimate.ladder.tolist()}


def _collect(folder: str, shards: int, run: str) -> dict[str, Estimate]:
    estimates: dict[str, Estimate] = {}
    for index in range(shards):
        uri = storage.join(folder, shard_name(index))
        result = storage.read_json(uri)
        if result["run"] != run:
            raise InputError(f"{uri}: left over from a run with other inputs")
        for name, figures in result["options"].items():
            estimates[name] = Estimate(figures["price"], figures["error"], np.array(figures["ladder"]))
    return estimates


def _finite(summary: dict[str, Any]) -> dict[str, Any]:
    """JSON knows no infinity: a z-score without a spread to divide by is written as null."""
    if not np.isfinite(summary["largest_z"]):
        summary["largest_z"] = None
    return summary
