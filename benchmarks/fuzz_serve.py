"""Call a server by its own OpenAPI document with generated requests, good and bad: `fuzz_serve.py [--cases 10000]`.

schemathesis makes the requests and checks each answer: its status and media type are documented, its body fits the
schema, a malformed request is refused, an unknown method is refused. Afterwards the server must be ready, must have
answered no 500, and must have written nothing to its log.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from serve_process import Server, ask, get, running

CHECKS = (
    "not_a_server_error", "status_code_conformance", "content_type_conformance", "response_headers_conformance",
    "response_schema_conformance", "negative_data_rejection", "unsupported_method", "allow_header_conformance",
)  # fmt: skip
"""All but those of logins, of resources that are made and deleted, and of acceptance: random bytes are no image."""

REFUSALS = ("400", "401", "403", "404", "405", "408", "413", "415", "421", "422", "503", "504")
"""With which a wrong request may be refused; schemathesis by itself does not count 413 for too many images."""


@dataclass(frozen=True)
class Fuzzed:
    """What some runs gave.

    Attributes:
        cases: requests that were generated, but for those of a run that found a fault.
        by_status: how many answers of each status the server counted.
        faults: what went wrong, a text each.
    """

    cases: int
    by_status: dict[str, int]
    faults: tuple[str, ...]


def fuzz(cases: int, *, seed: int, examples: int = 100) -> Fuzzed:
    """Generate requests until there are this many, or a fault.

    Args:
        cases: how many, at least.
        seed: of the first run; each further run takes the next.
        examples: generated requests for each operation in a run.
    """
    generated, faults = 0, list[str]()
    with running() as server:
        while generated < cases and not faults:
            report = _schemathesis(server, seed=seed, examples=examples)
            counted = re.search(r"([\d,]+) generated, ([\d,]+) passed\n", report)
            if counted is None or counted[1] != counted[2]:
                faults.append(report)
            else:
                generated += int(counted[1].replace(",", ""))
            seed += 1
        if ask(server.port, get("/v2/health/ready")).status != 200:
            faults.append("the server is not ready afterwards")
        by_status = statuses(ask(server.port, get("/metrics")).body.decode())
        if any(status.startswith("5") and status not in {"503", "504"} for status in by_status):
            faults.append(f"answers by status: {by_status}")
        if log := server.errors.read_text():
            faults.append(f"the server's log: {log[:2000]}")
    return Fuzzed(generated, by_status, tuple(faults))


def statuses(metrics: str) -> dict[str, int]:
    """How often each status was answered, by `/metrics`."""
    counts: dict[str, int] = {}
    for status, count in re.findall(r'^singleshot_requests_total\{.*status="(\d+)"\} (\S+)$', metrics, re.MULTILINE):
        counts[status] = counts.get(status, 0) + int(float(count))
    return dict(sorted(counts.items()))


def _schemathesis(server: Server, *, seed: int, examples: int) -> str:
    address = f"http://localhost:{server.port}"
    program = "from schemathesis.cli import schemathesis; schemathesis()"
    command = [sys.executable, "-c", program, "run", f"{address}/openapi.json"]
    options = [
        "--checks", ",".join(CHECKS), "--phases", "examples,coverage,fuzzing", "--max-examples", str(examples),
        "--seed", str(seed), "--continue-on-failure", "--warnings", "off", "--no-color",
        "--generation-database", "none",
    ]  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:  # it reads its settings where it runs, and keeps notes there
        refusals = f"[checks]\nnegative_data_rejection.expected-statuses = {json.dumps(REFUSALS)}\n"
        Path(folder, "schemathesis.toml").write_text(refusals)
        run = subprocess.run(  # noqa: S603  (our own arguments)
            [*command, *options], cwd=folder, capture_output=True, text=True, timeout=1800, check=False
        )
    return run.stdout + run.stderr


def main() -> int:
    """Run it from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    result = fuzz(options.cases, seed=options.seed)
    print(f"{result.cases} requests; answers by status: {result.by_status}")
    for fault in result.faults:
        print(fault)
    return bool(result.faults)


if __name__ == "__main__":
    sys.exit(main())
