"""Make a class selectable by writing one file.

A component's fields are its settings. That one declaration draws the widgets, makes the command-line options, keys
the cache, fills the manifest and labels the table.
"""

from __future__ import annotations

import dataclasses
import difflib
import importlib
import inspect
import pkgutil
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Generic, TypeVar

from xai_core.errors import SettingError


@dataclasses.dataclass(frozen=True)
class Component:
    """A method, a metric or a probe: a frozen dataclass whose fields are its settings."""

    name: ClassVar[str]  # the file it lives in, set by Registry.register
    label: ClassVar[str]  # what people read

    @classmethod
    def summary(cls) -> str:
        """What it does or says, in one sentence: the first of its file."""
        first = (inspect.getdoc(inspect.getmodule(cls)) or "").partition("\n\n")[0]
        words = " ".join(first.partition(": ")[2].split())
        return words[:1].upper() + words[1:]

    def to_dict(self) -> dict[str, Any]:
        """Name and settings, which `Registry.build` turns back into the object."""
        return {"name": self.name, **{field.name: getattr(self, field.name) for field in settings(type(self))}}

    def __str__(self) -> str:
        shown = ", ".join(f"{key}={value}" for key, value in self.to_dict().items() if key != "name")
        return f"{self.label} ({shown})" if shown else self.label


def param(
    default: Any,
    *,
    low: float | None = None,
    high: float | None = None,
    choices: Sequence[Any] = (),
    label: str = "",
    unit: str = "",
    help: str = "",
) -> Any:
    """Declare one setting: its default, its limits (both included) or its choices, and the words beside its widget."""
    words = {"low": low, "high": high, "choices": tuple(choices), "label": label, "unit": unit, "help": help}
    return dataclasses.field(default=default, metadata=words)


def settings(cls: type[Component]) -> tuple[dataclasses.Field[Any], ...]:
    """The declared settings of a component."""
    return dataclasses.fields(cls)


T = TypeVar("T", bound=Component)


class Registry(Generic[T]):
    """Every component of one kind, by name."""

    def __init__(self, kind: str, package: str) -> None:
        self.kind = kind
        self._package = package
        self._classes: dict[str, type[T]] = {}

    def register(self, cls: type[T]) -> type[T]:
        """Freeze `cls` and name it after its file."""
        cls = dataclasses.dataclass(frozen=True)(cls)
        cls.name = cls.__module__.rpartition(".")[2]
        if cls.name in self._classes:
            raise ValueError(f"{cls.name}.py registers two {self.kind}s; keep one per file")
        self._classes[cls.name] = cls
        return cls

    def discover(self) -> None:
        """Import every file of the package, so that each registers itself."""
        for module in pkgutil.iter_modules(importlib.import_module(self._package).__path__):
            importlib.import_module(f"{self._package}.{module.name}")

    def build(self, spec: str | Mapping[str, Any] | T) -> T:
        """A component from its name, from a name with settings (undoing `Component.to_dict`), or from itself.

        Raises SettingError for an unknown name or setting, or a value outside its declared limits.
        """
        if isinstance(spec, Component):
            return spec
        chosen = {"name": spec} if isinstance(spec, str) else dict(spec)
        cls = self[str(chosen.pop("name", ""))]
        known = {field.name: field for field in settings(cls)}
        return cls(**{key: _checked(cls, key, value, known) for key, value in chosen.items()})

    def __getitem__(self, name: str) -> type[T]:
        if name not in self._classes:
            near = difflib.get_close_matches(name, self._classes, n=1)
            hint = f"Did you mean {near[0]!r}?" if near else f"There are {', '.join(self)}."
            raise SettingError(f"No {self.kind} is called {name!r}. {hint}")
        return self._classes[name]

    def __contains__(self, name: object) -> bool:
        return name in self._classes

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._classes))

    def __len__(self) -> int:
        return len(self._classes)


def _checked(cls: type[Component], key: str, value: Any, known: Mapping[str, dataclasses.Field[Any]]) -> Any:
    """`value` in the declared type, or a sentence on what is allowed. Text is accepted, as a command line gives it."""
    if key not in known:
        raise SettingError(f"{cls.label} has no setting {key!r}. It has {', '.join(known) or 'none'}.")
    default, words = known[key].default, known[key].metadata
    allowed = (
        f"one of {', '.join(map(str, words['choices']))}"
        if words["choices"]
        else f"from {words['low']} to {words['high']}"
        if words["low"] is not None
        else f"of type {type(default).__name__}"
    )
    refused = SettingError(f"{cls.label}: {key}={value!r} is not allowed; choose {allowed}.")
    if isinstance(default, bool):
        truth = {"true": True, "false": False}.get(str(value).lower())
        if truth is None:
            raise refused
        return truth
    try:
        kind: Any = type(default)
        typed = kind(value)
        exact = not isinstance(default, int) or typed == float(value)
    except (TypeError, ValueError, OverflowError):
        raise refused from None
    if not exact:
        raise refused
    if words["choices"] and typed not in words["choices"]:
        raise refused
    if words["low"] is not None and not words["low"] <= typed <= words["high"]:  # also refuses NaN
        raise refused
    return typed
