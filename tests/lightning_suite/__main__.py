"""Run Lightning's own tests with the callback in every Trainer, and report what differs: ``make test-lightning``.

Lightning's tests are not ours to ship: give the path of a checkout (of the installed version, or near it). Each variant
is a run of its own; one that is cut short is compared as far as it got. Every fit without a decision has to end bit for
bit as it ends without the callback, and no test may fail that passes without it, but those of ``expected.txt``.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
FOLDERS = ("loops", "callbacks", "trainer", "checkpointing", "models", "tuner", "core")
VARIANTS = ("conservative", "dry_run", "auto")
Record = Mapping[str, Any]


def expected(file: Path = HERE / "expected.txt") -> list[str]:
    """Patterns of the tests that may fail; what follows a number sign is why."""
    lines = [line.partition("#")[0].strip() for line in file.read_text(encoding="utf-8").splitlines()]
    return [line for line in lines if line]


def run(checkout: Path, variant: str, record: Path, options: argparse.Namespace, more: Sequence[str]) -> None:
    """Run the tests in one variant; a test that fails is no error here."""
    tests = checkout.resolve() / "tests"
    record.unlink(missing_ok=True)
    paths = [str(HERE), str(HERE.parents[1]), str(tests), os.environ.get("PYTHONPATH", "")]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        "LR_SUITE_VARIANT": variant,
        "LR_SUITE_RECORD": str(record),
        "LR_SUITE_PARAMETERS": str(options.parameters),
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, "-m", "pytest", "-p", "plugin", "-q", "--no-header", "--tb=short", "--disable-warnings"]
    command += ["--timeout=120", f"--session-timeout={options.minutes * 60}"]
    command += ["--continue-on-collection-errors", "-p", "no:cacheprovider", "--rootdir", str(tests)]
    command += [str(tests / "tests_pytorch" / folder) for folder in options.folders]
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([*command, *more], cwd=folder, env=environment, check=False)


def read(record: Path) -> tuple[dict[str, Record], dict[tuple[str, int], Record]]:
    """How each test ended, and each fit."""
    tests: dict[str, Record] = {}
    fits: dict[tuple[str, int], Record] = {}
    for line in map(json.loads, record.read_text(encoding="utf-8").splitlines()):
        if "fit" in line:
            fits[line["test"], line["fit"]] = line
        elif tests.get(line["test"], {}).get("outcome") != "failed":
            tests[line["test"]] = line
    return tests, fits


def compare(without: Path, with_callback: Path, allowed: Sequence[str]) -> tuple[list[str], Counter[str]]:
    """New failures and fits that differ, as sentences, and how many there were of each kind."""
    (tests, fits), (ours, our_fits) = read(without), read(with_callback)
    counts: Counter[str] = Counter(tests=len(ours), fits=len(our_fits))
    found = []
    for name, one in ours.items():
        before = tests.get(name, {}).get("outcome")
        if one["outcome"] == "failed" and before == "passed":
            listed = any(fnmatch.fnmatchcase(name, pattern) for pattern in allowed)
            counts["new failures, listed" if listed else "new failures"] += 1
            if not listed:
                found.append(f"{name} fails: {one['text'].strip().splitlines()[-1]}")
    for key, fit in our_fits.items():
        plain = fits.get(key)
        acted = fit["decided"] and with_callback.stem != "dry_run"
        if plain is None or acted:
            counts["fits with a decision" if acted else "fits without a counterpart"] += 1
            continue
        parts = [part for part in plain if part != "decided" and plain[part] != fit[part]]
        counts["fits that differ" if parts else "fits that are bit-identical"] += 1
        if parts and not any(fnmatch.fnmatchcase(key[0], pattern) for pattern in allowed):
            found.append(f"{key[0]}, fit {key[1]}: {', '.join(parts)} differ without a decision")
    return found, counts


def main() -> int:
    """Run, compare, report; 1 if something is not as it should be."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkout", type=Path, help="a checkout of Lightning, with its folder tests/tests_pytorch")
    parser.add_argument("--variants", nargs="*", default=VARIANTS)
    parser.add_argument("--folders", nargs="*", default=FOLDERS)
    parser.add_argument("--parameters", type=int, default=2, help="sets of parameters of one test, at most")
    parser.add_argument("--minutes", type=int, default=60, help="a variant is cut short after so long; default 60")
    parser.add_argument("--records", type=Path, help="keep the records here; a variant that has one is not run again")
    options, more = parser.parse_known_args()
    if not (options.checkout / "tests" / "tests_pytorch").is_dir():
        parser.error(f"expected a checkout of Lightning but {options.checkout} has no tests/tests_pytorch")
    problems = 0
    with tempfile.TemporaryDirectory() as folder:
        records = options.records or Path(folder)
        records.mkdir(parents=True, exist_ok=True)
        for variant in ("without", *options.variants):
            record = records / f"{variant}.jsonl"
            if not record.exists():
                run(options.checkout, variant, record.resolve(), options, more)
            if variant != "without":
                found, counts = compare(records / "without.jsonl", record, expected())
                problems += len(found)
                listed = ", ".join(f"{count} {what}" for what, count in counts.items())
                sys.stdout.write("\n".join([f"\n{variant}: {listed}", *(f"  {one}" for one in found)]) + "\n")
    return int(problems > 0)


if __name__ == "__main__":
    sys.exit(main())
