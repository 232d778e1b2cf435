# SPDX-License-Identifier: Apache-2.0
"""What this machine offers and what moekit makes of it: processor, memory, threads, backends, and the reasons."""
from __future__ import annotations

import os
import platform
import sys
from pathlib import Path

from .. import __version__, _core, get_num_threads

HELP = "this machine, the backends, and why each is used or not"


def add_arguments(parser) -> None:
    del parser


def _read(path, default=None):
    try:
        return Path(path).read_text().strip()
    except OSError:
        return default


def cpu_model() -> str:
    for line in (_read("/proc/cpuinfo") or "").splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def memory_bytes() -> dict[str, int]:
    """Total and available RAM, from /proc/meminfo."""
    fields = dict(line.split(":", 1) for line in (_read("/proc/meminfo") or "").splitlines() if ":" in line)
    kib = lambda name: int(fields.get(name, "0").split()[0]) * 1024  # noqa: E731
    return {"total": kib("MemTotal"), "available": kib("MemAvailable")}


def _cgroup_cpus():
    """Quota of CPU time of this process's cgroup in CPUs, None without one (cgroup v2, then v1)."""
    for line in (_read("/proc/self/cgroup") or "").splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers:
            quota = (_read(f"/sys/fs/cgroup{path}/cpu.max") or _read("/sys/fs/cgroup/cpu.max") or "max 1").split()
            if quota[0] != "max":
                return int(quota[0]) / int(quota[1])
        elif "cpu" in controllers.split(","):
            quota, period = (_read(f"/sys/fs/cgroup/cpu{path}/cpu.cfs_{part}_us", "-1") for part in ("quota", "period"))
            if int(quota) > 0 and int(period) > 0:
                return int(quota) / int(period)
    return None


def _threads(cpu) -> dict:
    return {
        "layers_use": get_num_threads(),
        "online": os.cpu_count(),
        "affinity": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
        "cgroup_cpus": _cgroup_cpus(),
        "available": cpu["available_cpus"],
        "MOEKIT_NUM_THREADS": os.environ.get("MOEKIT_NUM_THREADS"),
    }


def _amx(cpu) -> dict:
    has = " amx_bf16" in (_read("/proc/cpuinfo") or "")
    if cpu["features"]["amx"]:
        return {"present": True, "permitted": True, "reason": ""}
    if not has:
        return {"present": False, "permitted": False, "reason": "the processor has no AMX (amx_bf16)"}
    return {"present": True, "permitted": False,
            "reason": "the kernel refused the tile state (arch_prctl ARCH_REQ_XCOMP_PERM)"}


def _isas(cpu) -> list[dict]:
    rows = []
    for name in cpu.get("isas", []):
        usable = name in cpu["usable_isas"]
        chosen = [dtype for dtype, isa in cpu["chosen"].items() if isa == name]
        if chosen:
            reason = "chosen for " + ", ".join(chosen)
            reason += f" (MOEKIT_ISA={os.environ['MOEKIT_ISA']})" if os.environ.get("MOEKIT_ISA") else ""
        elif usable:
            reason = "usable; a better one is chosen"
        elif name == "amx":
            reason = _amx(cpu)["reason"] or "lacks avx512bf16"
        else:
            reason = f"the processor lacks {name}"
        rows.append({"name": name, "usable": usable, "chosen_for": chosen, "reason": reason})
    return rows


def run(_args):
    cpu = _core.cpu()
    huge = _read("/sys/kernel/mm/transparent_hugepage/enabled", "not known")
    nodes = sorted(p.name for p in Path("/sys/devices/system/node").glob("node[0-9]*"))
    onednn = _core.onednn_version
    return {
        "moekit": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu": {"model": cpu_model(), "features": cpu["features"], "l2_bytes": cpu["l2_bytes"]},
        "isas": _isas(cpu),
        "amx": _amx(cpu),
        "threads": _threads(cpu),
        "memory": memory_bytes(),
        "numa_nodes": len(nodes) or 1,
        "huge_pages": huge[huge.find("[") + 1:huge.find("]")] if "[" in huge else huge,
        "onednn": {"version": onednn, "lost": "" if onednn else "its matmul as a peer in the benchmarks; no layer"},
        "formats": _core.weight_formats(),
        "families": _core.model_families(),
        "backends": _core.backends(),
    }, 0


def _line(name, value) -> str:
    return f"{name:<14} {value}"


def _mark(good) -> str:
    fancy = (sys.stdout.encoding or "").lower().startswith("utf")
    return ("✓" if good else "✗") if fancy else ("+" if good else "-")


def render(f) -> str:
    threads, memory = f["threads"], f["memory"]
    quota = "no cgroup limit" if threads["cgroup_cpus"] is None else f"cgroup limit {threads['cgroup_cpus']:g}"
    amx = f["amx"]
    lines = [
        _line("moekit", f"{f['moekit']} (Python {f['python']}, {f['platform']})"),
        _line("processor", f"{f['cpu']['model']}, {f['cpu']['l2_bytes'] // 1024} KiB of L2 a core"),
        _line("features", ", ".join(k for k, v in f["cpu"]["features"].items() if v) or "none that kernels use"),
        _line("AMX", "permitted" if amx["permitted"] else amx["reason"]),
        _line("threads", f"{threads['layers_use']} (online {threads['online']}, affinity {threads['affinity']}, {quota})"),
        _line("memory", f"{memory['total'] / 2**30:.1f} GiB, {memory['available'] / 2**30:.1f} GiB available"),
        _line("NUMA nodes", f["numa_nodes"]),
        _line("huge pages", f["huge_pages"]),
        _line("oneDNN", f["onednn"]["version"] or f"not built in; lost: {f['onednn']['lost']}"),
        _line("formats", ", ".join(f["formats"])),
        _line("families", ", ".join(f["families"])),
    ]
    lines += ["", "CPU kernels"] + [f"  {_mark(i['usable'])} {i['name']:<12} {i['reason']}" for i in f["isas"]]
    lines += ["", "backends"] + [
        f"  {_mark(b['available'])} {b['name']:<12} {b['device']}" + (f": {b['reason']}" if b["reason"] else "")
        for b in f["backends"]]
    return "\n".join(lines)
