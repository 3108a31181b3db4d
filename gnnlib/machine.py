"""What this machine and this installation are: CPU, threads, huge pages, versions, commit."""

from __future__ import annotations

import functools
import importlib.metadata
import os
import platform
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

#: Environment variable by which torch's CPU allocator asks the kernel for huge pages. Read once, at start.
HUGE_PAGES_VARIABLE = "THP_MEM_ALLOC_ENABLE"
_HUGE_PAGES_FILE = Path("/sys/kernel/mm/transparent_hugepage/enabled")


@dataclass(frozen=True)
class HugePages:
    """Whether large CPU tensors get huge pages: torch must ask, and the kernel must grant.

    Attributes:
        asked: the environment variable is on in this process.
        kernel: the kernel's setting, ``always``, ``madvise`` or ``never``; None where it has none.
    """

    asked: bool
    kernel: str | None

    @property
    def on(self) -> bool:
        """Large tensors are on huge pages."""
        return self.kernel == "always" or (self.asked and self.kernel == "madvise")


def huge_pages() -> HugePages:
    """The huge-page setting of this process."""
    try:
        found = re.search(r"\[(\w+)\]", _HUGE_PAGES_FILE.read_text())
    except OSError:
        found = None
    asked = os.environ.get(HUGE_PAGES_VARIABLE, "0") == "1"
    return HugePages(asked, found.group(1) if found else None)


@functools.cache
def cpu_name() -> str:
    """The CPU's model name."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.lower().startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass  # not Linux
    return platform.processor() or platform.machine() or "unknown CPU"


def cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def version(distribution: str) -> str | None:
    """Installed version of a distribution, or None."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


@functools.cache
def commit() -> str | None:
    """The git commit that gnnlib runs from, with ``+`` for local changes; None for an installed copy."""
    source = Path(__file__).resolve().parents[1]
    if not (source / ".git").exists():
        return None

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(source), *arguments], capture_output=True, text=True, check=True, timeout=20
        ).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no")
        return git("rev-parse", "--short=12", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.SubprocessError):
        return None
