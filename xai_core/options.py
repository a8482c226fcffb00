"""What several commands share: their options, and how these are read."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

import xai_core as xai
from xai_core.errors import SettingError
from xai_core.records import Image, Prediction, Target
from xai_core.registry import Registry, settings

ALL = "all"  # for methods and metrics
DEMO = "demo-xray"
STOPPED = 130  # what a shell expects of a command that was interrupted

ModelName = Annotated[
    str,
    typer.Option(
        "--model",
        help="A demo model, one of SECOND_LOOK_MODELS or any timm architecture; demo-xray, or the architecture that "
        "--checkpoint records, by default",
    ),
]
Checkpoint = Annotated[Path | None, typer.Option(help="Weights for a timm architecture: .safetensors or .pth")]
Labels = Annotated[Path | None, typer.Option(help="A text file, one label a line")]
Task = Annotated[
    str | None,
    typer.Option(
        help="What the outputs mean: single label, multi label (the default for a single output) or regression"
    ),
]
RandomWeights = Annotated[
    bool, typer.Option("--random-weights", "--no-pretrained", help="Draw the weights at random from --seed")
]
MethodNames = Annotated[str, typer.Option("--method", help="One method, several with commas between, or all")]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set", help="A setting, such as steps=64, for every chosen method that has it", metavar="NAME=VALUE"
    ),
]
Layer = Annotated[str, typer.Option(help="Where class activation methods read: one layer, or several")]
TargetName = Annotated[str | None, typer.Option(help="A class by name or number; the predicted one by default")]
TargetNames = Annotated[
    list[str] | None,
    typer.Option(
        "--target", help="A class by name or number, again for one more, or all; the predicted one by default"
    ),
]
Kind = Annotated[str, typer.Option(help="What of it: logit, probability, or contrast with --against")]
Against = Annotated[str | None, typer.Option(help="For a contrast: the other class, by name or number")]
Background = Annotated[
    Path | None, typer.Option(help="A folder of pictures, for methods that compare with --set background=pictures")
]
Split = Annotated[str, typer.Option(help="Only pictures of this split")]
Where = Annotated[
    list[str] | None, typer.Option(help="Only pictures of this group, such as family=xray", metavar="COLUMN=VALUE")
]
Seed = Annotated[int, typer.Option(help="For everything random")]
Device = Annotated[str | None, typer.Option(help="cuda, mps or cpu; the fastest of this machine by default")]


def model_name(given: str, checkpoint: Path | None) -> str:
    """Which model is meant: the given one, else that which the checkpoint records, else a demo model."""
    return given or ("" if checkpoint is not None else DEMO)


def named_methods(methods: str) -> list[str]:
    """The names in a list with commas, or all of them, family by family."""
    from xai_core.validity import by_family

    if methods == ALL:
        return [method.name for method in by_family(map(xai.METHODS.build, xai.METHODS))]
    return names_in(methods)


def names_in(text: str) -> list[str]:
    """The names in a list with commas."""
    return [name.strip() for name in text.split(",")]


def with_settings(registry: Registry[Any], names: Sequence[str], pairs: Sequence[str]) -> list[Any]:
    """The methods or metrics, each with those settings that it has. A setting that none of them has is refused."""
    given = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals:
            raise SettingError(f"{pair!r} is no setting. Write it as name=value, for example steps=64.")
        given[key.strip()] = value.strip()
    has = {name: {field.name for field in settings(registry[name])} for name in names}
    for key in given:
        if not any(key in own for own in has.values()):
            known = ", ".join(sorted(set().union(*has.values()))) or "none"
            asked = names[0] if len(names) == 1 else f"None of the chosen {registry.kind}s"
            raise SettingError(f"{asked} has {'no' if len(names) == 1 else 'a'} setting {key!r}. There are {known}.")
    return [registry.build({"name": n, **{k: v for k, v in given.items() if k in has[n]}}) for n in names]


def at_layers(chosen: list[Any], layers: str) -> list[Any]:
    """Every method that reads a layer, at each of those in a list with commas; the others as they are."""
    wanted = [name.strip() for name in layers.split(",") if name.strip()]
    if wanted and not any("layer" in one.to_dict() for one in chosen):
        raise SettingError("None of the chosen methods reads a layer. Leave out --layer, or choose grad_cam.")
    return [
        xai.METHODS.build({**one.to_dict(), "layer": layer}) if layer else one
        for one in chosen
        for layer in (wanted if wanted and "layer" in one.to_dict() else [""])
    ]


def target_of(wanted: str | None, kind: str, against: str | None, said: Prediction) -> Target:
    """What to explain, from the words of the command line."""
    return _aimed(_number(wanted, said), kind, against, said)


def targets_of(wanted: Sequence[str], kind: str, against: str | None, said: Prediction) -> list[Target]:
    """What to explain with a map for each: classes by name or number, or all but the one that they are held against."""
    from xai_core.findings import MOST, NOUNS, plural

    if list(wanted) == [ALL] and ALL not in said.labels:
        rival = None if against is None else _number(against, said)
        numbers = [number for number in range(len(said.labels)) if number != rival]
    else:
        numbers = list(dict.fromkeys(_number(one, said) for one in wanted)) or [_number(None, said)]
    if len(numbers) > MOST:
        raise SettingError(
            f"A map for each of {len(numbers):,} {plural(NOUNS[said.task])} was asked for, and at most {MOST} are made "
            f"at once. Name those that you want, one --target for each."
        )
    return [_aimed(number, kind, against, said) for number in numbers]


def _number(wanted: str | None, said: Prediction) -> int:
    from xai_core.pipeline import resolve_target

    decimal = wanted is not None and wanted not in said.labels and wanted.isdecimal()
    return resolve_target(class_number(wanted or "", said) if decimal else wanted, said).index


def class_number(digits: str, said: Prediction) -> int:
    """The number of a class from the words of the command line. Raises SettingError for one of very many digits."""
    if len(digits) > 9:  # Python reads no whole number of thousands of digits
        raise SettingError(f"Class {digits[:9]}… does not exist: the model has classes 0 to {len(said.labels) - 1}.")
    return int(digits)


def _aimed(number: int, kind: str, against: str | None, said: Prediction) -> Target:
    from xai_core.pipeline import resolve_target

    kinds = ("logit", "probability", "contrast")
    if kind not in kinds:
        raise SettingError(f"No kind of target is called {kind!r}. Choose one of {', '.join(kinds)}.")
    if (kind == "contrast") != (against is not None):
        raise SettingError("A contrast needs the other class, and nothing else does: --kind contrast --against CLASS.")
    other = None if against is None else _number(against, said)
    return resolve_target(Target(number, "", kind, other), said)  # type: ignore[arg-type]


def pairs_in(where: Sequence[str]) -> dict[str, str]:
    """Columns and their values, from the words of the command line."""
    pairs = dict[str, str]()
    for one in where:
        column, equals, value = one.partition("=")
        if not equals:
            raise SettingError(f"{one!r} names no group. Write it as column=value, for example family=xray.")
        pairs[column.strip()] = value.strip()
    return pairs


def pictures_in(folder: Path | None) -> list[Image]:
    """Every picture of a folder to compare with, in the order of names. A file that is none is refused by its name."""
    if folder is None:
        return []
    files = files_in(folder)
    if not files:
        raise SettingError(f"{folder} is no folder with pictures. Give one that holds only the background pictures.")
    return [xai.read_image(path) for path in files]


def files_in(folder: Path) -> list[Path]:
    """The files of a folder that should be pictures."""
    return sorted(path for path in folder.glob("[!.]*") if path.is_file() and path.name != "labels.csv")


def say(lines: Iterable[str]) -> None:
    """Print each on its own line."""
    for line in lines:
        typer.echo(line)


@contextlib.contextmanager
def sigterm_as_ctrl_c() -> Iterator[None]:
    """A scheduler that ends a job sends SIGTERM, which would otherwise leave the run as if it were under way."""
    if threading.current_thread() is not threading.main_thread():  # where Python lets nobody handle signals
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)


class Bar:
    """A progress bar on a terminal, nothing elsewhere."""

    def __init__(self, words: str = "Pictures through the network") -> None:
        self.words = words

    def __enter__(self) -> Any:
        from rich.progress import Progress

        self.bar = Progress(transient=True, disable=not sys.stderr.isatty())
        self.bar.start()
        task = self.bar.add_task(self.words, total=None)
        return lambda done, total: self.bar.update(task, completed=done, total=total)

    def __exit__(self, *_: object) -> None:
        self.bar.stop()
