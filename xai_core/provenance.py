"""With what a record was made: versions of the program, of its packages and of the machine. Nobody's name."""

from __future__ import annotations

import platform
import re
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

VERSION = "0.1.0"
PACKAGES = ("torch", "torchvision", "timm", "numpy", "grad-cam", "captum", "shap", "lime", "pillow", "streamlit")


def made_with() -> dict[str, Any]:
    """`app`, `commit` (if the program runs from a checkout), `packages`, `python`, `platform`, `determinism`."""
    return {**_versions(), "determinism": determinism()}


def determinism() -> dict[str, Any]:
    """What decides in which order torch adds up numbers on this machine, as it stands now.

    `processor` is the set of instructions that it computes with, `gpu` the name of the GPU; empty where there is none.
    """
    import torch

    return {
        "deterministic_algorithms": torch.are_deterministic_algorithms_enabled(),
        "cudnn_benchmark": torch.backends.cudnn.benchmark,
        "cudnn_deterministic": torch.backends.cudnn.deterministic,
        "float32_matmul_precision": torch.get_float32_matmul_precision(),
        "threads": torch.get_num_threads(),
        "processor": torch.backends.cpu.get_cpu_capability(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "",
    }


@lru_cache(maxsize=1)
def _versions() -> dict[str, Any]:
    commit = checkout_commit(Path(__file__).resolve().parent.parent)
    return {
        "app": VERSION,
        "packages": {name: version for name in PACKAGES if (version := version_of(name))},
        "platform": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        **({"commit": commit} if commit else {}),
    }


def version_of(package: str) -> str | None:
    """Of an installed package, or None."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def checkout_commit(root: Path) -> str | None:
    """The commit checked out at `root`, read from git's own files, or None. Says nothing about local changes."""
    try:
        git = root / ".git"
        if git.is_file():  # a second worktree: the file names its real place
            git = root / git.read_text("utf-8").removeprefix("gitdir:").strip()
        head = (git / "HEAD").read_text("utf-8").strip()
        shared = git / "commondir"
        homes = [git, git / shared.read_text("utf-8").strip()] if shared.is_file() else [git]
        if head.startswith("ref:"):
            head = _branch(homes, head.removeprefix("ref:").strip())
    except (OSError, UnicodeDecodeError):
        return None
    return head if re.fullmatch(r"[0-9a-f]{40}([0-9a-f]{24})?", head) else None


def _branch(homes: list[Path], name: str) -> str:
    for home in homes:
        if (home / name).is_file():
            return (home / name).read_text("utf-8").strip()
        packed = home / "packed-refs"
        for line in packed.read_text("utf-8").splitlines() if packed.is_file() else ():
            if line.endswith(f" {name}"):
                return line.split(" ", 1)[0]
    return ""
