"""The mistakes a person can fix.

    AuditError
    ├── PictureError        a file is no picture, is damaged, or is too large
    ├── ModelError          a network or its weights cannot be had, or do not fit
    ├── SettingError        a name or a setting that is not on offer
    ├── UnsupportedError    this method says nothing about this network
    ├── MemoryShortError    even one picture does not fit the device
    ├── RecordError         a record cannot be written, read or believed
    ├── StoreError          a store of answers or a folder of results cannot be opened, written or had alone
    └── Cancelled           the person stopped it

Each carries one sentence: what, why, and what to do next. Anything else that is raised is our own mistake
and stays loud.
"""

from __future__ import annotations


class AuditError(Exception):
    """Root of every mistake a person can fix."""


class PictureError(AuditError):
    """A file is no picture, is damaged, or is too large."""


class ModelError(AuditError):
    """A network or its weights cannot be had, or do not fit."""


class SettingError(AuditError):
    """A name or a setting that is not on offer."""


class UnsupportedError(AuditError):
    """A method that says nothing about this network."""


class MemoryShortError(AuditError):
    """Even one picture at a time does not fit the device."""


class RecordError(AuditError):
    """A record cannot be written, read or believed."""


class StoreError(AuditError):
    """A store of answers or a folder of results cannot be opened, written or had alone."""


class Cancelled(AuditError):
    """The person stopped it; nothing of it was kept."""
