"""A run as one value: verdicts, settings, environment; to JSON and back without loss."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import math
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from rpstheory.claim import Verdict
from rpstheory.report.decode import decode, encode
from rpstheory.report.files import check_writable, write_text
from rpstheory.statistics import FALSE_CONFIRM, FALSE_REFUTE_SUITE

if TYPE_CHECKING:
    from rpstheory.claim import Setting

__all__ = [
    "SCHEMA",
    "Environment",
    "Report",
    "Settings",
    "Summary",
    "check_writable",
    "from_json",
    "this_environment",
    "to_json",
    "write_text",
]

SCHEMA = "rpstheory.report/1"
_PACKAGES = ("numpy", "scipy", "numba", "joblib", "scikit-learn", "matplotlib", "distributed")


@dataclass(frozen=True)
class Environment:
    """What the run ran on; names nobody and no place.

    Attributes:
        python: Version and implementation.
        packages: Version of each package that takes part.
        platform: Operating system and kind of processor.
        cpu: Model of the processor.
        cores: Usable by this process.
    """

    python: str
    packages: dict[str, str]
    platform: str
    cpu: str
    cores: int


@dataclass(frozen=True)
class Settings:
    """What was asked for.

    Attributes:
        data: Name of the data; of a file its last part.
        rows: Number of data vectors.
        n: Entries per vector.
        fingerprint: First 16 hexadecimal digits of the SHA-256 of the vectors (float64).
        compressions: n/m.
        claims: Names of the claims put to the test.
        discrepancy: Relative difference worth catching.
        false_refute: Chance of the whole suite to refute anything true.
        false_confirm: Chance of a check to confirm what is off by its discrepancy.
        backend: numpy, numba or cupy.
        jobs: Local worker processes.
        cluster: Whether a cluster did the work.
    """

    data: str
    rows: int
    n: int
    fingerprint: str
    compressions: tuple[float, ...]
    claims: tuple[str, ...]
    discrepancy: float
    false_refute: float = FALSE_REFUTE_SUITE
    false_confirm: float = FALSE_CONFIRM
    backend: str = "numpy"
    jobs: int = 1
    cluster: bool = False

    @staticmethod
    def of(
        setting: Setting,
        claims: Sequence[str],
        discrepancy: float,
        *,
        backend: str,
        jobs: int = 1,
        cluster: bool = False,
    ) -> Settings:
        """The settings of a run, without paths.

        Args:
            setting: Data, compressions and seed.
            claims: Names of the claims put to the test.
            discrepancy: Relative difference worth catching.
            backend: numpy, numba or cupy, resolved.
            jobs: Local worker processes.
            cluster: Whether a cluster does the work.
        """
        return Settings(
            data=_without_folder(setting.data),
            rows=len(setting.rows),
            n=setting.n,
            fingerprint=hashlib.sha256(setting.rows.tobytes()).hexdigest()[:16],
            compressions=tuple(float(c) for c in setting.compressions),
            claims=tuple(claims),
            discrepancy=float(discrepancy),
            backend=backend,
            jobs=jobs,
            cluster=cluster,
        )


@dataclass(frozen=True)
class Summary:
    """Counts over verdicts.

    Attributes:
        checks: All of them.
        confirmed: With this status.
        required_failures: Confirmed checks outside a claim's scope: it fails there, as it must.
        refuted: With this status.
        inconclusive: With this status.
        draws: Over all checks.
        worker_seconds: Over all checks.
    """

    checks: int
    confirmed: int
    required_failures: int
    refuted: int
    inconclusive: int
    draws: int
    worker_seconds: float

    @staticmethod
    def of(verdicts: Sequence[Verdict]) -> Summary:
        """Count."""
        status = [v.status for v in verdicts]
        return Summary(
            checks=len(status),
            confirmed=status.count("confirmed"),
            required_failures=sum(v.status == "confirmed" and v.scope == "outside" for v in verdicts),
            refuted=status.count("refuted"),
            inconclusive=status.count("inconclusive"),
            draws=sum(v.draws for v in verdicts),
            worker_seconds=math.fsum(v.seconds for v in verdicts),
        )


@dataclass(frozen=True)
class Report:
    """Everything one run found, and under what conditions.

    Attributes:
        verdicts: One per check, in order.
        settings: What was asked for.
        environment: What it ran on.
        seed: Names the whole experiment.
        started: ISO 8601, UTC.
        seconds: Wall-clock time.
        schema: Name and version of the JSON layout.
    """

    verdicts: tuple[Verdict, ...]
    settings: Settings
    environment: Environment
    seed: int
    started: str
    seconds: float
    schema: str = SCHEMA

    @property
    def summary(self) -> Summary:
        """Counts over the verdicts."""
        return Summary.of(self.verdicts)


def now() -> str:
    """The time in UTC, to the second, ISO 8601."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def this_environment() -> Environment:
    """Python, packages and processor of this process."""
    return Environment(
        python=f"{platform.python_version()} ({platform.python_implementation()})",
        packages=_versions(),
        platform=f"{_system()}, {platform.machine()}",
        cpu=_cpu(),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
    )


def to_json(report: Report) -> str:
    """The report as JSON text, one verdict a line; numbers that are not finite become null.

    Args:
        report: Any report.

    Returns:
        Strictly valid JSON; ``from_json`` gives back an equal report if all its numbers are finite.

    Source: docs/report-schema.md.
    """
    record = encode(report)
    verdicts = ",\n  ".join(_dumps(v) for v in record.pop("verdicts"))
    summary = encode(report.summary)
    head = {k: record[k] for k in ("schema", "started", "seconds", "seed")}
    head |= {"summary": summary, "settings": record["settings"], "environment": record["environment"]}
    lines = [f" {json.dumps(key)}: {_dumps(value)}" for key, value in head.items()]
    body = f"[\n  {verdicts}\n ]" if verdicts else "[]"
    return "{\n" + ",\n".join([*lines, f' "verdicts": {body}']) + "\n}\n"


def from_json(text: str) -> Report:
    """The report that :func:`to_json` wrote; null in place of a number becomes nan.

    Args:
        text: The whole file.

    Raises:
        DataError: If the text is not such a report.
    """
    from rpstheory.errors import DataError

    try:
        record = json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise DataError(f"report: not JSON ({error}); pass a file that --json wrote") from None
    if not isinstance(record, dict) or record.get("schema") != SCHEMA:
        found = record.get("schema") if isinstance(record, dict) else type(record).__name__
        raise DataError(f"report: schema {found!r} came, {SCHEMA!r} is needed; write it again")
    known = {f.name for f in fields(Report)}
    return decode(Report, {k: v for k, v in record.items() if k in known}, "report")


def _dumps(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8", "backslashreplace").decode()  # a lone surrogate: as JSON escapes it


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not a JSON number")


def _without_folder(data: str) -> str:
    return PurePath(data.replace("\\", "/")).name or data


def _versions() -> dict[str, str]:
    from rpstheory import __version__

    found = {"rpstheory": __version__}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _system() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        return platform.system()


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()
