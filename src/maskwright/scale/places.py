"""Where pictures lie and results go: below a folder of this machine or of a store, by any address that fsspec knows.

What is written is whole or not there at all, wherever it is: files of this machine are renamed into place, and so are
those of a store unless it shows an upload only when it has ended.
"""

import secrets
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

from maskwright.errors import InputError, MissingExtraError
from maskwright.files import write_bytes

# Stores that show an object when its upload has ended, and not before.
_SHOW_WHOLE_OBJECTS = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "oss", "memory"})


@dataclass(frozen=True)
class Place:
    """A folder; what lies below it is named by posix paths. It can be pickled, and opens the store where it arrives.

    Attributes:
        address: As the user wrote it.
        files: Its file system, of fsspec.
        root: The folder's path in that.
    """

    address: str
    files: Any
    root: str

    @property
    def is_local(self) -> bool:
        """Whether it is a folder of this machine."""
        return "file" in _protocols(self.files)

    def path(self, name: str) -> str:
        """The path of a file in its file system."""
        return f"{self.root.rstrip('/')}/{name}"

    def local_path(self, name: str) -> Path:
        """The path of a file of this machine."""
        return Path(self.path(name))

    def read(self, name: str, start: int | None = None, stop: int | None = None) -> bytes:
        """The bytes of a file, or some of them."""
        content: bytes = self.files.cat_file(self.path(name), start=start, end=stop)
        return content

    def open(self, name: str) -> IO[bytes]:
        """A file, to be read as a stream or here and there."""
        file: IO[bytes] = self.files.open(self.path(name), "rb")
        return file

    def write(self, name: str, content: bytes) -> None:
        """Write a file, whole or not at all; folders are made where they are missing."""
        if self.is_local:
            write_bytes(self.local_path(name), content)
            return
        self._place(name, lambda path: self.files.pipe_file(path, content))

    def upload(self, name: str, file: Path) -> None:
        """Likewise, of what a file of this machine holds."""
        self._place(name, lambda path: self.files.put_file(str(file), path))

    def below(self, name: str = "") -> list[str]:
        """The names of all files below a folder of it; none where there is no such folder."""
        root = self.path("")
        self.files.invalidate_cache()  # others write there, too
        try:
            found = self.files.find(self.path(name).rstrip("/"))
        except FileNotFoundError:
            return []
        return sorted(path.removeprefix(root) for path in found)

    def remove_file(self, name: str) -> None:
        """Remove a file, where it is there."""
        with suppress(FileNotFoundError):
            self.files.rm_file(self.path(name))

    def remove(self, name: str) -> None:
        """Remove a folder and everything in it, where it is there."""
        if self.files.exists(self.path(name)):
            self.files.rm(self.path(name), recursive=True)

    def _place(self, name: str, write: Callable[[str], None]) -> None:
        path = self.path(name)
        if not _SHOW_WHOLE_OBJECTS.isdisjoint(_protocols(self.files)):
            write(path)  # nor have they folders
            return
        self.files.makedirs(str(PurePosixPath(path).parent), exist_ok=True)
        unfinished = str(PurePosixPath(path).with_name(f".{secrets.token_hex(8)}"))
        write(unfinished)
        self.files.mv(unfinished, path)


def open_place(address: str) -> Place:
    """The folder at an address, which need not be there.

    Raises:
        InputError: fsspec knows no such address, or lacks the package for it.
        MissingExtraError: fsspec is not installed.
    """
    try:
        from fsspec.core import url_to_fs
    except ImportError as error:
        raise MissingExtraError("fsspec", "scale") from error
    try:
        files, root = url_to_fs(address)
    except ImportError as error:  # fsspec says which package reads such addresses
        raise InputError(f"{address} cannot be opened: {error}.") from error
    except ValueError as error:
        raise InputError(f"{address} is no address that fsspec knows ({error}); write s3://... or a folder.") from error
    return Place(address, files, root)


def find_files(address: str) -> tuple[Place, dict[str, int]]:
    """The files that an address names, and their sizes in bytes.

    Args:
        address: A file, a folder (with everything below it) or, where there is neither, a pattern such as
            ``s3://bucket/shards/*.tar``.

    Returns:
        The folder that they lie below, and the files by their names in it, sorted.

    Raises:
        InputError: There is nothing, or it cannot be listed.
    """
    place = open_place(address)
    try:
        root, found = _find(place.files, place.root)
    except FileNotFoundError as error:
        raise InputError(f"{address} does not exist; check the address.") from error
    except Exception as error:  # each store's library has errors of its own
        raise InputError(f"{address} cannot be listed ({error}); check the address and the rights to it.") from error
    below = Place(address, place.files, root)
    start = below.path("")
    sizes = {path.removeprefix(start): int(facts.get("size") or 0) for path, facts in found}
    return below, dict(sorted(sizes.items()))


def _find(files: Any, path: str) -> tuple[str, Iterable[tuple[str, dict[str, Any]]]]:  # noqa: ANN401 - fsspec has no types
    # What is there is no pattern: `photos [2024]` is a name like any other.
    if files.isfile(path):
        return files._parent(path), [(path, files.info(path))]
    if files.exists(path):
        return path, _only_files(files.find(path, detail=True))
    parts = PurePosixPath(path).parts
    fixed = next((place for place, part in enumerate(parts) if any(sign in part for sign in "*?[")), None)
    found = {} if fixed is None else files.glob(path, detail=True)
    if not found:
        raise FileNotFoundError(path)
    return str(PurePosixPath(*parts[:fixed])), _only_files(found)


def _only_files(found: dict[str, dict[str, Any]]) -> Iterable[tuple[str, dict[str, Any]]]:
    return [(path, facts) for path, facts in found.items() if facts["type"] != "directory"]


def _protocols(files: Any) -> set[str]:  # noqa: ANN401
    protocol = files.protocol
    return {protocol} if isinstance(protocol, str) else set(protocol)
