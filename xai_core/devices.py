"""Where a network runs, how exactly, and how many pictures fit there at once."""

from __future__ import annotations

import torch

from xai_core.errors import SettingError

# Memory that one batch may use. On a CPU larger batches are slower, not faster: activations leave the cache, and the
# allocator gives them back to the system after every pass. Fixed, so that the same work is always split the same way.
CPU_BATCH_BYTES = 256 * 2**20
CPU_BATCH_LIMIT = 32
OUT_OF_MEMORY = ("DefaultCPUAllocator: can't allocate", "out of memory", "ALLOC_FAILED")  # as torch words it
GPU_MEMORY_FRACTION = 0.5  # of what is free when the model is loaded
GPU_BATCH_LIMIT = 256


def best_device() -> str:
    """The fastest device of this machine: cuda, mps or cpu."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def usable_device(name: str) -> torch.device:
    """The device of that name, set to exact arithmetic; raises SettingError where this machine has none."""
    present = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not present.get(name.partition(":")[0], False):
        choices = " or ".join(kind for kind, here in present.items() if here)
        raise SettingError(f"This machine has no device {name!r}. Choose {choices}.")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise SettingError(f"{name!r} names no device. Write cpu, cuda, cuda:1 or mps.") from None
    if device.type == "cuda":  # exact and repeatable before fast
        torch.backends.cuda.matmul.fp32_precision = "ieee"
        torch.backends.cudnn.conv.fp32_precision = "ieee"  # type: ignore[attr-defined]
        torch.backends.cudnn.benchmark = False
        torch.backends.cudnn.deterministic = True
    return device


def memory_order(device: torch.device) -> torch.memory_format:
    """How pictures and weights lie in memory: on a CPU channels last, in which convolutions are faster."""
    return torch.channels_last if device.type == "cpu" else torch.contiguous_format


def batch_that_fits(device: torch.device, picture_bytes: int) -> int:
    """How many pictures whose activations take `picture_bytes` each go through at once."""
    if device.type != "cuda":
        return max(1, min(CPU_BATCH_LIMIT, CPU_BATCH_BYTES // picture_bytes))
    free, _ = torch.cuda.mem_get_info(device)
    return max(1, min(GPU_BATCH_LIMIT, int(free * GPU_MEMORY_FRACTION) // picture_bytes))


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether torch says that the device, or the machine, has no memory left."""
    return isinstance(error, torch.OutOfMemoryError) or any(words in str(error) for words in OUT_OF_MEMORY)
