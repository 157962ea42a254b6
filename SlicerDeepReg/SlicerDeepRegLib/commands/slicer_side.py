"""The scene and the pictures of a result; the only part of the commands that needs slicer-core."""

from __future__ import annotations

import sys
from collections.abc import Collection, Mapping
from pathlib import Path

from ..types import OUTPUT_FILES, RESULT_OUTPUTS, Image, InputError, Result


def check_slicer() -> None:
    """Raise InputError when slicer-core is not installed."""
    try:
        import slicer

        slicer.vtkMRMLScene  # noqa: B018 - PyPI's plain "slicer" is something else
    except (ImportError, AttributeError) as error:
        raise InputError(
            "A scene needs Slicer's libraries, which are not here. Install them with 'pip install slicer-core' (not "
            "'slicer'), or leave out --scene."
        ) from error


def write_scene(result: Result, folder: Path, keep: Collection[str] = RESULT_OUTPUTS) -> list[str]:
    """Write the pictures, where OpenGL works, and scene.mrb; returns the names of the files.

    Args:
        keep: the outputs of ``RESULT_OUTPUTS`` that the scene is to hold, beside the images.
    """
    return _write(result, folder, keep)


def write_pictures(result: Result, folder: Path) -> list[str]:
    """Write the pictures, where there are Slicer's libraries and OpenGL works; returns the names of the files."""
    try:
        check_slicer()
    except InputError:
        print("The report has no pictures: they need slicer-core (pip install slicer-core).", file=sys.stderr)
        return []
    return _write(result, folder, None)


def _write(result: Result, folder: Path, keep: Collection[str] | None) -> list[str]:
    check_slicer()
    from ..mrml.host import NO_OPENGL, Host, opengl_works
    from ..mrml.pictures import draw
    from ..mrml.scene import add_result

    names = []
    can_draw = opengl_works()
    if not can_draw:
        print(NO_OPENGL, file=sys.stderr)
    with Host() as host:
        nodes = add_result(host.scene, result)
        if can_draw:
            names = draw(host, result, nodes, folder)
        if keep is None:
            return names
        for name in set(nodes) & set(RESULT_OUTPUTS) - set(keep):
            host.scene.RemoveNode(nodes[name])
        host.save(str(folder / OUTPUT_FILES["scene"]))
    if "transform" in keep:
        _shrink(folder / OUTPUT_FILES["scene"], result)
    return [*names, OUTPUT_FILES["scene"]]


def _shrink(scene: Path, result: Result) -> None:
    """Put our file of the transform into the scene, which is an eighth of Slicer's."""
    field = result.transform.field
    if field is None or min(field.grid.size_ijk) < 2:  # of a slice, Slicer's has two
        return
    from ..files.bundles import replace_in_bundle
    from ..files.transform_files import write_transform
    from ..processes.folders import private_folder

    with private_folder("slicerdeepreg-") as folder:
        own = scene.parent / OUTPUT_FILES["transform"]
        if not own.is_file():
            own = folder / OUTPUT_FILES["transform"]
            write_transform(result.transform, own)
        replace_in_bundle(scene, own.suffix, own)


def write_segmentation_scene(
    image: Image,
    labels: Image,
    path: Path,
    names: Mapping[int, str] | None = None,
    colors: Mapping[int, tuple[int, int, int]] | None = None,
) -> None:
    """Write a scene of the image with the labels as a segmentation node; see ``mrml.segments.add_segmentation``."""
    check_slicer()
    from ..mrml.display import set_range
    from ..mrml.host import Host
    from ..mrml.nodes import add_volume
    from ..mrml.scene import display_range
    from ..mrml.segments import add_segmentation

    with Host() as host:
        volume = add_volume(host.scene, image, image.name)
        set_range(volume, *display_range(image))
        add_segmentation(host.scene, labels, f"Segmentation of {image.name}", names, colors)
        host.save(str(path))
