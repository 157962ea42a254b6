"""Released checkpoints of networks of convolutions: VoxelMorph, CycleMorph, LKU-Net, RDP, H-SGANet."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ..catalog import DIVIDED
from ..networks.lku_net import IMAGE_SIZE
from ..types import InputError
from .family import COMPUTED, Arrays, Family, need, numbered

#: Arguments of our network, and what to say about them.
Configuration = tuple[dict[str, Any], list[str]]
#: 160 x 192 x 224 of the brains that VoxelMorph and TransMorph distribute, whose axes go left, down and to the front.
#: Code that passes such an array on as it is makes its last axis i, and the letters are those of i, j and k.
CONFORMED = "AIL"
#: Code that reverses the axes of such an array first.
REVERSED = CONFORMED[::-1]
#: FreeSurfer's norm.mgz, divided by the largest value that it can hold.
NORM = f"{DIVIDED}255"


def _voxelmorph(arrays: Arrays, settings: Mapping[str, Any]) -> Configuration:
    encoder, layers = _widths(arrays, "encoder")
    decoder, _ = _widths(arrays, "decoder")
    remaining = numbered(arrays, r"unet_model\.remaining\.(\d+)\.main\.weight")
    last = [need(arrays, f"unet_model.remaining.{n}.main.weight")[0] for n in remaining]
    first = need(arrays, "unet_model.encoder.0.0.main.weight")
    if first[1] != 2:
        raise InputError(f"This VoxelMorph takes {first[1]} channels; here images have one each.")
    half = bool(last) and need(arrays, "unet_model.remaining.0.main.weight")[1] == decoder[-1]
    steps: Any = settings.get("int_steps")
    reduced: Any = settings.get("int_downsize")
    notes = []
    if steps is None:
        steps, reduced = 7, 2
        notes.append("The file does not say how its field is integrated: 7 steps at half resolution, its default.")
    arguments = {"encoder": encoder, "decoder": [*decoder, *last], "layers": layers}
    if steps:
        arguments.update(integration="velocity", squarings=int(steps), reduced=int(reduced), half_resolution=half)
    else:
        arguments.update(integration="displacement")
    return {"dimensions": len(first) - 2, **arguments}, notes


def _widths(arrays: Arrays, arm: str) -> tuple[list[int], int]:
    levels = numbered(arrays, rf"unet_model\.{arm}\.(\d+)\.0\.main\.weight")
    layers = len(numbered(arrays, rf"unet_model\.{arm}\.0\.(\d+)\.main\.weight"))
    each = [(level, layer) for level in levels for layer in range(layers)]
    return [need(arrays, f"unet_model.{arm}.{level}.{layer}.main.weight")[0] for level, layer in each], layers


VOXELMORPH = Family(
    "voxelmorph",
    "VoxelMorph (VxmDense of its torch code, version 0.2)",
    (r"unet_model\.encoder\.\d+\.\d+\.main\.weight", r"flow\.weight"),
    (
        *COMPUTED,
        (r"unet_model\.(encoder|decoder)\.(\d+)\.(\d+)\.main\.(\w+)", r"\1.\2.\3.0.\4"),
        (r"unet_model\.remaining\.(\d+)\.main\.(\w+)", r"last.\1.0.\2"),
        (r"flow\.(\w+)", r"head.\1"),
    ),
    _voxelmorph,
    orientation=CONFORMED,
    intensity=NORM,
)


def _cyclemorph(arrays: Arrays, settings: Mapping[str, Any]) -> Configuration:
    encoder = [need(arrays, "model.inconv.block.block.0.weight")[0]]
    encoder += [need(arrays, f"model.downconv{n}.block.block.0.weight")[0] for n in range(1, 5)]
    ups = [need(arrays, f"model.upconv{n}.block.block.0.weight")[0] for n in range(1, 5)]
    kept = need(arrays, "model.keepblock.block.0.weight")[0]
    return {"encoder": encoder, "decoder": [*ups[:3], kept, ups[3]]}, []


CYCLEMORPH = Family(
    "cyclemorph",
    "CycleMorph",
    (r"model\.inconv\.block\.block\.0\.weight", r"model\.keepblock\.block\.0\.weight"),
    (
        (r"model\.inconv\.block\.block\.0\.(\w+)", r"down.0.0.\1"),
        (r"model\.downconv(\d)\.block\.block\.0\.(\w+)", r"down.\1.0.\2"),
        (r"model\.upconv(\d)\.upconv\.(\w+)", lambda m: f"up.{int(m[1]) - 1}.enlarge.{m[2]}"),
        (r"model\.upconv(\d)\.block\.block\.0\.(\w+)", lambda m: f"up.{int(m[1]) - 1}.join.0.{m[2]}"),
        (r"model\.keepblock\.block\.0\.(\w+)", r"between.0.\1"),
        (r"model\.outconv\.upconv\.(\w+)", r"head.\1"),
    ),
    _cyclemorph,
    orientation=REVERSED,
    intensity=NORM,
)


def _lku_net(arrays: Arrays, settings: Mapping[str, Any]) -> Configuration:
    width = need(arrays, "eninput.0.weight")[0]
    large = need(arrays, "ec3.layer_largeKernel.0.weight")
    arguments: dict[str, Any] = {"dimensions": len(large) - 2, "width": width, "kernel": large[-1]}
    size = IMAGE_SIZE[arguments["dimensions"]]
    arguments["image_size"] = list(size)
    converted = (
        f"Its fields are in normalized units of [-1, 1]; here they come out in voxels, for images of "
        f"{' x '.join(map(str, size))} that it learned from (--set image_size={list(size)} says others)."
    )
    if arguments["dimensions"] == 2:
        return arguments, [
            converted,
            "Its slices were coronal, i down and j to the left; slices that are stored in another way go in that way.",
        ]
    arguments["integration"] = "velocity"
    return arguments, [
        converted,
        "Its field is integrated (7 squarings), as its code for IXI does; for weights that were trained without, add "
        '--set integration="displacement".',
    ]


def _down(match: re.Match[str]) -> str:
    """ec2, ec4, ... are the strided layers of a level, ec3, ec5, ... its large kernels."""
    return f"down.{int(match[1]) // 2 - 1}"


_KERNELS = {"regular": 0, "large": 1, "one": 2}

LKU_NET = Family(
    "lku-net",
    "LKU-Net",
    (r"eninput\.0\.weight", r"ec3\.layer_largeKernel\.0\.weight"),
    (
        (r"eninput\.(\d\.\w+)", r"enter.0.\1"),
        (r"ec1\.(\d\.\w+)", r"enter.1.\1"),
        (r"ec([2468])\.(\d\.\w+)", lambda m: f"{_down(m)}.0.{m[2]}"),
        (
            r"ec([3579])\.layer_(regular|large|one)Kernel\.0\.(\w+)",
            lambda m: f"{_down(m)}.1.kernels.{_KERNELS[m[2]]}.{m[3]}",
        ),
        (r"ec([3579])\.layer_nonlinearity\.(\w+)", lambda m: f"{_down(m)}.1.rectify.{m[2]}"),
        (r"dc([1-8])\.(\d\.\w+)", lambda m: f"join.{(int(m[1]) - 1) // 2}.{(int(m[1]) - 1) % 2}.{m[2]}"),
        (r"dc9\.0\.(\w+)", r"head.\1"),
        (r"dc10\..*", None),
        (r"up(\d)\.(\d\.\w+)", lambda m: f"up.{int(m[1]) - 1}.{m[2]}"),
    ),
    _lku_net,
    orientation=CONFORMED,
    intensity=NORM,
)


def _rdp(arrays: Arrays, settings: Mapping[str, Any]) -> Configuration:
    return {"width": need(arrays, "encoder_moving.conv0.main.weight")[0]}, []


RDP = Family(
    "rdp-net",
    "RDP",
    (r"encoder_moving\.conv0\.main\.weight", r"defconv4\.weight"),
    (
        *COMPUTED,
        (r"encoder_(moving|fixed)\.conv0\.main\.(\w+)", r"encoder_\1.enter.0.\2"),
        (r"encoder_(moving|fixed)\.conv(\d)\.0\.(\w+)", lambda m: f"encoder_{m[1]}.down.{int(m[2]) - 1}.0.{m[3]}"),
        (
            r"encoder_(moving|fixed)\.conv(\d)\.1\.block\.2\.(\w+)",
            lambda m: f"encoder_{m[1]}.down.{int(m[2]) - 1}.1.path.2.{m[3]}",
        ),
        (r"cconv_(\d)\.(?:conv\.)?(\d)\.main\.(\w+)", lambda m: f"decode.{int(m[1]) - 1}.{m[2]}.0.{m[3]}"),
        (r"defconv(\d)\.(\w+)", lambda m: f"heads.{int(m[1]) - 1}.{m[2]}"),
        (r"dconv4\.(\d)\.main\.(\w+)", r"again.3.\1.0.\2"),
        (r"dconv([23])\.main\.(\w+)", lambda m: f"again.{int(m[1]) - 1}.0.{m[2]}"),
        (r"upconv(\d)\.upconv\.(\w+)", lambda m: f"up.{int(m[1]) - 1}.0.{m[2]}"),
    ),
    _rdp,
    heads=(r"heads\.\d\.(weight|bias)",),
)


def _h_sganet(arrays: Arrays, settings: Mapping[str, Any]) -> Configuration:
    first = need(arrays, "c1.0.weight")[0]
    channels = [first, *(need(arrays, f"c{n}.1.weight")[0] for n in (2, 3, 4))]
    graph = need(arrays, "vig1.backbone.0.0.fc1.0.weight")[1]
    if graph != first:
        raise InputError(
            f"In this H-SGANet the finest graph takes {graph} channels and {first} come in: it cannot run, in its own "
            "code either."
        )
    return {"channels": channels, "positions": need(arrays, "ssa.fc_k.weight")[0], "norm": "batch"}, []


_SSA = {"i": "score", "k": "key", "v": "value", "o": "leave"}
_GRAPH = {"fc1": "enter", "graph_conv.nn": "join", "fc2": "leave"}

H_SGANET = Family(
    "h-sganet",
    "H-SGANet",
    (r"vig1\.backbone\.0\.0\.fc1\.0\.weight", r"ssa\.fc_i\.weight"),
    (
        *COMPUTED,
        (r"vig3\..*", None),
        (r"c1\.0\.(\w+)", r"down.0.0.\1"),
        (r"c([234])\.1\.(\w+)", lambda m: f"down.{int(m[1]) - 1}.0.{m[2]}"),
        (r"up(\d)\.conv([12])\.0\.(\w+)", lambda m: f"up.{4 - int(m[1])}.{int(m[2]) - 1}.0.{m[3]}"),
        (
            r"vig(\d)\.backbone\.0\.0\.(fc1|graph_conv\.nn|fc2)\.(\d)\.(\w+)",
            lambda m: f"graphs.{int(m[1]) - 1}.{_GRAPH[m[2]]}.{m[3]}.{m[4]}",
        ),
        (r"ssa\.fc_([ikvo])\.(\w+)", lambda m: f"attention.{_SSA[m[1]]}.{m[2]}"),
        (r"reg_head\.0\.(\w+)", r"head.\1"),
    ),
    _h_sganet,
    orientation=CONFORMED,
)

FAMILIES = (VOXELMORPH, CYCLEMORPH, LKU_NET, RDP, H_SGANET)
