"""``slicerdeepreg repeat``: a registration done again from its result.json, and compared with what it gave then."""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..files.atomic import reason
from ..types import (
    CONTRAST_FIELDS,
    IMAGE_FIELDS,
    OUTPUT_FILES,
    POINT_FIELDS,
    RESULT_OUTPUTS,
    InputError,
    Request,
)

#: What of a result.json is needed; 50 MB is far more than any has.
NEEDED, MOST_BYTES = ("request", "provenance", "outputs_sha256"), 50_000_000


def add_parser(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "repeat",
        help="do a registration again from its result.json and compare",
        description="Read a result.json, check that its inputs are the ones of then, register again with the same "
        "numbers, device and threads, and compare the results by their checksums. Exit code 0: the same to the last "
        "bit; 1: different, which other versions or another device explain; 2: it could not be repeated. Inputs are "
        "looked for by their names in the current folder, beside the result.json and in the folder above it.",
    )
    parser.add_argument("result", metavar="RESULT", type=Path, help="the result.json of a registration")
    parser.add_argument("--output", metavar="DIR", type=Path, help="write the new results there, too")
    parser.add_argument(
        "--input",
        action="append",
        default=[],
        metavar="NAME=FILE",
        help="where an input is now, as --input fixed=/data/fixed.nii.gz; may be given more than once",
    )
    parser.add_argument("--quiet", action="store_true", help="print only what differs")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the command; return 0 for the same result, 1 for another."""
    from ..processes.current import prepare_process

    described = read_description(options.result)
    request = _with_files(request_of(described, options.input), options.result.absolute().parent)
    check_inputs(described, request)
    from ..device import use_threads
    from ..files.results import describe, output_folder, write_result
    from .register import check_outputs, registered

    if options.output is not None:
        if options.output.resolve() == options.result.resolve().parent:
            raise InputError(
                f"The new result would replace the one that it is compared with in {options.output}. Give another "
                "--output.",
                "output",
            )
        check_outputs(options.output, request)
    prepare_process()

    use_threads(described["provenance"].get("threads"))
    result = registered(request, options.quiet)
    if options.output is not None:
        with output_folder(options.output) as folder:
            again = write_result(result, folder, _kept(described))
    else:
        again = describe(result)
    different = [
        name for name, digest in described["outputs_sha256"].items() if again["outputs_sha256"].get(name) != digest
    ]
    if not options.quiet:
        for name in described["outputs_sha256"]:
            print(f"{name.replace('_', ' ')}: {'different' if name in different else 'the same'}")
    if different:
        print(f"Different: {', '.join(different)}. {_reasons(described['provenance'], again['provenance'])}")
    return 1 if different else 0


def _kept(described: Mapping[str, Any]) -> list[str]:
    """Return the outputs that a result wrote; all where it does not say."""
    files = described.get("files")
    return [name for name in RESULT_OUTPUTS if not isinstance(files, dict) or OUTPUT_FILES[name] in files]


def read_description(path: Path) -> dict[str, Any]:
    """Read a result.json.

    Raises:
        InputError: it is not one, or is of a version that stored too little.
    """
    try:
        if path.stat().st_size > MOST_BYTES:
            raise InputError(f"{path} is too large to be a result.json. Give the one that a registration wrote.")
        described = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path} cannot be read ({reason(error)}). Give the result.json of a registration.") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not valid JSON. Give the result.json that a registration wrote.") from error
    if not isinstance(described, dict) or not all(isinstance(described.get(name), dict) for name in NEEDED):
        raise InputError(
            f"{path} is not the result.json of this version: it lacks {', '.join(NEEDED)}. Register again instead."
        )
    parts = (described["provenance"].get("sha256", {}), described["request"].get("settings", {}))
    if not all(isinstance(part, dict) for part in parts) or not described["outputs_sha256"]:
        raise InputError(
            f"{path} lacks the checksums of its inputs or outputs, or its settings, so that nothing can be compared. "
            "Register again instead."
        )
    return described


def request_of(described: Mapping[str, Any], moved: Sequence[str] = ()) -> Request:
    """Return the request of a result.json, with its inputs where they are now.

    Args:
        moved: "NAME=FILE" for inputs with a new path.

    Raises:
        InputError: something in it is unknown here, or was not a file.
    """
    values = dict(described["request"])
    unknown = sorted(set(values) - set(Request.__dataclass_fields__))
    if unknown or not {"fixed", "moving"} <= set(values):
        raise InputError(
            "The result.json was written by another version of SlicerDeepReg and cannot be repeated "
            f"({', '.join(unknown) or 'no fixed or moving image is named'}). Register again, or use that version."
        )
    for pair in moved:
        name, _, path = pair.partition("=")
        if not path or not isinstance(_input(values, name), str):
            known = ", ".join(key for key in described["provenance"].get("sha256", {}))
            raise InputError(f"--input needs NAME=FILE with a NAME of {known}; it was {pair!r}.")
        field, number = _place(name)
        if number is None:
            values[field] = path
        else:
            values[field] = [path if n == number else one for n, one in enumerate(values[field])]
    for name in described["provenance"].get("sha256", {}):
        source = _input(values, name)
        if not isinstance(source, str) or source.startswith("<"):
            raise InputError(
                f"This result cannot be repeated: it does not record the file of the {name.replace('_', ' ')} (for "
                "example because of --anonymous). Register again instead."
            )
    if described["provenance"].get("device") == "CPU":
        values["device"] = "cpu"
    try:
        return Request(**values)
    except TypeError as error:
        raise InputError(
            f"The settings in the result.json are incomplete or of the wrong type ({error}). Register again instead."
        ) from error


def _place(name: str) -> tuple[str, int | None]:
    """Return the field of the request that an input stands in, and its index there where the field holds several."""
    for field, side in CONTRAST_FIELDS.items():
        called, _, number = name.rpartition("_")
        if called == side and number.isdigit():
            return field, int(number) - 2
    return name, None


def _input(values: Mapping[str, Any], name: str) -> Any:
    """Return what a request, as plain values, has for an input; None where it has none."""
    field, number = _place(name)
    given = values.get(field)
    if number is None:
        return given
    return given[number] if isinstance(given, list) and 0 <= number < len(given) else None


def _with_files(request: Request, folder: Path) -> Request:
    """Return the request with files that are not in the current folder from that of the result.json, or from above."""

    def found(name: Any) -> Any:
        if not isinstance(name, str) or not name:
            return name
        places = (Path(name), folder / name, folder.parent / name)
        return str(next((place for place in places if place.exists()), name))

    files = {field: found(getattr(request, field)) for field in (*IMAGE_FIELDS, *POINT_FIELDS)}
    files |= {field: tuple(found(one) for one in getattr(request, field)) for field in CONTRAST_FIELDS}
    if request.initial_file is not None:
        files["initial"] = found(request.initial_file)
    if isinstance(request.continued, str):
        files["continued"] = found(request.continued)
    settings = dict(request.settings)
    if "weights" in settings:
        settings["weights"] = found(settings["weights"])
    return dataclasses.replace(request, **files, settings=settings)


def check_inputs(described: Mapping[str, Any], request: Request) -> None:
    """Raise InputError if an input is missing or has changed."""
    from ..files.images import checksum
    from ..pipeline.provenance import files_and_images_of

    now = files_and_images_of(request)
    for name, digest in described["provenance"].get("sha256", {}).items():
        path, title = str(now.get(name, getattr(request, name, ""))), name.replace("_", " ")
        if not Path(path).exists():
            raise InputError(f"The {title} {path} does not exist. Give its new path: --input {name}=FILE.")
        if checksum(path) != digest:
            raise InputError(
                f"The {title} {path} is not the file that was used: its checksum differs. Give that file: "
                f"--input {name}=FILE."
            )


def _reasons(then: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Return what differs, in sentences."""
    differences = []
    for name in ("device", "platform"):
        if then.get(name) != now.get(name):
            differences.append(f"{name} {then.get(name)} then, {now.get(name)} now")
    for name, version in now["versions"].items():
        if then.get("versions", {}).get(name) != version:
            differences.append(f"{name} {then.get('versions', {}).get(name)} then, {version} now")
    return f"Changed: {'; '.join(differences)}." if differences else "Versions and device are unchanged."
