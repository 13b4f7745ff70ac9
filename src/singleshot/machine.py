"""What the machine lends to this process: processor, cores, memory. Files of the system tell; nothing heavy loads."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

Number = TypeVar("Number", int, float)

FEATURES = ("avx2", "avx512f", "avx512_", "avx_vnni", "amx", "asimddp", "bf16", "i8mm", "sve")
"""How the flags of x86 and ARM processors begin that decide about fp32, bf16 and int8 rates."""


def usable_cores() -> int:
    """How many cores this process may use, at least 1; containers and taskset may leave fewer than the machine has."""
    return (len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()) or 1


def processor_name(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """The processor's name; on ARM boards that of the board, or of the architecture."""
    fields = _cpuinfo(cpuinfo)
    return fields.get("model name") or fields.get("Model") or platform.processor() or platform.machine()


def processor_features(cpuinfo: Path = Path("/proc/cpuinfo")) -> list[str]:
    """Those of `FEATURES` that the processor has (Linux; elsewhere none is told)."""
    fields = _cpuinfo(cpuinfo)
    flags = (fields.get("flags") or fields.get("Features") or "").split()
    return sorted({flag for flag in flags if flag.startswith(FEATURES)})


def core_quota(groups: Path = Path("/sys/fs/cgroup"), membership: Path = Path("/proc/self/cgroup")) -> float | None:
    """Cores' worth of time that a container may use (cgroup v2), such as 1.5; None: no quota."""

    def cores(text: str) -> float:
        quota, period = text.split()
        return float(quota) / float(period)

    return _least_of_groups("cpu.max", cores, groups, membership)


def memory_limit(groups: Path = Path("/sys/fs/cgroup"), membership: Path = Path("/proc/self/cgroup")) -> int | None:
    """Bytes that a container may use (cgroup v2); None: no limit."""
    return _least_of_groups("memory.max", int, groups, membership)


def memory(meminfo: Path = Path("/proc/meminfo")) -> dict[str, int]:
    """Bytes of memory: `total`, and on Linux `available`; empty where the system does not tell."""
    if meminfo.exists():
        fields = dict(line.split(":", 1) for line in meminfo.read_text().splitlines() if ":" in line)
        names = {"total": "MemTotal", "available": "MemAvailable"}
        return {key: 1024 * int(fields[name].split()[0]) for key, name in names.items() if name in fields}
    try:
        return {"total": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")}
    except (AttributeError, ValueError, OSError):  # Windows has no sysconf
        return {}


def _cpuinfo(path: Path) -> dict[str, str]:
    """The fields of the first core that has each."""
    fields: dict[str, str] = {}
    if path.exists():
        for line in path.read_text(errors="replace").splitlines():
            name, _, value = line.partition(":")
            fields.setdefault(name.strip(), value.strip())
    return fields


def _least_of_groups(file: str, number: Callable[[str], Number], groups: Path, membership: Path) -> Number | None:
    """The least value of a limit in this process's control group and the groups around it; `max` is no limit."""
    try:
        own = next(line[3:] for line in membership.read_text().splitlines() if line.startswith("0::"))
    except (OSError, StopIteration):
        return None
    inside: Path = groups / own.strip("/")
    values = []
    for group in (inside, *inside.parents):
        if not group.is_relative_to(groups):
            break
        try:
            text = (group / file).read_text()
        except OSError:
            continue
        if not text.startswith("max"):
            values.append(number(text))
    return min(values, default=None)
