"""What a mistake looks like: a sentence if the visitor can fix it, a number if only we can. Never a traceback."""

from __future__ import annotations

import logging
import secrets
import string
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from typing import ParamSpec

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from pages.shared.state import session
from xai_core.errors import AuditError

P = ParamSpec("P")
LOG = logging.getLogger("second_look")

# Everything that could start Markdown, a directive, a formula or an element. A shortcode such as :smile: cannot be
# escaped, only broken up, which the word joiner does without being seen.
_ESCAPES = {ord(mark): f"\\{mark}" for mark in string.punctuation if mark not in ",.:;/?!'\"%="}
_ESCAPES |= {ord(":"): "\\:\N{WORD JOINER}", ord("\n"): " ", ord("\r"): " ", ord("\t"): " "}


def plain(text: object) -> str:
    """Text from outside, such that Markdown shows it as it is."""
    words = str(text).translate(_ESCAPES)
    return words.replace("http", "h\N{WORD JOINER}ttp").replace("www.", "w\N{WORD JOINER}ww.")  # no links by themselves


def incident() -> str:
    """Log the error being handled under a number, and the sentence that gives the visitor this number."""
    number = secrets.token_hex(4)
    LOG.exception("incident %s", number)
    return f"Something went wrong on our side (incident {number}). Nothing of yours was lost; please try again."


@contextmanager
def shown() -> Iterator[None]:
    """Show what went wrong earlier until it is dismissed, and what goes wrong inside as long as it does."""
    place, told = st.empty(), list(session().mistakes)
    _list(place, told)
    with shown_here():
        yield
    if session().mistakes != told:
        if told:  # they have been drawn, and their keys cannot be used twice
            st.rerun()
        _list(place, session().mistakes)


@contextmanager
def shown_here() -> Iterator[None]:
    """Show what goes wrong inside, in its place, as long as it does. For fragments, which are drawn on their own."""
    try:
        yield
    except AuditError as error:
        st.error(plain(error), icon=":material/error:")
    except Exception:
        st.error(plain(incident()), icon=":material/error:")


def kept(action: Callable[P, None]) -> Callable[P, None]:
    """A callback whose mistakes stay on the page until they are dismissed."""

    @wraps(action)
    def careful(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            action(*args, **kwargs)
        except AuditError as error:
            session().say(str(error))
        except Exception:
            session().say(incident())

    return careful


def _list(place: DeltaGenerator, mistakes: Sequence[str]) -> None:
    if not mistakes:
        return
    with place.container(key="mistakes"):
        for sentence in mistakes:
            st.error(plain(sentence), icon=":material/error:")
        st.button("Dismiss", key="dismiss", icon=":material/close:", on_click=session().mistakes.clear)
