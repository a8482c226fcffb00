"""The model's door: the only place where a network is touched.

A loaded network is shared by every visitor's thread. Hooks, modes and gradients are state of the network, so two
threads that explain with it at once corrupt each other's maps. Only `Model` touches it: it holds the lock for one
batch at a time, splits what does not fit, counts pictures, stops between batches when asked, keeps the weights frozen
and leaves nothing behind.

    model.outputs(x)                     (n, classes) logits
    model.scalars(x, targets)            (n,) the explained scalar of each picture
    model.gradients(x, targets)          (n, 3, h, w) its derivative by the input
    model.trace(x, targets, layers)      activations and gradients per layer: one forward, one backward to the layer
    model.attention(x, targets)          weights of every attention operation, and their gradients
    model.without_channels(x, layer, channels)    logits of one picture, each with one channel silenced
    model.embed(x)                       (n, d) features before the head
    model.redrawn(seed)                  the same door to private copies whose layers are drawn anew, from the head down
    with model.borrowed() as network:    a private copy, for libraries that must change the network itself

`x` is (n, 3, h, w) float32, or anything with a length and slices that are (`Made` builds its pictures on demand).
One picture expanded to n rows goes forward once, whatever its n targets are. Pictures that hold values that are not
finite raise SettingError. Every answer is float32 on the CPU.
"""

from __future__ import annotations

import copy
import hashlib
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, NamedTuple, Protocol, TypeVar

import torch
from torch import nn

from xai_core.account import Account, Answer, Made, Pictures, Progress, is_one_picture
from xai_core.attention import Tokens, find_tokens, hearing_attention
from xai_core.devices import batch_that_fits, best_device, is_out_of_memory, memory_order, usable_device
from xai_core.drawing_weights import draw, drawn_layers
from xai_core.errors import MemoryShortError, SettingError, UnsupportedError
from xai_core.images import Preprocessing
from xai_core.layers import Layer, find_layers, listening
from xai_core.records import TASKS, Passes, Target
from xai_core.rules import Operations

Chooser = Callable[[slice, torch.Tensor], Sequence[Target]]  # rows and their logits to their targets


__all__ = ["Attention", "Made", "Model", "Rules", "Trace", "weights_digest"]


class Rules(Protocol):
    """What operations pass back in place of their derivative."""

    def reading(self, pictures: int) -> AbstractContextManager[Any]:
        """Entered around the forward and the backward pass of one batch that explains so many pictures."""
        ...


class Trace(NamedTuple):
    """What one layer did: `activations` and `gradients` of the target by them, both (n, channels, rows, columns)."""

    activations: torch.Tensor
    gradients: torch.Tensor


class Attention(NamedTuple):
    """What one attention operation did: `weights` and `gradients` of the target by them, (n, heads, tokens, tokens)."""

    weights: torch.Tensor
    gradients: torch.Tensor


T = TypeVar("T")


class Model:
    """A frozen classifier with its labels, its preprocessing and one door.

    `load_model` and `wrap_model` make one. `task` says what the outputs mean: "single label" (classes that exclude one
    another), "multi label" or "regression". `facts` are words about its origin that travel in `identity`.
    """

    def __init__(
        self,
        module: nn.Module,
        *,
        name: str,
        labels: Sequence[str],
        preprocessing: Preprocessing,
        task: str = TASKS[0],
        device: str | None = None,
        facts: Mapping[str, Any] | None = None,
    ) -> None:
        if task not in TASKS:
            raise SettingError(f"No task is called {task!r}. Choose one of {', '.join(TASKS)}.")
        self.name = name
        self.labels = tuple(labels)
        self.preprocessing = preprocessing
        self.device = usable_device(device or best_device())
        self.module = module.float().eval().requires_grad_(False)
        self.card: Mapping[str, Any] = {}
        self._lock = threading.Lock()
        self._account = Account()
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
            "structure_sha256": _structure(module),
            "labels_sha256": hashlib.sha256("\n".join(self.labels).encode()).hexdigest(),
            "classes": len(self.labels),
            "task": task,
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
        return torch.cat([target.read(row[None]) for row, target in zip(logits, targets, strict=True)])

    def gradients(
        self,
        x: Pictures,
        targets: Sequence[Target],
        rules: Rules | None = None,
        beside: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """(n, 3, h, w) derivative of each picture's target by the picture.

        With `rules`, what they pass back instead. `beside`, (n, 3, h, w), goes forward in the same pass after the
        pictures, for rules that compare the two; nothing is read from its outputs.
        """
        if rules is None:
            return self._remembered(
                ("gradients", tuple(targets)),
                x,
                Passes(len(x), len(x)),
                lambda: self._in_batches(x, lambda piece, rows: self._backward(piece, targets[rows]), back=1),
            )
        forth = 1 if beside is None else 2
        self._account.passes += Passes(forth * len(x), len(x))

        def work(piece: torch.Tensor, rows: slice) -> torch.Tensor:
            with rules.reading(len(piece)):
                return self._backward(piece, targets[rows], None if beside is None else beside[rows])

        return self._in_batches(x, work, forth=forth, back=1, shared=False)

    def trace(self, x: Pictures, targets: Sequence[Target], layers: Sequence[str]) -> dict[str, Trace]:
        """Activations and their gradients per layer: one forward pass, one backward pass down to the first layer.

        A layer that the target does not depend on has gradients of zero. Raises SettingError for an unknown layer.
        """
        for name in layers:
            self.layer(name)
        question = ("trace", tuple(targets))
        known = self._account.answers.get(question)
        if known is not None and x is self._account.x and not set(layers) <= known.value.keys():
            del self._account.answers[question]
        traces = self._remembered(
            question,
            x,
            Passes(len(x), len(x)),
            lambda: self._in_batches(
                x, lambda piece, rows: self._traced(piece, rows, lambda _: targets[rows], layers), back=1
            ),
        )
        return {name: traces[name] for name in layers}

    def attention(self, x: Pictures, targets: Sequence[Target] | None = None) -> list[Attention]:
        """The weights of every attention operation in the order of running, and their gradients.

        Without `targets`, gradients are zero and no backward pass is run.
        """
        back = 0 if targets is None else 1

        def work(piece: torch.Tensor, rows: slice) -> list[Attention]:
            with torch.set_grad_enabled(bool(back)), hearing_attention() as heard:
                logits = self.module(piece.detach())
                found = [None] * len(heard) if targets is None else _slopes(logits, targets[rows], heard)
            return [Attention(*_answers(w, slope, rows)) for w, slope in zip(heard, found, strict=True)]

        cost = Passes(len(x), back * len(x))
        question = ("attention", targets and tuple(targets))
        return self._remembered(question, x, cost, lambda: self._in_batches(x, work, back=back))

    def without_channels(self, x: torch.Tensor, layer: str, channels: Sequence[int]) -> torch.Tensor:
        """(len(channels), classes) logits of one (1, 3, h, w) picture, each with one channel of `layer` set to zero."""
        place, part = self.layer(layer), self.module.get_submodule(layer)

        def work(piece: torch.Tensor, rows: slice) -> torch.Tensor:
            def silence(_: nn.Module, __: Any, output: torch.Tensor) -> torch.Tensor:
                kept = output.clone()
                for row, channel in enumerate(channels[rows]):
                    kept[row].select(0 if place.form == "channels first" else -1, channel).zero_()
                return kept

            handle = part.register_forward_hook(silence)
            try:
                return self._forward(piece, rows)
            finally:
                handle.remove()

        many = Made(len(channels), lambda start, stop: x.expand(stop - start, -1, -1, -1))
        self._account.passes += Passes(len(channels))
        return self._in_batches(many, work)

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
                said = _as_many(output.detach().float().cpu(), rows)
                chosen = list(choose(rows, said))
                return chosen

            traces = self._traced(piece, rows, after, layers)
            logits.append(said)  # only now: a batch that did not fit is asked again
            targets.extend(chosen)
            return traces

        traces = self._in_batches(x, work, back=1)
        if x is self._account.x:
            seconds, notes = time.perf_counter() - start, tuple(self._account.notes)
            self._account.answers[("outputs",)] = Answer(torch.cat(logits), seconds, notes)
            self._account.answers["trace", tuple(targets)] = Answer(traces, seconds, notes)
        self._account.passes += Passes(len(x), len(x))
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
            return _as_many(seen[-1].flatten(1).cpu(), rows)  # what the last of them to run has read

        return self._remembered(("embed",), x, Passes(len(x)), lambda: self._in_batches(x, forward))

    @contextmanager
    def borrowed(self) -> Iterator[nn.Module]:
        """A private copy of the network, thrown away afterwards, so that nothing done to it can be left behind.

        Its passes are counted, and it stops when the caller cancels.
        """
        call = self._account
        with self._lock:
            network = copy.deepcopy(self.module)

        def before(_: nn.Module, args: tuple[Any, ...]) -> None:
            call.stop_if_cancelled()
            cost = Passes(len(args[0]), len(args[0]) if torch.is_grad_enabled() else 0)
            call.passes += cost
            call.count(cost)

        network.register_forward_pre_hook(before)
        yield network

    def redrawn(self, seed: int) -> Iterator[tuple[str, Model]]:
        """A private copy of the network in which one layer after the other is drawn anew, from the head down.

        Yields the name of the layer drawn last and the door to the copy, which is good until the next is asked for.
        Layer number i from the head is drawn from `seed` + i, as it is before training.
        """
        with self._lock:
            network = copy.deepcopy(self.module)
        other = self.about(None)
        other.module, other._lock, other._measured = network, threading.Lock(), copy.deepcopy(self._measured)
        for number, name in enumerate(drawn_layers(network)):
            draw(network.get_submodule(name), seed + number)
            yield name, other

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

    def operations(self) -> frozenset[str]:
        """Names of the torch functions that a picture goes through, measured on a noise picture: "conv2d", "relu"."""
        if "operations" not in self._measured:
            x = torch.randn((1, *self.preprocessing.input_size), generator=torch.Generator().manual_seed(0))

            def work(piece: torch.Tensor, _: slice) -> frozenset[str]:
                with torch.enable_grad(), Operations() as met:
                    self.module(piece.clone().requires_grad_(True))
                return frozenset(met.names)

            self._measured["operations"] = self.asked()._in_batches(x, work)
        names: frozenset[str] = self._measured["operations"]
        return names

    def attends(self) -> Tokens:
        """Where the picture is among the tokens, and which the head reads, or why not; measured on a noise picture."""
        if "tokens" not in self._measured:
            x = torch.randn((1, *self.preprocessing.input_size), generator=torch.Generator().manual_seed(0))
            self._measured["tokens"] = self.asked()._in_batches(
                x, lambda piece, _: find_tokens(self.module, piece, self.layers.values(), self.name)
            )
        tokens: Tokens = self._measured["tokens"]
        return tokens

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
        background: torch.Tensor | None = None,
        open: bool = False,
    ) -> Model:
        """The same network for one caller, with an account of its own.

        Questions about the tensor `x` are put to the network once, however many methods ask them. `progress` is told
        how many pictures have gone through. When `cancel` is set, the next batch raises Cancelled. `background` are
        (k, 3, h, w) pictures that some methods compare with. With `open`, what others ask who are given this door is
        booked here as well, so that long work of many questions knows what it has sent.
        """
        caller = copy.copy(self)
        whole = self._account if self._account.open else None
        caller._account = Account(progress, cancel, x, background, whole=whole, open=open)
        return caller

    def about(self, x: torch.Tensor | None) -> Model:
        """The same network for the same caller asking about other pictures: questions about `x` are put to it once."""
        caller = copy.copy(self)
        caller._account = self._account.about(x)
        return caller

    @property
    def background(self) -> torch.Tensor:
        """(k, 3, h, w) pictures that this caller wants to compare with; raises SettingError where it gave none."""
        if self._account.background is None:
            raise SettingError("The background is set to pictures, but none were given. Give some, or choose blurs.")
        return self._account.background

    def note(self, sentence: str) -> None:
        """Keep a sentence that must be known to read the map that is being made."""
        self._account.note(sentence)

    def absorb(self, amounts: torch.Tensor) -> None:
        """Book (n,) parts of what the values promise to add up to, that no pixel can hold: the share of biases."""
        self._account.absorbed = amounts

    def stop_if_cancelled(self) -> None:
        """Raise Cancelled if this caller has cancelled."""
        self._account.stop_if_cancelled()

    @property
    def passes(self) -> Passes:
        """Pictures that this caller's answers rest on."""
        return self._account.passes

    @property
    def sent(self) -> Passes:
        """Pictures that really went through the network for this caller: less than `passes` where they were shared."""
        return self._account.sent

    @property
    def spared(self) -> float:
        """Seconds that this caller's answers rest on, but that were spent on an earlier question."""
        return self._account.spared

    def take_notes(self) -> tuple[str, ...]:
        """What this caller should know since it last asked, such as a batch that had to be made smaller."""
        notes, self._account.notes = tuple(self._account.notes), []
        return notes

    def take_absorbed(self) -> torch.Tensor | None:
        """What `absorb` booked since this caller last asked."""
        amounts, self._account.absorbed = self._account.absorbed, None
        return amounts

    # how it is done -------------------------------------------------------------------------------------------------

    def _forward(self, piece: torch.Tensor, rows: slice) -> torch.Tensor:
        with torch.no_grad():
            logits: torch.Tensor = self.module(piece)
        return _as_many(logits.float().cpu(), rows)

    def _backward(
        self, piece: torch.Tensor, targets: Sequence[Target], beside: torch.Tensor | None = None
    ) -> torch.Tensor:
        piece = piece.detach().clone().requires_grad_(True)
        with torch.enable_grad():
            both = piece if beside is None else torch.cat([piece, beside.to(piece)])
            (gradient,) = _slopes(self.module(both), targets, [piece])
        return (torch.zeros_like(piece).expand(len(targets), -1, -1, -1) if gradient is None else gradient).cpu()

    def _traced(
        self,
        piece: torch.Tensor,
        rows: slice,
        choose: Callable[[torch.Tensor], Sequence[Target]],
        names: Sequence[str],
    ) -> dict[str, Trace]:
        with torch.enable_grad(), listening(self.module, names) as heard:
            logits = self.module(piece.detach())
            found = _slopes(logits, choose(logits), [heard[name] for name in names])
        traces = {}
        for name, slope in zip(names, found, strict=True):
            to_grid = self.layers[name].to_grid
            traces[name] = Trace(*map(to_grid, _answers(heard[name], slope, rows)))
        return traces

    def _remembered(self, question: tuple[Any, ...], x: Pictures, cost: Passes, answer: Callable[[], T]) -> T:
        call = self._account
        call.passes += cost
        if x is not call.x:
            return answer()
        if question not in call.answers:
            start, earlier, call.notes = time.perf_counter(), call.notes, []
            value = answer()
            call.answers[question] = Answer(value, time.perf_counter() - start, tuple(call.notes))
            call.notes = earlier
        else:
            call.spared += call.answers[question].seconds
        known = call.answers[question]
        for sentence in known.notes:
            call.note(sentence)
        found: T = known.value
        return found

    def _in_batches(
        self, x: Pictures, work: Callable[[torch.Tensor, slice], T], forth: int = 1, back: int = 0, shared: bool = True
    ) -> T:
        """`work` over all of `x`, a batch at a time under the lock, halving a batch that does not fit.

        The lock is given back between batches, so that a long job does not hold up a short one. `forth` and `back` are
        how often each picture goes forward and backward. `shared`: `work` takes one picture for many equal rows; else
        each of them goes alone, so that its bytes are those of a lone question.
        """
        one = is_one_picture(x)
        batch, start, parts = (1 if one and not shared else self.batch), 0, []
        once = shared and one
        while start < len(x):
            self._account.stop_if_cancelled()
            rows = slice(start, min(start + batch, self._end_of_question(x, start)))
            size = rows.stop - rows.start
            piece, part = x[rows][:1] if once else x[rows], None
            # the sum tells, at a tenth of the cost, unless it overflows
            if not (torch.isfinite(piece.sum()) or torch.isfinite(piece).all()):
                raise SettingError("A picture holds values that are not numbers (NaN or infinite). Decode it again.")
            try:
                with self._lock:
                    part = work(piece.to(self.device, torch.float32, memory_format=self._order), rows)
            except RuntimeError as error:
                if re.search(r"in-?place", str(error)):
                    raise UnsupportedError(
                        f"{self.name} overwrites values in place that its gradient needs. Choose occlusion or LIME."
                    ) from error
                if not is_out_of_memory(error):
                    raise
            if part is not None:
                parts.append(part)
                start = rows.stop
                self._account.count(Passes(forth * len(piece), size * back))
                continue
            # outside of `except`: the exception held on to the tensors that did not fit
            del piece
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
            if size == 1:
                raise MemoryShortError(
                    f"{self.name} does not fit the memory of {self.device} even with one picture. "
                    "Choose a smaller model, a smaller input size or another device."
                )
            batch = size // 2
            self._account.note(f"{self.device} ran out of memory, so the batch was reduced to {batch}.")
        whole: T = _joined(parts)
        return whole

    def _end_of_question(self, x: Pictures, start: int) -> int:
        """Where the rows that may share a batch with row `start` end."""
        each = x.each if isinstance(x, Made) and self.device.type == "cpu" else 0
        return min(len(x), (start // each + 1) * each) if each else len(x)

    def _look_inside(self) -> tuple[dict[str, Layer], tuple[str, ...], int, int]:
        """Run once. Where `view` in the network asks for channels first, its pictures are laid so."""
        x = torch.randn((1, *self.preprocessing.input_size), generator=torch.Generator().manual_seed(0))
        self._order = memory_order(self.device)
        try:
            return self._looked_at(x)
        except RuntimeError as error:
            if self._order == torch.contiguous_format or "view size is not compatible" not in str(error):
                raise
        self._order = torch.contiguous_format
        return self._looked_at(x)

    def _looked_at(self, x: torch.Tensor) -> tuple[dict[str, Layer], tuple[str, ...], int, int]:
        self.module.to(memory_format=self._order)
        x = x.to(self.device, memory_format=self._order)
        with self._lock, torch.no_grad():
            if self._order == torch.channels_last:  # several pictures may be viewed otherwise than one
                self.module(x.repeat(2, 1, 1, 1).to(memory_format=self._order))
            return find_layers(self.module, x)


def weights_digest(module: nn.Module) -> str:
    """sha256 over every parameter and buffer: name, type, shape and bytes, in the order of names."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _structure(module: nn.Module) -> str:
    """sha256 of what the network is built of: equal weights in layers that pad otherwise answer otherwise."""
    return hashlib.sha256(re.sub(r" at 0x[0-9a-f]+", "", repr(module)).encode()).hexdigest()


def _slopes(
    logits: torch.Tensor, targets: Sequence[Target], inputs: Sequence[torch.Tensor]
) -> list[torch.Tensor | None]:
    """d target / d each input, a row for each target; None where no target depends on it.

    Pictures do not mix, so one scalar has the derivative of each by its own target. One row of logits with several
    targets is differentiated once for each.
    """
    n = len(targets)
    if len(logits) in (n, 2 * n):  # a picture's counterpart is read beside it, for rules that compare the two
        scalars = [torch.stack([target.read(logits[i::n])[0] for i, target in enumerate(targets)]).sum()]
    elif len(logits) == 1:
        scalars = [target.read(logits)[0] for target in targets]
    else:
        raise ValueError(f"{len(targets)} targets for {len(logits)} pictures")
    found: list[Sequence[torch.Tensor | None]] = []
    for i, scalar in enumerate(scalars):
        again = i + 1 < len(scalars)
        found.append(
            torch.autograd.grad(scalar, inputs, allow_unused=True, retain_graph=again)
            if scalar.requires_grad
            else [None] * len(inputs)
        )
    if len(found) == 1:
        return list(found[0])
    slopes: list[torch.Tensor | None] = []
    for one, rows in zip(inputs, zip(*found, strict=True), strict=True):
        known = [torch.zeros_like(one) if row is None else row for row in rows]
        slopes.append(None if all(row is None for row in rows) else torch.cat(known))
    return slopes


def _as_many(answer: torch.Tensor, rows: slice) -> torch.Tensor:
    """An answer about one picture, for each of the equal rows that it stands for."""
    return answer.expand(rows.stop - rows.start, *answer.shape[1:])


def _answers(heard: torch.Tensor, slope: torch.Tensor | None, rows: slice) -> tuple[torch.Tensor, torch.Tensor]:
    """What was heard and its slope, as float32 on the CPU, a row for each target."""
    value = heard.detach().float().cpu()
    return _as_many(value, rows), _as_many(torch.zeros_like(value) if slope is None else slope.float().cpu(), rows)


def _joined(parts: Sequence[Any]) -> Any:
    """The answers of several batches as one."""
    first = parts[0]
    if len(parts) == 1:
        return first
    if isinstance(first, torch.Tensor):
        return torch.cat(list(parts))
    if isinstance(first, dict):
        return {key: _joined([part[key] for part in parts]) for key in first}
    columns = [_joined(column) for column in zip(*parts, strict=True)]
    return columns if isinstance(first, list) else type(first)(*columns)
