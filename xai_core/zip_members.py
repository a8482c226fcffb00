"""A zip that an enemy may have made, read within bounds: its list up to a limit, a member up to what it declares."""

from __future__ import annotations

import io
import zipfile

PIECE = 2**20  # bytes read at once


class TooMuchAtOnce(Exception):
    """More bytes of an archive were to be read in one step than are accepted."""


class WrongSize(Exception):
    """A member has fewer or more bytes than it declares."""


class Sparing(io.BufferedReader):
    """The file of an archive, of which at most `most` bytes are read at once: only its list is ever read whole.

    zipfile holds a list as objects of many times its size. Reading more raises TooMuchAtOnce.
    """

    def __init__(self, file: io.BufferedReader | io.BytesIO, most: int) -> None:
        super().__init__(file)
        self._most = most

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(self._most + 1 if size is None or size < 0 else min(size, self._most + 1))
        if len(data) > self._most:
            raise TooMuchAtOnce
        return data


def read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    """A member's bytes; never more than one beyond what it declares is unpacked, a piece aside.

    Raises WrongSize where it has fewer or more, BadZipFile where it is damaged.
    """
    data = bytearray()
    try:
        with archive.open(member) as file:
            while len(data) <= member.file_size and (piece := file.read(PIECE)):
                data += piece
    except Exception as error:  # damaged bytes make zipfile and zlib raise anything
        raise zipfile.BadZipFile("a member is damaged") from error
    if len(data) != member.file_size:
        raise WrongSize
    return bytes(data)
