"""What a comparison is asked to do: pairs from a CSV, methods from a list."""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import __version__
from ..files.detached import stamps_of
from ..methods import method, settings_of
from ..settings import files_of, numbers_of
from ..similarity import similarities
from ..types import AUTOMATIC, PRESETS, InputError

FILES = (
    "fixed",
    "moving",
    "fixed_labels",
    "moving_labels",
    "fixed_mask",
    "moving_mask",
    "fixed_points",
    "moving_points",
)
#: The folders of an absolute path in a sentence, of Linux, macOS or Windows.
_FOLDERS = re.compile(r"""(?<![\w/:.])/(?:[^\s/"':,;()]+/)+|\b[A-Za-z]:[\\/](?:[^\s\\/"':,;()]+[\\/])+""")
_PAIRED = (("fixed_labels", "moving_labels"), ("fixed_points", "moving_points"))


@dataclass(frozen=True)
class Pair:
    """A row of the CSV: its name, and its files by what they are."""

    name: str
    files: Mapping[str, str]


@dataclass(frozen=True)
class Method:
    """One column of the comparison.

    Attributes:
        label: what it was asked for as: NAME, NAME:VARIANT, either followed by /PRESET.
        name: of the card. preset: as asked for. settings: numbers that differ from the method's.
    """

    label: str
    name: str
    preset: str
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclass(frozen=True)
class Cell:
    """One method on one pair; everything a worker needs to know.

    Attributes:
        pair, method: which.
        linear, similarity, device: as for a registration.
        threads: that it may use; 0 for all.
        anonymous: whether the names of files and images are left out of what is written.
        shows: what the pair shows, as ``Request.pair``.
    """

    pair: Pair
    method: Method
    linear: str
    similarity: str
    device: str
    threads: int
    anonymous: bool = False
    shows: str = AUTOMATIC

    def values(self) -> dict[str, Any]:
        """Return the cell as plain values for JSON."""
        return dataclasses.asdict(self)

    def fingerprint(self) -> str:
        """Return a checksum of everything that its outcome depends on: files, method, weights, numbers, and version."""
        stamps = {}
        for what, path in self.pair.files.items():
            stamps[what] = [path, *stamps_of(Path(path))]
        weights = method(
            self.method.name
        ).card.sha256  # of a model that was added, and may be another under its name now
        text = json.dumps([__version__, self.values(), stamps, weights], sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()

    def shown_files(self) -> dict[str, str]:
        """Return what may be written of its files: their names without folders, or only what they are."""
        return {
            what: what.replace("_", " ") if self.anonymous else os.path.basename(path)
            for what, path in self.pair.files.items()
        }

    def without_paths(self, text: str) -> str:
        """Return a message without the folders of this computer, and without names where they are left out."""
        shown = self.shown_files()
        for what, path in sorted(self.pair.files.items(), key=lambda item: -len(item[1])):
            text = text.replace(path, shown[what])
            if self.anonymous:
                text = text.replace(os.path.basename(path), shown[what])
        return _FOLDERS.sub("", text)

    @property
    def file_name(self) -> str:
        """Name of the file of its outcome under the folder of cells, without its ending."""
        safe = "".join(c if c.isalnum() or c in "-_." else "-" for c in self.method.label)
        return f"{self.pair.name}/{safe}"


def read_cell(values: Mapping[str, Any]) -> Cell:
    """Return a cell from its plain values (``Cell.values``)."""
    return Cell(**{**values, "pair": Pair(**values["pair"]), "method": Method(**values["method"])})


def read_pairs(path: Path) -> list[Pair]:
    """Read the pairs of a CSV.

    Its heading has fixed and moving, and as far as there are any the other FILES and ``name``. Paths may be relative to
    the CSV. A pair may lack labels or landmarks that others have.

    Raises:
        InputError: it cannot be read, a column is unknown or missing, a file is not there, or names come twice.
    """
    try:
        with open(path, newline="", encoding="utf-8-sig") as stream:
            rows = list(csv.DictReader(stream))
    except OSError as error:
        raise InputError(
            f"The list of pairs {path} cannot be read ({error.strerror or error}). Check the path."
        ) from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(
            f"The list of pairs {path} is not a CSV text file ({error}). Save it as CSV (UTF-8)."
        ) from error
    heading = [name for name in (rows[0] if rows else {}) if name is not None]
    unknown = sorted(set(heading) - {*FILES, "name"})
    if not rows or not {"fixed", "moving"} <= set(heading) or unknown:
        raise InputError(
            f"The list of pairs {path} needs the columns fixed and moving, and may have name, {', '.join(FILES[2:])}; "
            f"it has {', '.join(heading) or 'none'}."
        )
    pairs = [_pair(path, number, row) for number, row in enumerate(rows, start=1)]
    names = [pair.name for pair in pairs]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(f"{path}: the name {twice[0]} comes twice. Give every pair another name in the column name.")
    return pairs


def _pair(path: Path, number: int, row: Mapping[str | None, Any]) -> Pair:
    if None in row:
        raise InputError(f"{path}, row {number}: more cells than the heading has columns.")
    if any("\0" in (value or "") for value in row.values()):
        raise InputError(
            f"{path}, row {number}: unreadable characters; the file is damaged. Save it again as CSV (UTF-8)."
        )
    files = {what: str((path.parent / row[what]).resolve()) for what in FILES if (row.get(what) or "").strip()}
    for what in ("fixed", "moving"):
        if what not in files:
            raise InputError(f"{path}, row {number}: no {what} image is named.")
    for what, file in files.items():
        if not os.path.exists(file):  # unlike Path.exists it takes names of any length
            raise InputError(f"{path}, row {number}: the {what.replace('_', ' ')} {file} is not there.")
    for first, second in _PAIRED:
        if (first in files) != (second in files):
            raise InputError(f"{path}, row {number}: give {first} and {second} both, or neither.")
    name = (row.get("name") or "").strip() or f"pair-{number:03d}"
    if not all(c.isalnum() or c in "-_." for c in name) or name[0] == ".":
        raise InputError(f"{path}, row {number}: the name {name!r} must be of letters, digits, -, _ and points.")
    return Pair(name, files)


def read_methods(labels: Sequence[str], preset: str, changed: Sequence[str] = ()) -> list[Method]:
    """Return the methods by label, with their settings.

    Args:
        labels: NAME, NAME:VARIANT, either with /PRESET.
        preset: of those that name none.
        changed: METHOD.SETTING=VALUE, or SETTING=VALUE for every method that has that setting.

    Raises:
        InputError: a method, preset or setting is unknown, or a method is named twice.
    """
    methods: list[Method] = []
    for label in labels:
        name, _, asked = label.partition("/")
        if asked and asked not in PRESETS:
            raise InputError(f"{label}: the preset must be one of {', '.join(PRESETS)}.")
        if label in (method.label for method in methods):
            raise InputError(f"The method {label} is named twice.")
        settings = _settings(label, name, asked or preset, changed, labels)
        methods.append(Method(label, name, asked or preset, settings))
    return methods


def _settings(label: str, name: str, preset: str, changed: Sequence[str], labels: Sequence[str]) -> dict[str, Any]:
    chosen, settings = method(name), {}
    for text in changed:
        key, sign, value = text.partition("=")
        owner, setting = _owner(key, labels)
        if not sign or not setting:
            raise InputError(f"--set needs METHOD.SETTING=VALUE or SETTING=VALUE; it was {text!r}.")
        if owner and owner not in labels:
            raise InputError(f"--set {text}: {owner} is none of the methods of this comparison.")
        if owner == label or (not owner and _has(name, preset, setting)):
            settings[setting] = value
        elif not owner and not any(_has(other.partition("/")[0], preset, setting) for other in labels):
            raise InputError(f"--set {text}: none of the methods has a setting {setting}.")
    checked = settings_of(chosen, preset, settings)
    absolute = {one.name: one.value for one in files_of(checked) if one.name in settings}
    return {**settings, **absolute}  # cells work in other folders


def _owner(key: str, labels: Sequence[str]) -> tuple[str, str]:
    """Split METHOD.SETTING; a setting may hold a point itself ("lncc.window_radius")."""
    for label in labels:
        if key.startswith(f"{label}."):
            return label, key[len(label) + 1 :]
    head, _, rest = key.partition(".")
    return ("", key) if not rest or head in similarities() else (head, rest)


def _has(name: str, preset: str, setting: str) -> bool:
    settings = method(name).presets[preset]
    return setting in {*[one.name for one in files_of(settings)], *(number.name for number in numbers_of(settings))}


def cells_of(pairs: Sequence[Pair], methods: Sequence[Method], **options: Any) -> list[Cell]:
    """Return the cells of every method on every pair, pair by pair."""
    return [Cell(pair, method, **options) for pair in pairs for method in methods]
