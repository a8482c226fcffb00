"""Values from a file, held to the types that nouns declare: who seals a record anew can write anything into it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from types import MappingProxyType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from xai_core.records import Task

Noun = TypeVar("Noun")
Types = Mapping[str, Any]  # by name: what annotations are made of

# What every manifest says of itself, what models are known by, and what the list of records shows of a sheet.
OF_ALL: Types = {
    "id": str,
    "created": str,
    "made_with": Mapping[str, str | Mapping[str, str | bool | int]],
    "note": str,
    "reviewer": str,
}
IDENTITY: Types = {
    **dict.fromkeys(("weights_sha256", "preprocessing_sha256", "labels_sha256", "device", "dtype"), str),
    "task": Task,
}
ABOUT: Types = {
    "title": str,
    "model": Mapping[str, Any],
    "models": tuple[Mapping[str, Any], ...],
    "methods": tuple[Mapping[str, Any], ...],
    "pictures": tuple[str, ...],
}


def built(noun: type[Noun], said: Mapping[str, Any], **own: Any) -> Noun:
    """The `noun` that plain values describe, with what is already its `own`.

    Raises TypeError or KeyError for what it does not declare, or of another type, and what its own checks raise.
    """
    check(said, {})
    return noun(**fields(noun, said, said.keys() - own.keys()), **own)


def fields(noun: type[Any], said: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """Some of the fields of a noun, as `built` takes them. Raises KeyError for one that is missing, and TypeError."""
    types = get_type_hints(noun)
    check(said, {name: types[name] for name in names})
    return {name: _tuples(said[name]) for name in names}


def check(said: Any, types: Types) -> None:
    """Raise TypeError unless these are values by name, each of its type where one is named."""
    if not isinstance(said, Mapping):
        raise TypeError("values by their names were expected")
    for name, declared in types.items():
        if name in said and not _fits(said[name], declared):
            raise TypeError(f"{name} is not of the type {declared}")


def check_named(said: Any, types: Types = MappingProxyType({})) -> None:
    """As `check`, of a model, a method or a probe, which has a name."""
    check(said, {"name": str, **types})
    if "name" not in said:
        raise TypeError("it has no name")


def _fits(value: Any, declared: Any) -> bool:
    """Whether what JSON gave is of that type: a list for a tuple, any number that is finite for a float."""
    kind, parts = get_origin(declared), get_args(declared)
    if kind in (Union, UnionType):
        return any(_fits(value, part) for part in parts)
    if kind is Literal:
        return isinstance(value, str) and value in parts
    if kind is tuple:
        if not isinstance(value, list | tuple):
            return False
        own = parts[:1] * len(value) if parts[-1] is ... else parts
        return len(own) == len(value) and all(map(_fits, value, own))
    if kind is Mapping:
        return isinstance(value, dict) and all(_fits(one, parts[1]) for one in value.values())
    if declared is float:
        return (type(value) is float and math.isfinite(value)) or (type(value) is int and abs(value) < 2**1023)
    if declared is int:
        return type(value) is int
    return declared is Any or isinstance(value, kind or declared)


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
