"""Checkpoints: files of weights, and what people record beside these.

They are read as numbers only, never run: safetensors, or torch files with `weights_only=True`. What was unwrapped or
converted on the way is said in `Checkpoint.taken`.

    read_checkpoint(path)              here
    read_apart(data, name)             in a process of its own with limited memory and time: for files from strangers
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import pickletools
import re
import subprocess
import sys
import tempfile
import threading
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import IO, Any

import torch

from xai_core.errors import ModelError

MAX_BYTES = 4 * 2**30
APART_SECONDS = 120
APART_BYTES = 256 * 2**20  # of memory beyond eight times the size of the file
NO_MEMORY = "needs more memory than there is. Save the weights alone."
AGAIN = "Save `model.state_dict()` as safetensors and try again."

# As timm does, averaged weights are taken where they are there: they are the ones that are meant to be used.
AVERAGED = ("state_dict_ema", "model_ema", "ema_state_dict", "model_ema_state_dict", "ema_model", "ema", "params_ema")
WRAPPERS = ("state_dict", "model_state_dict", "model_state", "model", "net", "network", "module", "weights", "params")
PREFIXES = ("module.", "_orig_mod.", "model.", "net.", "network.", "backbone.")
ARCHITECTURE = ("architecture", "arch", "model_name", "arch_name", "model", "backbone")
LABELS = ("label_names", "class_names", "classes", "labels", "id2label", "idx_to_class", "class_to_idx", "label2id")
PLACES = ("hyper_parameters", "args", "config", "hparams", "meta")  # where training programs put what they were told
CLEAN = "second_look"  # the metadata with which the process of `read_apart` hands weights over
MAX_LABELS = 100_000
MAX_LABEL = 200  # characters
MAX_NAME = 80  # characters of a tensor's name in a sentence
MAX_OPERATIONS = 1_000_000  # of a pickle that are looked at, only to say what it asks for: a second
MAX_CONFIG_BYTES = 16 * 2**20  # the names of all 21,842 ImageNet classes are 1 MB

_FOREIGN = {  # what a file that holds no weights may begin with
    rb"version https://git-lfs": "a pointer of Git LFS to the file, not the file itself: fetch it with `git lfs pull`",
    rb"\s*<": "a web page or XML, not weights: download the file itself",
    rb"\x1f\x8b|BZh|\xfd7zXZ|7z\xbc\xaf|\x28\xb5\x2f\xfd": "a compressed archive, not weights: unpack it first",
    rb"\x89HDF": "an HDF5 file, such as Keras writes, not weights of a torch network",
    rb".{257}ustar": "a tar archive, not weights: unpack it first",
}
_unpickling = threading.Lock()  # what torch allows beside tensors is a setting of the whole process
_apart = threading.Lock()  # one stranger's file at a time


@dataclass(frozen=True)
class Recorded:
    """What is recorded beside weights: "" and () for what is not.

    `architecture` is timm's name, `architecture_settings` what else it was made with. `labels` are one per output, in
    their order, and `labels_from` is where they stood. `preprocessing` has the keys of timm's `pretrained_cfg`.
    """

    architecture: str = ""
    architecture_settings: Mapping[str, Any] = field(default_factory=dict)
    labels: tuple[str, ...] = ()
    labels_from: str = ""
    preprocessing: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Checkpoint:
    """A file of weights. `name` is the file's, for sentences only.

    `weights` are the tensors by name: float32, whole numbers as they were. `taken` says in words what was unwrapped,
    taken off or converted to get at them.
    """

    name: str
    weights: dict[str, torch.Tensor]
    taken: tuple[str, ...] = ()
    recorded: Recorded = field(default_factory=Recorded)


def read_checkpoint(path: Path, name: str = "") -> Checkpoint:
    """The weights in a .safetensors or torch file, whatever its name ends in, and what is recorded in it.

    Raises ModelError, one sentence and what to do, for everything that is not weights by name in finite numbers.
    """
    return _widened(_as_saved(path, name or path.name))


def _as_saved(path: Path, name: str) -> Checkpoint:
    """As `read_checkpoint`, but the weights have the precision that they were saved in."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            start = file.read(512)
    except OSError:
        raise ModelError(f"There is no checkpoint {path}, or it may not be read. Check the path.") from None
    if size > MAX_BYTES:
        raise ModelError(f"{name} is larger than {MAX_BYTES >> 30} GiB. Save the weights alone.")
    if start[8:9] == b"{" and int.from_bytes(start[:8], "little") <= size:
        content, beside = _from_safetensors(path, name)
    elif start[:1] == b"\x80" or start[:2] == b"PK":
        content = _unpickled(path, name)
        beside = content if isinstance(content, Mapping) else {}
    else:
        if _is_pickle(path) and (blocked := next(_called(path), "")):
            raise _hostile(name, blocked)
        raise ModelError(f"{name} is {_kind(start)}. {AGAIN}")
    taken: list[str] = []
    weights = _plain(_unwrapped(content, name, taken), name, size)
    return Checkpoint(name, weights, tuple(taken), recorded_in(beside, "the checkpoint"))


def read_apart(data: bytes | memoryview, name: str) -> Checkpoint:
    """A checkpoint from a stranger, read by a process of its own, so that no file can take this one down.

    That process has limited memory and time. It hands over plain tensors in the precision of the file, which are
    widened here: to widen them there would need several times the memory. Raises ModelError as `read_checkpoint` does.
    """
    if not _apart.acquire(timeout=APART_SECONDS):
        raise ModelError(f"Other files are being read, and {name} had to wait too long. Try again in a minute.")
    try:
        found = _handed_over(data, name)
    finally:
        _apart.release()
    return _widened(found)


def _handed_over(data: bytes | memoryview, name: str) -> Checkpoint:
    root = Path(__file__).resolve().parent.parent
    with tempfile.TemporaryDirectory(prefix="second-look-") as folder:
        given, clean = Path(folder, "given"), Path(folder, "clean")
        with tempfile.NamedTemporaryFile(dir=folder, delete=False) as file:
            file.write(data)
        Path(file.name).rename(given)
        try:
            done = subprocess.run(
                [sys.executable, "-m", "xai_core.checkpoints", str(given), str(clean)],
                input=name.encode(errors="backslashreplace"), capture_output=True, timeout=APART_SECONDS, check=False,
                cwd=root, env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUTF8": "1"},
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise ModelError(f"Reading {name} took longer than {APART_SECONDS} s. {AGAIN}") from None
        if done.returncode == 1 and (said := done.stdout.decode(errors="replace").strip()):
            raise ModelError(said)
        if done.returncode < 0:  # a signal ended it
            raise ModelError(f"{name} could not be read within the memory that is allowed for it. {AGAIN}")
        if done.returncode:
            raise ModelError(f"{name} could not be read: it is damaged or holds what no checkpoint holds. {AGAIN}")
        weights, metadata = _from_safetensors(clean, name)
    about = json.loads(metadata[CLEAN])
    recorded = Recorded(**{**about["recorded"], "labels": tuple(about["recorded"]["labels"])})
    return Checkpoint(name, weights, tuple(about["taken"]), recorded)


def config_beside(path: Path) -> Recorded:
    """What a `config.json` in the folder of a checkpoint records, as timm and the hub write it."""
    config = path.parent / "config.json"
    if not config.is_file():
        return Recorded()
    try:
        if config.stat().st_size > MAX_CONFIG_BYTES:
            raise ValueError("it is too large")
        content = json.loads(config.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"The config.json beside {path.name} cannot be read ({error}). Mend or move it.") from error
    if not isinstance(content, Mapping):
        return Recorded()
    older = {"pretrained_cfg": content} if "mean" in content else {}  # timm's first form has all at the top
    return recorded_in({**older, **content}, "config.json")


def printable(text: str, most: int) -> str:
    """Text from a file as it may stand on a screen and in a record: one line, cut to `most` characters."""
    return "".join(one for one in " ".join(text.split()) if one.isprintable())[:most]


def clean_labels(labels: Iterable[str]) -> tuple[str, ...]:
    """Labels from a file, printable; one of which nothing is left becomes its number."""
    return tuple(printable(label, MAX_LABEL) or f"class {i}" for i, label in enumerate(labels))


def recorded_in(content: Mapping[str, Any], where: str) -> Recorded:
    """What a mapping says beside the weights, at its top or among what the training program was told."""
    places = [content, *(vars(one) if isinstance(one, argparse.Namespace) else one for one in map(content.get, PLACES))]
    found = Recorded()
    for place in (one for one in places if isinstance(one, Mapping)):
        for key in ARCHITECTURE:
            if not found.architecture and isinstance(value := place.get(key), str) and value.isprintable():
                found = replace(found, architecture=value[:200])
        cfg = place.get("pretrained_cfg")
        for source in (place, cfg if isinstance(cfg, Mapping) else {}):
            for key in LABELS:
                if not found.labels and (labels := _labels(source.get(key), source.get("label_descriptions"))):
                    found = replace(found, labels=labels, labels_from=f"{where} ({key})")
        if not found.preprocessing and isinstance(cfg, Mapping):
            found = replace(found, preprocessing=_plain_values(cfg))
        settings = place.get("model_args")
        if not found.architecture_settings and isinstance(settings, Mapping):
            found = replace(found, architecture_settings=_plain_values(settings))
    return found


def _plain_values(recorded: Mapping[Any, Any]) -> dict[str, Any]:
    """What one value or a few are; in place of all else stands its kind, so that it is refused where it is needed."""

    def is_plain(value: Any) -> bool:
        if isinstance(value, str):
            return len(value) <= 1000
        return value is None or isinstance(value, float) or (isinstance(value, int) and abs(value) < 2**63)

    def kept(value: Any) -> Any:
        few = isinstance(value, list | tuple) and len(value) <= 16 and all(map(is_plain, value))
        return value if few or is_plain(value) else f"<{type(value).__name__}>"

    return {key: kept(value) for key, value in recorded.items() if isinstance(key, str)}


def _labels(value: Any, descriptions: Any = None) -> tuple[str, ...]:
    """Labels in the order of outputs, from a list of names, names by number or numbers by name; () from all else."""
    if isinstance(value, str) and value[:1] in ("[", "{"):  # the metadata of safetensors are strings
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return ()
    if isinstance(value, Mapping):
        if value and all(isinstance(one, str) for one in value.values()):
            numbered = {_number(key): one for key, one in value.items()}
        else:
            numbered = {_number(one): key for key, one in value.items()}
        if set(numbered) != set(range(len(value))):
            return ()
        value = [numbered[i] for i in range(len(value))]
    if not isinstance(value, Sequence) or isinstance(value, str | bytes) or not 0 < len(value) <= MAX_LABELS:
        return ()
    if not all(isinstance(one, str) for one in value):
        return ()
    words = descriptions if isinstance(descriptions, Mapping) else {}
    return clean_labels(word if isinstance(word := words.get(one), str) else one for one in value)


def _number(value: Any) -> int:
    if isinstance(value, int):
        return int(value)
    return int(value) if isinstance(value, str) and re.fullmatch(r"\d{1,6}", value) else -1


# from a file to tensors by name -------------------------------------------------------------------------------------


def _from_safetensors(path: Path, name: str) -> tuple[dict[str, torch.Tensor], Mapping[str, Any]]:
    from safetensors import SafetensorError, safe_open
    from safetensors.torch import load_file

    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
        return load_file(path), metadata
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise ModelError(f"{name} is not a whole safetensors file ({_line(error)[:200]}). Save it again.") from error


def _unpickled(path: Path, name: str) -> Any:
    """What a torch file holds, read by an unpickler that makes tensors and plain values and calls nothing else.

    The one class allowed beside is that in which timm's training program keeps its arguments: it only holds values.
    """
    _check_archive(path, name)
    try:
        with _unpickling, torch.serialization.safe_globals([argparse.Namespace]), path.open("rb") as file:
            return torch.load(file, map_location="cpu", weights_only=True)  # of a path, torch would go by its suffix
    except Exception as error:  # a hostile or damaged pickle can raise anything; none of it has been run
        reason = _line(error)
        if _is_out_of_memory(error):
            raise ModelError(f"{name} {NO_MEMORY}") from error
        said = re.search(r"(?:GLOBAL|function|class) [`<]?(?:class |function )?'?([\w.]+)", reason)
        unread = "Unsupported operand" in reason  # of a later kind of pickle: its bytes say what it asks for
        if blocked := said.group(1) if said else next(_called(path), "") if unread else "":
            raise _hostile(name, blocked) from error
        if unread:
            raise ModelError(f"{name} is a pickle of a kind that cannot be read as numbers alone. {AGAIN}") from error
        raise ModelError(f"{name} is not a torch checkpoint or is damaged. {AGAIN}") from error


def _hostile(name: str, blocked: str) -> ModelError:
    if "." not in blocked or blocked.startswith("__builtin__."):
        blocked = f"builtins.{blocked.rpartition('.')[2]}"
    return ModelError(
        f"{name} holds more than weights: it asks for {blocked}, and was refused, since loading it could run code. "
        f"{AGAIN}"
    )


def _is_out_of_memory(error: BaseException) -> bool:
    return isinstance(error, MemoryError) or "memory" in _line(error)


def _is_pickle(path: Path) -> bool:
    """Whether a file reads as a pickle to its end, also of the kinds that begin with no mark."""
    with path.open("rb") as file:
        try:
            return any(one.name == "STOP" for one, _, _ in itertools.islice(pickletools.genops(file), MAX_OPERATIONS))
        except Exception:  # no pickle: the bytes can mean anything
            return False


def _check_archive(path: Path, name: str) -> None:
    """Refuse an archive that is no checkpoint, or would become larger than it is, before anything is unpacked."""
    with path.open("rb") as file:
        if file.read(2) != b"PK":
            return
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise ModelError(f"{name} is damaged. {AGAIN}") from error
    if any(entry.filename.endswith("constants.pkl") for entry in entries):
        raise ModelError(f"{name} is a TorchScript program, not weights. {AGAIN}")
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise ModelError(f"{name} is a compressed archive, not a checkpoint. {AGAIN}")
    if sum(entry.file_size for entry in entries) > path.stat().st_size:
        raise ModelError(f"{name} declares far more numbers than it holds. {AGAIN}")


def _called(path: Path) -> Iterator[str]:
    """Names of what a pickle asks for beside tensors and plain values, read from its bytes: nothing is looked up."""
    with path.open("rb") as file:
        if file.read(2) == b"PK":
            with zipfile.ZipFile(path) as archive:
                entry = next((one for one in archive.namelist() if one.endswith("data.pkl")), "")
                data: bytes | IO[bytes] = archive.read(entry) if entry else b""
            yield from _globals(data)
        else:
            file.seek(0)
            yield from _globals(file)


def _globals(pickled: bytes | IO[bytes]) -> Iterator[str]:
    texts, memo = list[str](), dict[int, str]()
    try:
        for operation, value, _ in itertools.islice(pickletools.genops(pickled), MAX_OPERATIONS):
            found = ""
            if "UNICODE" in operation.name or "STRING" in operation.name:
                texts.append(str(value))
            elif operation.name == "MEMOIZE":
                memo[len(memo)] = texts[-1] if texts else ""
            elif operation.name in ("BINPUT", "LONG_BINPUT"):
                memo[int(value or 0)] = texts[-1] if texts else ""
            elif operation.name in ("BINGET", "LONG_BINGET"):
                texts.append(memo.get(int(value or 0), ""))
            elif operation.name == "STACK_GLOBAL":
                found = ".".join(texts[-2:])
            elif operation.name in ("GLOBAL", "INST"):
                found = str(value).replace(" ", ".")
            found = printable(found, 100)
            if found and not found.startswith(("torch.", "collections.OrderedDict", "argparse.Namespace")):
                yield found
    except Exception:  # damaged: what was found until here is all that there is
        return


def _unwrapped(content: Any, name: str, taken: list[str]) -> dict[str, torch.Tensor]:
    """The tensors by name, taken out of what they are wrapped in; `taken` is told of it."""
    for _ in range(4):
        if not isinstance(content, Mapping):
            break
        wrapped = [key for key in (*AVERAGED, *WRAPPERS) if isinstance(content.get(key), Mapping) and content[key]]
        if not wrapped:
            break
        other = next((key for key in wrapped[1:] if key in WRAPPERS), "") if wrapped[0] in AVERAGED else ""
        beside = f" (weights averaged over training, rather than its {other!r})" if other else ""
        taken.append(f"its {wrapped[0]!r}{beside}")
        content = content[wrapped[0]]
    if not isinstance(content, Mapping) or not content:
        raise ModelError(f"{name} holds no weights by name. {AGAIN}")
    strange = [str(key) for key, value in content.items() if not isinstance(value, torch.Tensor)]
    if strange:
        raise ModelError(f"{name} holds {printable(strange[0], MAX_NAME)!r}, which is no tensor. {AGAIN}")
    weights = {str(key): value for key, value in content.items()}
    if "n_averaged" in weights and all(key.startswith("module.") for key in weights if key != "n_averaged"):
        del weights["n_averaged"]  # torch's AveragedModel counts in it
        taken.append("without its 'n_averaged'")
    while prefix := next((one for one in PREFIXES if all(key.startswith(one) for key in weights)), ""):
        weights = {key.removeprefix(prefix): value for key, value in weights.items()}
        taken.append(f"without the prefix {prefix!r}")
    return weights


def _plain(weights: dict[str, torch.Tensor], name: str, size: int) -> dict[str, torch.Tensor]:
    """Them detached, once it is known that they are plain and that the file of `size` bytes really holds them."""
    for key, value in weights.items():
        strange = value.is_quantized or value.is_complex() or str(value.dtype).startswith("torch.bits")
        if value.layout != torch.strided or value.device.type != "cpu" or strange:
            raise ModelError(f"{name}: {printable(key, MAX_NAME)} is not a plain tensor. {AGAIN}")
    if sum(value.numel() * value.element_size() for value in weights.values()) > 4 * size + 2**20:
        raise ModelError(f"{name} declares far more numbers than it holds. {AGAIN}")
    return {key: value.detach() for key, value in weights.items()}


def _widened(found: Checkpoint) -> Checkpoint:
    """With all weights as float32 or whole numbers, which is said. Raises ModelError where one is not finite."""
    kinds = {str(v.dtype).removeprefix("torch.") for v in found.weights.values() if v.is_floating_point()}
    said = [f"{'narrowed' if one == 'float64' else 'widened'} from {one}" for one in sorted(kinds - {"float32"})]
    weights = {key: v.float() if v.is_floating_point() else v for key, v in found.weights.items()}
    for key, value in weights.items():
        if value.is_floating_point() and not torch.isfinite(value).all():
            shown = printable(key, MAX_NAME)
            raise ModelError(f"{found.name}: {shown} holds values that are not numbers. Save the weights again.")
    return replace(found, weights=weights, taken=(*found.taken, *said))


def _kind(start: bytes) -> str:
    if not start:
        return "empty"
    return next((what for magic, what in _FOREIGN.items() if re.match(magic, start, re.DOTALL)), "no torch checkpoint")


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())


# apart --------------------------------------------------------------------------------------------------------------


def _limit(size: int) -> None:
    """From here on, this process may take as much memory, disk and time as a file of `size` bytes needs, no more."""
    try:
        import resource

        pages = int(Path("/proc/self/statm").read_text().split()[5])
    except (ImportError, OSError):  # not on this system: the time is limited all the same
        return
    most = pages * resource.getpagesize() + 8 * size + APART_BYTES
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))
    resource.setrlimit(resource.RLIMIT_FSIZE, (4 * size + APART_BYTES,) * 2)  # tied weights are written one by one
    resource.setrlimit(resource.RLIMIT_CPU, (APART_SECONDS + 10,) * 2)  # should nobody be left to give it up
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _main(given: str, clean: str) -> int:
    """Read the checkpoint `given`, and write it to `clean` as plain tensors; or print one sentence why not."""
    from safetensors.torch import save_file

    name, said = sys.stdin.read(), ""
    _limit(os.path.getsize(given))
    try:
        found = _as_saved(Path(given), name)
        about = {"taken": found.taken, "recorded": asdict(found.recorded)}
        save_file(_apart_from_one_another(found.weights), clean, {CLEAN: json.dumps(about)})
    except ModelError as error:
        said = str(error)
    except Exception as error:
        if not _is_out_of_memory(error):
            raise
        said = f"{name} {NO_MEMORY}"
    sys.stdout.buffer.write(said.encode(errors="backslashreplace"))
    return 1 if said else 0


def _apart_from_one_another(weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Them as safetensors takes them: in order, none in the memory of another. Only what must be is copied."""
    apart, places = dict[str, torch.Tensor](), set[int]()
    for key, value in weights.items():
        place = value.untyped_storage().data_ptr()
        alone = value.is_contiguous() and place not in places
        apart[key] = value if alone else value.clone(memory_format=torch.contiguous_format)
        places.add(place)
    return apart


if __name__ == "__main__":
    sys.exit(_main(*sys.argv[1:]))
