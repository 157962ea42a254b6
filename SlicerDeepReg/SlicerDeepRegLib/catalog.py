"""The cards: what each network is, where it comes from and what it needs. Read without torch.

A card is ``card.json`` in a folder of its own: ``Resources/Models/<name>`` for what comes with the product, and
``user_models_folder()/<name>`` for what a user has added. Adding a network is one file in ``networks/`` and one card.
A model is a network with weights: a folder with a card and ``weights.safetensors``; what its card does not say is as on
the card of its network. A method without a network has no such file: it defines its ``Card`` on its own class.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from .processes.folders import restore
from .types import InputError, meant

_LIBRARY = Path(__file__).resolve().parent
#: Beside the library in the repository and in Slicer; inside it in an installed wheel.
MODEL_FOLDERS = (_LIBRARY.parent / "Resources" / "Models", _LIBRARY / "Resources" / "Models")
CARD_FILE, WEIGHTS_FILE = "card.json", "weights.safetensors"
#: Where a model lies for the moment in which another takes its place.
SET_ASIDE = ".before-"
#: The card of a segmentation network that was trained with a registration network.
SEGMENTATION_CARD = "segmentation.json"
#: What ``slicerdeepreg segment --model`` takes for the model that comes with the product, and where that may lie.
BRAIN_MODEL = "brain"
BRAIN_FOLDERS = tuple(folder / "brain-structures" for folder in MODEL_FOLDERS)
#: What such a card calls the network that sees the structures of a brain.
STRUCTURES_NETWORK = "structures"
#: What a recipe may say.
RECIPE = ("intensity", "voxel_mm", "orientation", "match")
#: The intensities that a recipe may ask for: this one, or this and a number.
UNIT, DIVIDED = "unit", "divide:"
#: What weights may have been trained for, as a card names it; ``preparation.regime`` has the rule of each.
BRAIN = "brain"
REGIMES = (BRAIN,)
#: How a model with weights is used unless its card says otherwise: not fitted to the pair, and refined by three
#: quarters of the steps that ``svf`` does at its two finest scales, so that the whole takes no longer than ``svf``.
TRAINED_SETTINGS = {"instance_steps": 0, "refine": 30}


@dataclass(frozen=True)
class Card:
    """Describe one network, or one model: a network with weights.

    Attributes:
        name: what ``--method`` takes.
        title: for people.
        summary: one or two sentences.
        references: the papers, as text with DOI.
        license: of our code and weights.
        dimensions: 2, 3 or both.
        parameters: number of trained parameters.
        weights: file name, or None.
        trained_on: what the weights have seen, or None.
        shown: what it has been shown to do, and by which command; or None.
        good_for: one line for menus: which images it is good for.
        order: its place among models with weights in menus, the smallest first.
        limits: what it is not good for.
        regime: what the weights were trained for, one of ``REGIMES``; images that cannot be that are a warning. None
            for anything.
        credits: whose data the weights were trained on, with their licenses.
        year: of the paper.
        network: which network of ``networks/`` it is.
        configuration: where the network differs from its defaults.
        variants: by name, other configurations that can be asked for as NAME:VARIANT (a size, or an ablation of the
            paper): title, configuration, parameters, and as "memory" how much more memory it takes.
        recipe: what the network needs done to its input: ``intensity`` ("unit": 0 to 1 by robust range, the moving
            image matched to the fixed one; "divide:255": the values divided by that number, nothing else),
            ``match`` (false: the moving image is not matched; for networks that learned from pairs of any two
            contrasts, which then take images of different modalities), ``voxel_mm`` (the voxel size that it was
            trained at, one number or those of i, j and k; None for any) and ``orientation`` (the ways in which i, j and
            k grow, as "RAS"; None or left out for axes as the fixed image stores them). Single slices are never turned.
        training: schedules to train the network by, by name, see ``training/schedules.py``.
        operations: of one pair of 160 x 192 x 224, as the profiler of MSRD-Net's table counts (see networks/size.py).
        multiply_accumulates: those that our code does in the same pass, products of attention included.
        settings: where the method's defaults are other ones for this card.
        bytes_per_voxel: memory for each voxel of the working grid, rounded up from benchmarks, to "fit", to fit
            "checkpointed", and to "infer".
        published: metrics of the paper, for docs/models.md.
        diagram: how a network is drawn in docs/models.md, from one pass through it: ``blocks``, patterns (regular
            expressions) of the names of its modules with the title of each box, which ends in ", tokens" where
            tensors have their channels last; a ``note`` for readers; a ``configuration`` where it differs.
        left_open: what the paper leaves open and what was chosen, for docs/models.md.
        verified: of a network of others with public code: how ours was compared with it; None for our own five.
        sha256: of the weights.
        folder: where the card lies.
    """

    name: str
    title: str
    summary: str
    references: tuple[str, ...]
    license: str
    dimensions: tuple[int, ...]
    parameters: int = 0
    weights: str | None = None
    trained_on: str | None = None
    shown: str | None = None
    good_for: str = ""
    order: int = 100
    limits: str = ""
    regime: str | None = None
    credits: tuple[str, ...] = ()
    year: int | None = None
    network: str | None = None
    configuration: Mapping[str, Any] = field(default_factory=dict)
    variants: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    recipe: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    operations: int | None = None
    multiply_accumulates: int | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    bytes_per_voxel: Mapping[str, int] = field(default_factory=dict)
    published: tuple[Mapping[str, Any], ...] = ()
    diagram: Mapping[str, Any] = field(default_factory=dict)
    left_open: tuple[str, ...] = ()
    verified: str | None = None
    sha256: str | None = None
    folder: Path | None = None

    @property
    def network_name(self) -> str:
        """Return the name of its network.

        Raises:
            ValueError: the card names none.
        """
        if self.network is None:
            raise ValueError(f"the card of {self.name} names no network")
        return self.network

    @property
    def matches_intensities(self) -> bool:
        """Tell whether its recipe has the moving intensities matched to the fixed ones."""
        return bool(self.recipe.get("match", True))

    @property
    def weights_path(self) -> Path:
        """Return where its weights lie.

        Raises:
            ValueError: it has none.
        """
        if self.folder is None or self.weights is None:
            raise ValueError(f"{self.name} has no weights")
        return self.folder / self.weights

    def describe(self) -> dict[str, Any]:
        """Return the card as plain values."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        values["folder"] = str(self.folder) if self.folder else None
        return values


def user_models_folder() -> Path:
    """Return where models that a user added lie: the variable SLICERDEEPREG_MODELS, or the system's place for data."""
    if os.environ.get("SLICERDEEPREG_MODELS"):
        return Path(os.environ["SLICERDEEPREG_MODELS"])
    if sys.platform == "win32":
        base = Path(os.environ.get("APPDATA", Path.home() / "AppData" / "Roaming"))
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Application Support"
    else:
        base = Path(os.environ.get("XDG_DATA_HOME", Path.home() / ".local" / "share"))
    return base / "SlicerDeepReg" / "models"


@cache
def cards() -> dict[str, Card]:
    """Return every card by name: those of the product in alphabetical order, then the user's."""
    return {**_shipped(), **_added()}  # no added one has the name of one of ours


def refresh() -> None:
    """Forget which cards there are, so that the next call looks again."""
    _shipped.cache_clear()
    cards.cache_clear()


@cache
def _shipped() -> dict[str, Card]:
    folders: dict[str, Path] = {}
    for folder in MODEL_FOLDERS:
        for path in sorted(folder.glob(f"*/{CARD_FILE}")):
            folders.setdefault(path.parent.name, path.parent)
    networks = {}
    for name, folder in folders.items():
        values = json.loads((folder / CARD_FILE).read_text("utf-8"))
        if values["network"] == name:
            networks[name] = Card(**_tidy(values), folder=folder)
    models = {name: _read_model(folder, networks) for name, folder in folders.items() if name not in networks}
    return dict(sorted({**networks, **models}.items()))


def _added() -> dict[str, Card]:
    found = {}
    restore(SET_ASIDE, user_models_folder())
    for path in sorted(user_models_folder().glob(f"[!.]*/{CARD_FILE}")):
        try:
            card = read_user_card(path.parent)
            if card.name != path.parent.name or card.name in _shipped():
                raise InputError(f"{path.parent} contains a model named {card.name}; add it again under another name.")
            found[card.name] = card
        except InputError as error:  # one bad folder must not take the others away
            print(f"slicerdeepreg: {error}", file=sys.stderr)
    return found


def read_user_card(folder: Path) -> Card:
    """Read the card of a model that a user has; what it does not say is as on the card of its network.

    Raises:
        InputError: there is none, it cannot be read, or something that it must say is missing or wrong.
    """
    return _read_model(folder, _networks())


def _networks() -> dict[str, Card]:
    return {name: card for name, card in _shipped().items() if card.network == name}


def _read_model(folder: Path, networks: Mapping[str, Card]) -> Card:
    path = folder / CARD_FILE
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if not folder.exists():
            raise InputError(f"There is no file or folder {folder}. Check the path.") from None
        raise InputError(f"{folder} has no {CARD_FILE}. A model is a folder with {CARD_FILE} and weights.") from None
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} cannot be read ({error}). It must be JSON; see docs/models.md.") from error
    if not isinstance(values, dict):
        raise InputError(f"{path} must contain one JSON object; see docs/models.md.")
    if values.get("network") not in networks:
        raise InputError(f'{path}: "network" must be one of {", ".join(networks)}; it is {values.get("network")!r}.')
    _check_recipe(values.get("recipe"), path)
    values.setdefault("name", folder.name)
    base = networks[values["network"]]
    _check_values(values, base, path)
    unless_it_says = dataclasses.replace(
        base,
        title=values["name"],
        summary=f"{base.title} with weights that you added.",
        weights=WEIGHTS_FILE,
        trained_on="unknown data (its card does not say)",
        license="unknown (its card does not say)",
        shown=None,
        variants={},
        operations=None,  # of the network's own configuration
        multiply_accumulates=None,
        published=(),
        folder=folder,
    )
    values["settings"] = {**base.settings, **TRAINED_SETTINGS, **values.get("settings", {})}
    return dataclasses.replace(unless_it_says, **_tidy(values))


#: What the card of a model may say, and of which kind it is.
_MODEL_VALUES: dict[str, tuple[type, ...]] = {
    "name": (str,),
    "title": (str,),
    "network": (str,),
    "summary": (str,),
    "license": (str,),
    "weights": (str,),
    "sha256": (str,),
    "trained_on": (str,),
    "shown": (str, type(None)),
    "good_for": (str,),
    "order": (int,),
    "limits": (str,),
    "regime": (str, type(None)),
    "credits": (list,),
    "year": (int, type(None)),
    "parameters": (int,),
    "references": (list,),
    "configuration": (dict,),
    "settings": (dict,),
    "recipe": (dict,),
    "dimensions": (list,),
}


def divisor_of(intensity: Any) -> float | None:
    """Return the number that a recipe's intensity divides values by ("divide:255"); None for "unit".

    Raises:
        InputError: it is neither.
    """
    if intensity == UNIT:
        return None
    try:
        divisor = float(intensity[len(DIVIDED) :]) if intensity.startswith(DIVIDED) else math.nan
    except (ValueError, AttributeError):  # no number, or no text at all
        divisor = math.nan
    if not 0 < divisor < math.inf:
        raise InputError(
            f'The intensity is {intensity!r}; this version knows "{UNIT}", and "{DIVIDED}" with a number above 0 '
            f'("{DIVIDED}255").'
        )
    return divisor


def _check_values(values: dict[str, Any], base: Card, path: Path) -> None:
    unknown = sorted(set(values) - set(_MODEL_VALUES))
    if unknown:
        known = ", ".join(_MODEL_VALUES)
        raise InputError(f"{path} has unknown entries: {', '.join(unknown)}. A model card may have: {known}.")
    for name, value in values.items():
        if not isinstance(value, _MODEL_VALUES[name]):
            raise InputError(f'{path}: "{name}" is of the wrong kind: {value!r}. See docs/models.md.')
    if values.get("regime") not in (None, *REGIMES):
        known = ", ".join(f'"{regime}"' for regime in REGIMES)
        raise InputError(f'{path}: "regime" may be {known}, or null for anything; it is {values["regime"]!r}.')
    name = values["name"]
    if not name or not all(c.isalnum() or c in "-_." for c in name) or name[0] == ".":
        raise InputError(f'{path}: "name" must be of letters, digits, - and _; it is {name!r}.')
    dimensions = values.get("dimensions", list(base.dimensions))
    if not dimensions or not all(number in base.dimensions for number in dimensions):
        raise InputError(
            f'{path}: "dimensions" of {base.name} may be of {list(base.dimensions)}; it is {dimensions!r}.'
        )
    if not all(isinstance(value, (int, float)) for value in values.get("settings", {}).values()):
        raise InputError(f'{path}: "settings" must be numbers by name; it is {values["settings"]!r}.')


def _check_recipe(recipe: Any, path: Path) -> None:
    wanted = (
        '"recipe": {"intensity": "unit", "voxel_mm": null}. Replace "unit" by "divide:255" if the network was trained '
        "on values divided by 255, null by the voxel size in mm it was trained at, and add "
        '"orientation": "RAS" if it was trained on one orientation only, "match": false if on pairs of two contrasts'
    )
    if not isinstance(recipe, dict):
        raise InputError(f"{path} has no recipe, which says how to prepare images for the network. Add {wanted}.")
    voxel = recipe.get("voxel_mm")
    sides = voxel if isinstance(voxel, list) and len(voxel) == 3 else [voxel]
    size = voxel is None or all(
        isinstance(side, (int, float)) and not isinstance(side, bool) and 0.01 <= side <= 100 for side in sides
    )
    known = {"intensity", "voxel_mm"} <= set(recipe) <= set(RECIPE)
    letters = recipe.get("orientation")
    turned = letters is None or (
        isinstance(letters, str)
        and len(letters) == 3
        and all(sum(c in letters for c in p) == 1 for p in ("LR", "PA", "SI"))
    )
    if not known or not size or not turned or not isinstance(recipe.get("match", True), bool):
        raise InputError(f"{path}: the recipe is {recipe!r}; this version knows {wanted}.")
    try:
        divisor_of(recipe["intensity"])
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def voxel_in_words(voxel_mm: float | Iterable[float]) -> str:
    """Write the size of a voxel: one number where its sides are alike, else "1 x 1 x 2.5"."""
    sides = [float(side) for side in voxel_mm] if isinstance(voxel_mm, Iterable) else [float(voxel_mm)]
    alike = max(sides) < 1.02 * min(sides)
    return f"{sides[0]:.3g}" if alike else " x ".join(f"{side:.3g}" for side in sides)


def _tidy(values: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}


def is_shipped(name: str) -> bool:
    """Tell whether a card comes with the product."""
    return name in _shipped()


def card(name: str) -> Card:
    """Return the card of that name; NAME:VARIANT is one in another configuration.

    Raises:
        InputError: there is none.
    """
    base, _, variant = name.partition(":")
    if base not in cards():
        known = cards()
        raise InputError(
            f"There is no network {base!r}.{meant(base, known)} The networks are: {', '.join(known)}.", "method"
        )
    return with_variant(cards()[base], variant) if variant else cards()[base]


def brain_model() -> Path:
    """Return the folder of the network that sees the structures of a brain.

    Raises:
        InputError: it did not come with this copy of the product.
    """
    for folder in BRAIN_FOLDERS:
        if (folder / SEGMENTATION_CARD).is_file():
            return folder
    raise InputError(
        f"The model {BRAIN_MODEL!r} is not part of this installation (Resources/Models/{BRAIN_FOLDERS[0].name}). "
        "Install SlicerDeepReg again, or give the folder of another model."
    )


def with_variant(base: Card, variant: str) -> Card:
    """Return a card in the configuration of one of its variants.

    Raises:
        InputError: it has no such variant.
    """
    if variant not in base.variants:
        known = ", ".join(f"{base.name}:{name}" for name in base.variants) or "none"
        raise InputError(f"{base.name} has no variant {variant!r}. Its variants are: {known}.", "method")
    chosen = base.variants[variant]
    memory = {kind: int(amount * chosen.get("memory", 1)) for kind, amount in base.bytes_per_voxel.items()}
    return dataclasses.replace(
        base,
        name=f"{base.name}:{variant}",
        title=f"{base.title}, {chosen['title']}",
        configuration={**base.configuration, **chosen["configuration"]},
        variants={},
        parameters=chosen.get("parameters", 0),
        bytes_per_voxel=memory,
        operations=None,
        multiply_accumulates=None,
        weights=None,  # weights fit one configuration
        trained_on=None,
    )
