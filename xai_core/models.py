"""The model's door: the only place where a network is touched.

A loaded network is shared by every visitor's thread. Hooks, modes and gradients are state of the network, so two
threads that explain with it at once corrupt each other's maps. Only `Model` touches it: it holds the lock for one
batch at a time, splits what does not fit, counts pictures, stops between batches when asked, keeps the weights frozen
and leaves nothing behind.

    model.outputs(x)                     (n, classes) logits
    model.scalars(x, targets)            (n,) the explained scalar of each picture
    model.gradients(x, targets)          (n, 3, h, w) its derivative by the input
    model.trace(x, targets, layers)      activations and gradients per layer: one forward, one backward to the layer
    model.embed(x)                       (n, d) features before the head
    with model.borrowed() as network:    a private copy, for libraries that must change the network itself

`x` is (n, 3, h, w) float32, or anything with a length and slices that are (`Made` builds its pictures on demand).
Every answer is float32 on the CPU.
"""

from __future__ import annotations

import copy
import hashlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, TypeVar

import torch
from torch import nn

from xai_core.devices import batch_that_fits, best_device, is_out_of_memory, usable_device
from xai_core.errors import Cancelled, MemoryShortError, SettingError, UnsupportedError
from xai_core.images import Preprocessing
from xai_core.layers import Layer, find_layers, listening
from xai_core.records import Passes, Target

NOTHING = Passes()
Progress = Callable[[int], None]  # told how many pictures have gone through so far
Chooser = Callable[[slice, torch.Tensor], Sequence[Target]]  # rows and their logits to their targets


class Pictures(Protocol):
    """What the door takes: a tensor, or something that makes the asked-for rows of one."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: slice, /) -> torch.Tensor: ...


@dataclass(frozen=True)
class Made:
    """`count` pictures, made by `make(start, stop)` only when their batch is due, so that memory stays flat."""

    count: int
    make: Callable[[int, int], torch.Tensor]

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, rows: slice, /) -> torch.Tensor:
        return self.make(rows.start, rows.stop)


class Trace(NamedTuple):
    """What one layer did: `activations` and `gradients` of the target by them, both (n, channels, rows, columns)."""

    activations: torch.Tensor
    gradients: torch.Tensor


class _Answer(NamedTuple):
    value: Any
    seconds: float
    notes: tuple[str, ...]


@dataclass
class _Call:
    """One caller's account: what it wants to hear, what it has cost, what it has already been told."""

    progress: Progress | None = None
    cancel: threading.Event | None = None
    x: torch.Tensor | None = None  # questions about exactly this tensor are answered once
    passes: Passes = NOTHING  # that the answers rest on
    sent: Passes = NOTHING  # that really went through the network
    spared: float = 0.0  # seconds that shared answers would have taken again
    notes: list[str] = field(default_factory=list)
    answers: dict[Any, _Answer] = field(default_factory=dict)

    def count(self, cost: Passes) -> None:
        self.sent += cost
        if self.progress is not None and cost.forward:
            self.progress(self.sent.forward)

    def note(self, sentence: str) -> None:
        if sentence not in self.notes:
            self.notes.append(sentence)

    def stop_if_cancelled(self) -> None:
        if self.cancel is not None and self.cancel.is_set():
            raise Cancelled("Cancelled. Nothing of it was kept.")


T = TypeVar("T", torch.Tensor, dict[str, Trace])


class Model:
    """A frozen classifier with its labels, its preprocessing and one door.

    `load_model` and `wrap_model` make one. `facts` are words about its origin that travel in `identity`.
    """

    def __init__(
        self,
        module: nn.Module,
        *,
        name: str,
        labels: Sequence[str],
        preprocessing: Preprocessing,
        device: str | None = None,
        facts: Mapping[str, Any] | None = None,
    ) -> None:
        self.name = name
        self.labels = tuple(labels)
        self.preprocessing = preprocessing
        self.device = usable_device(device or best_device())
        self.module = module.float().eval().requires_grad_(False)
        self.card: Mapping[str, Any] = {}
        self._lock = threading.Lock()
        self._call = _Call()
        self._measured: dict[str, Any] = {}
        digest = weights_digest(module)
        try:
            self.module.to(self.device)
            self.layers, self.stages, picture_bytes, classes = self._look_inside()
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            short = True
        else:
            short = False
        if short:
            raise MemoryShortError(
                f"{name} does not fit the memory of {self.device}. Choose a smaller model or another device."
            )
        self.identity: Mapping[str, Any] = {
            "name": name,
            "weights_sha256": digest,
            "preprocessing_sha256": preprocessing.sha256,
            "classes": len(self.labels),
            "parameters": sum(p.numel() for p in module.parameters()),
            "device": str(self.device),
            "dtype": "float32",
            **(facts or {}),
        }
        if classes != len(self.labels):
            raise SettingError(
                f"{name} has {classes} outputs but {len(self.labels)} labels were given. Give one label per output."
            )
        self.batch = batch_that_fits(self.device, picture_bytes)

    # what the door answers ------------------------------------------------------------------------------------------

    def outputs(self, x: Pictures) -> torch.Tensor:
        """(n, classes) logits. No graph is built."""
        return self._remembered(("outputs",), x, Passes(len(x)), lambda: self._in_batches(x, self._forward))

    def scalars(self, x: Pictures, targets: Sequence[Target]) -> torch.Tensor:
        """(n,) each picture's target, one target per picture."""
        logits = self.outputs(x)
        return torch.cat([target.read(row[None]) for row, target in _pairs(logits, targets)])

    def gradients(self, x: Pictures, targets: Sequence[Target]) -> torch.Tensor:
        """(n, 3, h, w) derivative of each picture's target by the picture."""
        cost = Passes(len(x), len(x))
        ask = ("gradients", tuple(targets))
        return self._remembered(
            ask, x, cost, lambda: self._in_batches(x, lambda piece, rows: self._backward(piece, targets[rows]), back=1)
        )

    def trace(self, x: Pictures, targets: Sequence[Target], layers: Sequence[str]) -> dict[str, Trace]:
        """Activations and their gradients per layer: one forward pass, one backward pass down to the first layer.

        A layer that the target does not depend on has gradients of zero. Raises SettingError for an unknown layer.
        """
        for name in layers:
            self.layer(name)
        question = ("trace", tuple(targets))
        known = self._call.answers.get(question)
        if known is not None and x is self._call.x and not set(layers) <= known.value.keys():
            del self._call.answers[question]
        traces = self._remembered(
            question,
            x,
            Passes(len(x), len(x)),
            lambda: self._in_batches(
                x, lambda piece, rows: self._traced(piece, lambda _: targets[rows], layers), back=1
            ),
        )
        return {name: traces[name] for name in layers}

    def outputs_and_trace(self, x: torch.Tensor, choose: Chooser, layers: Sequence[str]) -> torch.Tensor:
        """(n, classes) logits, and in the same pass a trace of all `layers`, which `trace` then finds already answered.

        `choose(rows, logits)` picks the targets of those rows once it is known what the network says of them.
        """
        start, logits = time.perf_counter(), list[torch.Tensor]()
        targets: list[Target] = []

        def work(piece: torch.Tensor, rows: slice) -> dict[str, Trace]:
            said, chosen = torch.empty(0), list[Target]()

            def after(output: torch.Tensor) -> Sequence[Target]:
                nonlocal said, chosen
                said = output.detach().float().cpu()
                chosen = list(choose(rows, said))
                return chosen

            traces = self._traced(piece, after, layers)
            logits.append(said)  # only now: a batch that did not fit is asked again
            targets.extend(chosen)
            return traces

        traces = self._in_batches(x, work, back=1)
        if x is self._call.x:
            seconds, notes = time.perf_counter() - start, tuple(self._call.notes)
            self._call.answers[("outputs",)] = _Answer(torch.cat(logits), seconds, notes)
            self._call.answers["trace", tuple(targets)] = _Answer(traces, seconds, notes)
        self._call.passes += Passes(len(x), len(x))
        return torch.cat(logits)

    def embed(self, x: Pictures) -> torch.Tensor:
        """(n, d) features that the classifying head reads.

        Raises UnsupportedError where the network has no linear head to look in front of.
        """
        heads = [part for part in self.module.modules() if isinstance(part, nn.Linear)]
        if not heads:
            raise UnsupportedError(f"{self.name} has no linear head, so there are no features in front of it.")

        def forward(piece: torch.Tensor, rows: slice) -> torch.Tensor:
            seen: list[torch.Tensor] = []
            hooks = [head.register_forward_pre_hook(lambda _, args: seen.append(args[0])) for head in heads]
            try:
                with torch.no_grad():
                    self.module(piece)
            finally:
                for hook in hooks:
                    hook.remove()
            return seen[-1].flatten(1).cpu()  # what the last of them to run has read

        return self._remembered(("embed",), x, Passes(len(x)), lambda: self._in_batches(x, forward))

    @contextmanager
    def borrowed(self) -> Iterator[nn.Module]:
        """A private copy of the network, thrown away afterwards, so that nothing done to it can be left behind.

        Its passes are counted, and it stops when the caller cancels.
        """
        call = self._call
        with self._lock:
            network = copy.deepcopy(self.module)

        def before(_: nn.Module, args: tuple[Any, ...]) -> None:
            call.stop_if_cancelled()
            cost = Passes(len(args[0]), len(args[0]) if torch.is_grad_enabled() else 0)
            call.passes += cost
            call.count(cost)

        network.register_forward_pre_hook(before)
        yield network

    # where a map can be read ----------------------------------------------------------------------------------------

    def layer(self, name: str) -> Layer:
        """The layer called `name`; raises SettingError with the choices."""
        if name not in self.layers:
            stages = ", ".join(self.stages) or "none"
            raise SettingError(f"{self.name} has no layer {name!r} with a height and a width. Choose from {stages}.")
        return self.layers[name]

    def reaches(self, name: str) -> bool:
        """Whether the target depends on layer `name` at all, measured on a noise picture.

        In a network that classifies by its class token, the picture's tokens of the last block do not.
        """
        flows: dict[str, bool] = self._measured.setdefault("flows", {})
        if name not in flows:
            x = torch.randn((1, *self.preprocessing.input_size), generator=torch.Generator().manual_seed(0))
            asked = self.asked()
            best = int(asked.outputs(x).argmax())
            names = [*dict.fromkeys([*self.stages, name])]
            traces = asked.trace(x, [Target(best, self.labels[best])], names)
            flows.update({key: bool(trace.gradients.abs().max() > 0) for key, trace in traces.items()})
        return flows[name]

    @property
    def default_layer(self) -> str | None:
        """The deepest stage that the target depends on, or None where nothing has a height and a width."""
        return next((name for name in reversed(self.stages) if self.reaches(name)), None)

    # one caller's account -------------------------------------------------------------------------------------------

    def asked(
        self,
        *,
        progress: Progress | None = None,
        cancel: threading.Event | None = None,
        x: torch.Tensor | None = None,
    ) -> Model:
        """The same network for one caller, with an account of its own.

        Questions about the tensor `x` are put to the network once, however many methods ask them. `progress` is told
        how many pictures have gone through. When `cancel` is set, the next batch raises Cancelled.
        """
        caller = copy.copy(self)
        caller._call = _Call(progress, cancel, x)
        return caller

    def stop_if_cancelled(self) -> None:
        """Raise Cancelled if this caller has cancelled."""
        self._call.stop_if_cancelled()

    @property
    def passes(self) -> Passes:
        """Pictures that this caller's answers rest on."""
        return self._call.passes

    @property
    def sent(self) -> Passes:
        """Pictures that really went through the network for this caller: less than `passes` where they were shared."""
        return self._call.sent

    @property
    def spared(self) -> float:
        """Seconds that this caller's answers rest on, but that were spent on an earlier question."""
        return self._call.spared

    def take_notes(self) -> tuple[str, ...]:
        """What this caller should know since it last asked, such as a batch that had to be made smaller."""
        notes, self._call.notes = tuple(self._call.notes), []
        return notes

    # how it is done -------------------------------------------------------------------------------------------------

    def _forward(self, piece: torch.Tensor, rows: slice) -> torch.Tensor:
        with torch.no_grad():
            logits: torch.Tensor = self.module(piece)
        return logits.float().cpu()

    def _backward(self, piece: torch.Tensor, targets: Sequence[Target]) -> torch.Tensor:
        piece = piece.detach().clone().requires_grad_(True)
        with torch.enable_grad():
            total = _sum_of_targets(self.module(piece), targets)
            (gradient,) = _slopes(total, [piece])
        return (torch.zeros_like(piece) if gradient is None else gradient).cpu()

    def _traced(
        self, piece: torch.Tensor, choose: Callable[[torch.Tensor], Sequence[Target]], names: Sequence[str]
    ) -> dict[str, Trace]:
        with torch.enable_grad(), listening(self.module, names) as heard:
            logits = self.module(piece.detach())
            total = _sum_of_targets(logits, choose(logits))
            found = _slopes(total, [heard[name] for name in names])
        traces = {}
        for name, gradient in zip(names, found, strict=True):
            to_grid, activation = self.layers[name].to_grid, heard[name].detach()
            known = torch.zeros_like(activation) if gradient is None else gradient
            traces[name] = Trace(to_grid(activation).float().cpu(), to_grid(known).float().cpu())
        return traces

    def _remembered(self, question: tuple[Any, ...], x: Pictures, cost: Passes, answer: Callable[[], T]) -> T:
        call = self._call
        call.passes += cost
        if x is not call.x:
            return answer()
        if question not in call.answers:
            start, earlier, call.notes = time.perf_counter(), call.notes, []
            value = answer()
            call.answers[question] = _Answer(value, time.perf_counter() - start, tuple(call.notes))
            call.notes = earlier
        else:
            call.spared += call.answers[question].seconds
        known = call.answers[question]
        for sentence in known.notes:
            call.note(sentence)
        found: T = known.value
        return found

    def _in_batches(self, x: Pictures, work: Callable[[torch.Tensor, slice], T], back: int = 0) -> T:
        """`work` over all of `x`, a batch at a time under the lock, halving a batch that does not fit.

        The lock is given back between batches, so that a long job does not hold up a short one. `back` is 1 where
        `work` also runs backward.
        """
        batch, start, parts = self.batch, 0, []
        while start < len(x):
            self._call.stop_if_cancelled()
            rows = slice(start, min(start + batch, len(x)))
            size = rows.stop - rows.start
            piece, part = x[rows], None
            try:
                with self._lock:
                    part = work(piece.to(self.device, torch.float32), rows)
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
            if part is not None:
                parts.append(part)
                start = rows.stop
                self._call.count(Passes(size, size * back))
                continue
            # outside of `except`: the exception held on to the tensors that did not fit
            del piece
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
            if size == 1:
                raise MemoryShortError(
                    f"{self.name} does not fit the memory of {self.device} even with one picture. "
                    "Choose a smaller model or another device."
                )
            batch = size // 2
            self._call.note(f"{self.device} ran out of memory, so the batch was reduced to {batch}.")
        return _joined(parts)

    def _look_inside(self) -> tuple[dict[str, Layer], tuple[str, ...], int, int]:
        x = torch.randn((1, *self.preprocessing.input_size), generator=torch.Generator().manual_seed(0))
        with self._lock, torch.no_grad():
            return find_layers(self.module, x.to(self.device))


def weights_digest(module: nn.Module) -> str:
    """sha256 over every parameter and buffer: name, type, shape and bytes, in the order of names."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _slopes(total: torch.Tensor, inputs: Sequence[torch.Tensor]) -> Sequence[torch.Tensor | None]:
    """d total / d each input; None where total does not depend on it."""
    if not total.requires_grad:
        return [None] * len(inputs)
    return torch.autograd.grad(total, inputs, allow_unused=True)


def _pairs(rows: torch.Tensor, targets: Sequence[Target]) -> Iterator[tuple[torch.Tensor, Target]]:
    return zip(rows, targets, strict=True)


def _sum_of_targets(logits: torch.Tensor, targets: Sequence[Target]) -> torch.Tensor:
    """One scalar whose derivative by each picture is that of its own target, since pictures do not mix."""
    return torch.stack([target.read(row[None])[0] for row, target in _pairs(logits, targets)]).sum()


def _joined(parts: Sequence[T]) -> T:
    if isinstance(parts[0], torch.Tensor):
        return torch.cat(parts)  # type: ignore[arg-type]
    names = parts[0].keys()
    return {n: Trace(*(torch.cat(pair) for pair in zip(*(p[n] for p in parts), strict=True))) for n in names}
