"""What one visitor is looking at and asking. The only module that touches the session."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import streamlit as st

from pages.shared.audit_data import Auditing, Picked
from pages.shared.question import Looks, Question
from pages.shared.review_view import Reviewing
from xai_core.records import Evidence, Explanation, Finding, Image, Prediction, Score

if TYPE_CHECKING:
    from streamlit.navigation.page import Page

    from pages.shared.jobs import Arriving, Job, Recomputing, Survey, Verifying
    from pages.shared.own_weights import OwnWeights
    from xai_core.chain import ChainReport
    from xai_core.score_table import ScoreTable
    from xai_core.validity import Validity
    from xai_core.verification import Report

T = TypeVar("T")
KEPT_MAPS = 160  # per visitor: five questions to every method
KEPT_SCORES = 4096
KEPT_TABLES = 4  # of one picture
KEPT_COMPARISONS = 2  # each holds the maps of all its pictures
KEPT_FINDINGS = 8
KEPT_PREDICTIONS = 256
KEPT_PICTURES = 32
KEPT_PIXELS = 120_000_000  # of all pictures of one visitor together: 360 MB
KEPT_BYTES = 400_000_000  # of one visitor's files


@dataclass(frozen=True)
class Kept:
    """A map, and the work that made it; None where it was known before."""

    explanation: Explanation
    work: Job | None = None


@dataclass(frozen=True)
class Compared:
    """Methods compared over several pictures, and a sentence for each that made no map of some."""

    table: ScoreTable
    left_out: Sequence[str]


@dataclass(frozen=True)
class Probed:
    """What a probe found, and the names of the pictures in their order: for the screen, never saved."""

    finding: Finding
    names: Sequence[str]


@dataclass
class Probing:
    """What one visitor probes."""

    asked: tuple[str, ...] = ()  # keys of the findings that the person asked for last
    shown: tuple[str, ...] = ()  # of those that were shown last
    parts: Mapping[str, object] = field(default_factory=dict)  # what those were asked, by the name of each part
    told: str = ""  # what became of the work that was begun last, where it was stopped
    address: Mapping[str, Sequence[str]] | None = None  # what a link asks, to be put into the widgets
    again: Finding | None = None  # a saved one that is asked again
    hashes: tuple[str, Sequence[str]] = ("", ())  # sha256 of the pictures of a set, by what tells it from others
    picked: Picked = field(default_factory=Picked)
    boxes: dict[str, tuple[float, float, float, float]] = field(default_factory=dict)  # drawn, by sha256 and part


@dataclass
class Answers(Generic[T]):
    """Answers of one kind, by key: those that are there, those that cannot be had, and the work on the others."""

    most: int  # that are kept; the one that was used longest ago makes room
    kept: OrderedDict[str, T] = field(default_factory=OrderedDict)
    failed: dict[str, str] = field(default_factory=dict)  # why there is none
    stopped: frozenset[str] = frozenset()  # those that are not worked on until the person says so
    stopped_why: str = ""
    job: Arriving[T] | None = None

    def missing(self, keys: Iterable[str]) -> list[str]:
        """The keys of the answers that are neither there, nor impossible, nor stopped."""
        return [key for key in keys if not (key in self.kept or key in self.failed or key in self.stopped)]

    def keep(self, key: str, answer: T) -> None:
        """Remember an answer."""
        self.kept[key] = answer
        self.kept.move_to_end(key)
        while len(self.kept) > self.most:
            self.kept.popitem(last=False)

    def stop(self, keys: Iterable[str], why: str) -> None:
        """Do not work on these until the person says so."""
        self.stopped, self.stopped_why = self.stopped | set(keys), why

    def settle(self, keys: Iterable[str]) -> None:
        """Take what has arrived, and see whether the work is over. Work on more than `keys` is given up."""
        if (job := self.job) is None:
            return
        over = not job.running
        for key, one in job.take():
            if isinstance(one, str):
                self.failed[key] = one
            else:
                self.keep(key, one)
        if over:
            self.job = None
            if job.due and job.problem:
                self.stop(job.due, job.problem)
        elif not job.due <= set(keys):
            job.cancel.set()
            self.job = None


@dataclass
class Session:
    """One visitor. Nothing of it is shared with another."""

    pictures: dict[str, Image] = field(default_factory=dict)  # uploads by the sha256 of their files
    files: dict[str, bytes] = field(default_factory=dict)  # their bytes: to show another frame, and to be kept
    masks: dict[tuple[str, str], Image] = field(default_factory=dict)  # what marks the evidence of uploads, by `place`
    chosen: str = ""  # sha256 of an upload; empty while a sample, or nothing, is looked at
    sample: str = ""
    uploads: int = 0  # how many times the uploader has been emptied
    models_chosen: set[int] = field(default_factory=set)  # slots chosen by the person: a sample does not change them
    models_shown: dict[int, tuple[str, bool, str]] = field(default_factory=dict)  # by slot, the last that were opened
    models_back: set[int] = field(default_factory=set)  # slots where no model has the name that was typed
    pending: Question | None = None  # to be put into the widgets as soon as they are drawn
    wanted: str = ""  # sha256, or its beginning, of the picture that a link or a record is about
    weights: Sequence[tuple[str, str]] = ()  # names of models, and sha256 of the weights that a record was made with
    began: bool = False  # the address has been read
    maps: Answers[Kept] = field(default_factory=lambda: Answers(KEPT_MAPS))
    evidence: Answers[Evidence] = field(default_factory=lambda: Answers(KEPT_MAPS))  # by the key of the map
    scores: Answers[Score] = field(default_factory=lambda: Answers(KEPT_SCORES))
    tables: Answers[ScoreTable] = field(default_factory=lambda: Answers(KEPT_TABLES))
    comparisons: Answers[Compared] = field(default_factory=lambda: Answers(KEPT_COMPARISONS))
    comparing: str = ""  # the comparison that the person asked for and has not got yet
    findings: Answers[Probed] = field(default_factory=lambda: Answers(KEPT_FINDINGS))
    probing: Probing = field(default_factory=Probing)
    predictions: OrderedDict[str, Prediction] = field(default_factory=OrderedDict)
    heard: bool = False  # the browser has asked whether what it waits for is there
    saving: Job | None = None
    own_models: dict[str, OwnWeights] = field(default_factory=dict)  # by name: open to this visitor alone
    weights_wanted: bool = False  # to be opened, but not begun
    weights_taken: int = 0  # how many times their uploader has been emptied
    survey_wanted: bool = False  # by the person, but not begun
    surveying: Survey | None = None
    surveys: dict[str, Sequence[Validity]] = field(default_factory=dict)  # which methods are valid, by model
    saves: int = 0  # how many records have been saved
    saved: str = ""  # name of the record just saved
    saved_by: str = ""  # what the button said that was pressed for it
    unsaved: str = ""  # the note of a record that is being saved, or could not be
    looks: dict[str, Looks] = field(default_factory=lambda: {"maps": Looks(), "compared": Looks(shared=True)})
    looks_given: int = 0  # how many times a record has brought its own
    mistakes: list[str] = field(default_factory=list)  # sentences that stay until they are dismissed
    reviewing: Reviewing = field(default_factory=Reviewing)
    auditing: Auditing = field(default_factory=Auditing)
    made: Answers[Kept] = field(default_factory=lambda: Answers(KEPT_MAPS))  # for cases of runs
    reviewer: str = ""  # the name that this person gave, to be put into what is saved
    opened: str = ""  # where the record that is open lies, below the store
    beside: str = ""  # and the one that it is compared with
    reports: dict[str, Report] = field(default_factory=dict)  # of verifying, by where the records lie
    verifying: Verifying | None = None
    recomputing: Recomputing | None = None
    verified: Verifying | None = None  # the last that ended
    checking: Job | None = None  # the chain
    chain: ChainReport | None = None
    settled: str = ""  # what became of the record that was imported or deleted last
    menu: dict[str, Page] = field(default_factory=dict)

    def take(self, image: Image, file: bytes = b"") -> str | None:
        """Keep an upload, or another frame of it, and look at it; or say why there is no room."""
        key, _ = place(image)
        others = [one for sha256, one in self.pictures.items() if sha256 != key]
        pixels = sum(one.pixels[..., 0].size for one in (*others, image))
        files = {**self.files, key: file} if file else self.files
        if len(others) >= KEPT_PICTURES or pixels > KEPT_PIXELS or sum(map(len, files.values())) > KEPT_BYTES:
            return f"{image.name or 'The picture'} was not taken: too many pictures are here. Remove some first."
        self.pictures[key], self.files = image, files
        self.chosen, self.sample = key, ""
        return None

    def drop(self, sha256: str) -> None:
        """Forget an upload."""
        self.pictures.pop(sha256, None)
        self.files.pop(sha256, None)
        self.masks = {of: mask for of, mask in self.masks.items() if of[0] != sha256}
        if self.chosen == sha256:
            self.chosen = next(reversed(self.pictures), "")

    def unmark(self) -> None:
        """Forget the mask of the upload that is looked at."""
        self.masks.pop(place(self.pictures[self.chosen]), None)

    def step(self, by: int) -> None:
        """Look at the next upload, or the one before."""
        order = list(self.pictures)
        if order and self.chosen:
            self.chosen = order[(order.index(self.chosen) + by) % len(order)]

    @property
    def jobs(self) -> list[Job]:
        """All the work that goes on, or has ended unseen."""
        every = (*(one.job for one in self._answers), self.saving, self.surveying, *self._filed)
        return [job for job in every if job is not None]

    def settle(self) -> None:
        """Take what has arrived, whichever page asked for it."""
        for one in self._answers:
            if one.job is not None:
                one.settle(one.job.due)

    @property
    def _answers(self) -> tuple[Answers[Any], ...]:
        return self.maps, self.scores, self.evidence, self.comparisons, self.made, self.findings

    @property
    def _filed(self) -> tuple[Job | None, ...]:
        return self.verifying, self.recomputing, self.checking

    def predicted(self, digest: str, prediction: Prediction) -> None:
        """Remember a prediction."""
        self.predictions[digest] = prediction
        while len(self.predictions) > KEPT_PREDICTIONS:
            self.predictions.popitem(last=False)

    def say(self, sentence: str) -> None:
        """Put a sentence on the page that stays until it is dismissed."""
        if sentence not in self.mistakes:
            self.mistakes.append(sentence)

    def ask(self, question: Question, looks: Looks | None = None) -> None:
        """Look at what a link or a record is about."""
        from pages.shared import samples

        self.pending, self.weights = question, question.weights
        self.sample = self.chosen = self.wanted = ""
        upload = next((key for key in self.pictures if question.picture and key.startswith(question.picture)), "")
        known = samples.by_hash(question.picture) or (question.sample if question.sample in samples.samples() else "")
        if upload:
            self.chosen = upload
        elif known:
            self.sample = known
        else:
            self.wanted = question.picture
        if question.sample and not self.sample:
            self.say(f"No sample is called {question.sample!r}. Pick one of those shown.")
        if looks is not None:
            self.looks["compared" if len(question.models) > 1 else "maps"] = looks
            self.looks_given += 1


def place(image: Image) -> tuple[str, str]:
    """The sha256 of an upload's file, and that of the frame in it."""
    return str(image.source.get("file_sha256", image.sha256)), image.sha256


def session() -> Session:
    """This visitor's state."""
    state: Session = st.session_state.setdefault("session", Session())
    return state


def put(key: str, value: Any) -> None:
    """Set a widget that has not been drawn yet in this run."""
    st.session_state[key] = value


def start_with(key: str, value: Any) -> None:
    """Set a widget that nobody has set yet."""
    st.session_state.setdefault(key, value)


def value(key: str) -> Any:
    """What a widget says, for its callback; None where it says nothing."""
    return st.session_state.get(key)


def read_address() -> Mapping[str, list[str]]:
    """The query of the address, every value of every key."""
    return {key: st.query_params.get_all(key) for key in st.query_params}


def write_address(words: Mapping[str, str | list[str]]) -> None:
    """Let the address bar hold `words`, so that its link brings back what is seen."""
    wanted = {key: value if isinstance(value, list) else [value] for key, value in words.items()}
    if wanted != read_address():
        st.query_params.from_dict(words)


def look(viewer: str, given: Any) -> None:
    """Take over how the visitor now looks at the maps of a viewer."""
    session().looks[viewer] = Looks.from_outside(given)
