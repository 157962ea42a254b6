"""Released checkpoints of transformers: ViT-V-Net, TransMorph, TransMatch, UTSRMorph, XMorpher, PIViT."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..types import InputError
from .convolutional import CONFORMED
from .family import COMPUTED, Arrays, Family, Rule, image_of, need, numbered, window_of

Configuration = tuple[dict[str, Any], list[str]]

#: Inside a block: their name, ours.
_BLOCK = (
    (r"norm([12])\.(\w+)", r"norm\1.\2"),
    (r"attn\.relative_position_bias_table", r"attention.position_bias"),
    (r"attn\.qkv\.(\w+)", r"attention.query_key_value.\1"),
    (r"attn\.proj\.(\w+)", r"attention.project_out.\1"),
    (r"mlp\.fc1\.(\w+)", r"mlp.0.\1"),
    (r"mlp\.fc2\.(\w+)", r"mlp.2.\1"),
)


def _under(theirs: str, ours: str, rules: Sequence[Rule]) -> tuple[Rule, ...]:
    """Return rules for what lies below a place, which may have one group, \\1; the rules' groups follow it."""
    count = theirs.count("(") - theirs.count("(?:")
    placed = []
    for pattern, target in rules:
        for number in range(9, 0, -1):
            target = target.replace(f"\\{number}", f"\\{number + count}")
        placed.append((theirs + pattern, ours + target))
    return tuple(placed)


def _swin(theirs: str) -> tuple[Rule, ...]:
    """Build an encoder of stages."""
    return (
        (rf"{theirs}patch_embed\.proj\.(\w+)", r"transformer.embed.\1"),
        (rf"{theirs}patch_embed\.norm\.(\w+)", r"transformer.embed_norm.\1"),
        *_under(rf"{theirs}layers\.(\d)\.blocks\.(\d+)\.", r"transformer.stages.\1.blocks.\2.", _BLOCK),
        (rf"{theirs}layers\.(\d)\.downsample\.(norm|reduction)\.(\w+)", r"transformer.merge.\1.\2.\3"),
        (rf"{theirs}norm(\d)\.(\w+)", r"transformer.norms.\1.\2"),
    )


def _stages(arrays: Arrays, theirs: str, usual: Sequence[int], image: Sequence[int] | None) -> Configuration:
    """width, depths, heads and window of an encoder of stages."""
    stages = numbered(arrays, rf"{theirs}layers\.(\d)\.blocks\.0\.norm1\.weight")
    plain = theirs.replace("\\", "")
    depths, heads, rows = [], [], 0
    for stage in stages:
        depths.append(len(numbered(arrays, rf"{theirs}layers\.{stage}\.blocks\.(\d+)\.norm1\.weight")))
        rows, each = need(arrays, f"{plain}layers.{stage}.blocks.0.attn.relative_position_bias_table")
        heads.append(each)
    window, how = window_of(rows, image, usual)
    arguments = {"width": need(arrays, f"{plain}patch_embed.proj.weight")[0], "depths": depths, "heads": heads}
    return {**arguments, "window": list(window)}, [f"Attention windows: {' x '.join(map(str, window))}, {how}."]


_DECODER = (
    (r"up(\d)\.conv1\.0\.(\w+)", r"up.\1.first.0.\2"),
    (r"up(\d)\.conv2\.0\.(\w+)", r"up.\1.second.0.\2"),
    (r"c1\.0\.(\w+)", r"skip_half.0.\1"),
    (r"c2\.0\.(\w+)", r"skip_full.0.\1"),
    (r"reg_head\.0\.(\w+)", r"head.\1"),
)


def _transmorph(arrays: Arrays, settings: Mapping[str, Any]) -> Configuration:
    arguments, notes = _stages(arrays, r"transformer\.", (5, 6, 7), image_of(arrays))
    return {**arguments, "last": need(arrays, "c2.0.weight")[0]}, notes


TRANSMORPH = Family(
    "transmorph",
    "TransMorph",
    (r"transformer\.layers\.0\.blocks\.0\.attn\.qkv\.weight", r"up4\.conv1\.0\.weight", r"c2\.0\.weight"),
    (*COMPUTED, *_swin(r"transformer\."), *_DECODER),
    _transmorph,
    orientation=CONFORMED,
    never=r".*overlap_attn\.qkv\.weight",
)


def _utsrmorph(arrays: Arrays, settings: Mapping[str, Any]) -> Configuration:
    arguments, notes = _stages(arrays, r"transformer\.", (5, 6, 7), image_of(arrays))
    stage = len(arguments["depths"]) - 1  # the widest: the quotient is rounded least there
    inner, wide = need(arrays, f"transformer.layers.{stage}.blocks.0.conv_block.cab.3.attention.1.weight")[:2]
    arguments["squeeze"] = 30 if wide // 30 == inner else wide // inner
    arguments["layout"] = "oasis" if "up.conv.weight" in arrays else "ixi"
    return {**arguments, "last": need(arrays, "reg_head.0.weight")[1], "by_edges": True}, notes


def _change_utsrmorph(ours: dict[str, np.ndarray], arguments: dict[str, Any]) -> None:
    """Convolutions of one voxel are linear layers here; the last enlarging convolution has a group a component."""
    for name, array in ours.items():
        if ".weigh." in name and array.ndim == 5:
            ours[name] = array.reshape(array.shape[:2])
        elif name.startswith("enlarge.spread."):
            ours[name] = array.reshape(3, 8, *array.shape[1:])[::-1].reshape(array.shape)


UTSRMORPH = Family(
    "utsrmorph",
    "UTSRMorph",
    (r"transformer\.layers\.0\.overlap_attn\.qkv\.weight", r"up0\.up\.conv\.weight"),
    (
        *COMPUTED,
        (
            r"transformer\.layers\.(\d)\.blocks\.(\d+)\.conv_block\.cab\.([02])\.(\w+)",
            r"transformer.stages.\1.blocks.\2.convolve.\3.\4",
        ),
        (
            r"transformer\.layers\.(\d)\.blocks\.(\d+)\.conv_block\.cab\.3\.attention\.([13])\.(\w+)",
            lambda m: f"transformer.stages.{m[1]}.blocks.{m[2]}.weigh.{int(m[3]) - 1}.{m[4]}",
        ),
        *_under(
            r"transformer\.layers\.(\d)\.overlap_attn\.",
            r"transformer.stages.\1.overlapping.",
            (
                (r"norm([12])\.(\w+)", r"norm\1.\2"),
                (r"relative_position_bias_table", r"position_bias"),
                (r"qkv\.(\w+)", r"query_key_value.\1"),
                (r"proj\.(\w+)", r"project_out.\1"),
                (r"mlp\.fc1\.(\w+)", r"mlp.0.\1"),
                (r"mlp\.fc2\.(\w+)", r"mlp.2.\1"),
            ),
        ),
        *_swin(r"transformer\."),
        (r"up(\d)\.up\.conv\.(\w+)", r"up.\1.enlarge.spread.\2"),
        (r"up\.conv\.(\w+)", r"enlarge.spread.\1"),
        *_DECODER,
    ),
    _utsrmorph,
    change=_change_utsrmorph,
    orientation=CONFORMED,
    notes=("Its code sampled images by their edges what it had scaled by voxel centers; the field is converted.",),
)


def _transmatch(arrays: Arrays, settings: Mapping[str, Any]) -> Configuration:
    arguments, notes = _stages(arrays, r"moving_lwsa\.transformer\.", (5, 6, 5), image_of(arrays))
    return {**arguments, "scrambled": True, "by_edges": True}, notes


TRANSMATCH = Family(
    "transmatch",
    "TransMatch",
    (r"moving_lwsa\.transformer\.patch_embed\.proj\.weight", r"lwca1\.transformer\..*"),
    (
        *COMPUTED,
        (r"moving_lwsa\.c[12]\..*", None),
        (r"fixed_lwsa\..*", None),
        *_swin(r"moving_lwsa\.transformer\."),
        *(
            rule
            for number in (1, 2, 3, 4)
            for rule in _under(
                rf"lwca{number}\.transformer\.layers\.0\.blocks\.(\d+)\.", rf"matching.{number - 1}.blocks.\1.", _BLOCK
            )
        ),
        (r"lwca(\d)\.transformer\.norm0\.(\w+)", lambda m: f"matching.{int(m[1]) - 1}.norm.{m[2]}"),
        (r"lwca\d\.transformer\.norm[123]\..*", None),
        (r"up3\.conv3\.0\.(\w+)", r"up.3.first.0.\1"),
        (r"up3\.conv1\..*", None),
        (r"up4\..*", None),
        (r"up\d\.conv3\..*", None),
        (r"c2\..*", None),
        *_DECODER,
    ),
    _transmatch,
    notes=(
        "Its code put attention windows together in another order than they were cut; so do these weights here.",
        "Its code sampled images by their edges what it had scaled by voxel centers; the field is converted.",
    ),
)


def _vit_v_net(arrays: Arrays, settings: Mapping[str, Any]) -> Configuration:
    tokens, width = need(arrays, "transformer.embeddings.position_embeddings")[1:]
    image = image_of(arrays)
    positions = [n // 32 for n in image] if image is not None else [5, 6, 7]
    if int(np.prod(positions)) != tokens:
        raise InputError(
            f"The image size that these {tokens} positions are for cannot be derived. Give it: "
            "--set positions=[5,6,7] (voxels along the axes, divided by 32)."
        )
    hybrid = "transformer.embeddings.hybrid_model."
    channels = [need(arrays, f"{hybrid}inc.double_conv.0.weight")[0]]
    channels += [need(arrays, f"{hybrid}down{n}.maxpool_conv.1.double_conv.0.weight")[0] for n in (1, 2)]
    layers = len(numbered(arrays, r"transformer\.encoder\.layer\.(\d+)\.attn\.query\.weight"))
    arguments = {
        "channels": channels,
        "width": width,
        "layers": layers,
        "heads": 12,
        "inner": need(arrays, "transformer.encoder.layer.0.ffn.fc1.weight")[0],
        "positions": positions,
        "first": need(arrays, "decoder.conv_more.0.weight")[0],
        "decoder": [need(arrays, f"decoder.blocks.{n}.conv1.0.weight")[0] for n in range(5)],
        "norm": "batch",
    }
    return arguments, [
        "Twelve heads of attention, as its code has them (the file does not say).",
        f"Its positions are for images of {' x '.join(str(32 * n) for n in positions)}; for others, interpolated.",
    ]


VIT_V_NET = Family(
    "vit-v-net",
    "ViT-V-Net",
    (r"transformer\.embeddings\.position_embeddings", r"decoder\.conv_more\.0\.weight"),
    (
        *COMPUTED,
        (r"transformer\.embeddings\.position_embeddings", r"positions"),
        (r"transformer\.embeddings\.patch_embeddings\.(\w+)", r"patches.\1"),
        (r"transformer\.embeddings\.hybrid_model\.inc\.double_conv\.(\d\.\w+)", r"levels.0.\1"),
        (r"transformer\.embeddings\.hybrid_model\.down(\d)\.maxpool_conv\.1\.double_conv\.(\d\.\w+)", r"levels.\1.\2"),
        (r"transformer\.encoder\.encoder_norm\.(\w+)", r"transformer_norm.\1"),
        (r"transformer\.encoder\.layer\.(\d+)\.attention_norm\.(\w+)", r"transformer.\1.norm1.\2"),
        (r"transformer\.encoder\.layer\.(\d+)\.ffn_norm\.(\w+)", r"transformer.\1.norm2.\2"),
        (r"transformer\.encoder\.layer\.(\d+)\.ffn\.fc1\.(\w+)", r"transformer.\1.mlp.0.\2"),
        (r"transformer\.encoder\.layer\.(\d+)\.ffn\.fc2\.(\w+)", r"transformer.\1.mlp.2.\2"),
        (r"transformer\.encoder\.layer\.(\d+)\.attn\.(query|key|value)\.(\w+)", r"transformer.\1.\2.\3"),
        (r"transformer\.encoder\.layer\.(\d+)\.attn\.out\.(\w+)", r"transformer.\1.project_out.\2"),
        (r"decoder\.conv_more\.(\d\.\w+)", r"enter.\1"),
        (r"decoder\.blocks\.(\d)\.conv1\.(\d\.\w+)", r"up.\1.0.\2"),
        (r"decoder\.blocks\.(\d)\.conv2\.(\d\.\w+)", r"up.\1.1.\2"),
        (r"reg_head\.0\.(\w+)", r"head.\1"),
    ),
    _vit_v_net,
    orientation=CONFORMED,
)


def _xmorpher(arrays: Arrays, settings: Mapping[str, Any]) -> Configuration:
    stages = numbered(arrays, r"swin\.layers\.(\d)\.blocks\.0\.norm1\.weight")
    depths = [len(numbered(arrays, rf"swin\.layers\.{stage}\.blocks\.(\d+)\.norm1\.weight")) for stage in stages]
    return {"width": need(arrays, "swin.patch_embed.proj.weight")[0], "depths": depths, "by_edges": True}, [
        "Heads of 16 channels and windows of 2 voxels, as its code has them (the file does not say).",
        "Its last public code does not run as it is, so what these weights gave there could not be compared.",
    ]


def _change_xmorpher(ours: dict[str, np.ndarray], arguments: dict[str, Any]) -> None:
    """Its first stream is that of the fixed image: what reads both streams has the halves the other way round."""
    width = arguments["width"]
    for name in ("passes.0.last_norm.weight", "passes.0.last_norm.bias", "passes.0.spread.weight"):
        if name in ours:
            ours[name] = np.roll(ours[name], width, 0)


_CROSS = (
    (r"norm([12])\.(\w+)", r"norm\1.\2"),
    (r"cross_attn\.q\.(\w+)", r"query.\1"),
    (r"cross_attn\.kv\.(\w+)", r"key_value.\1"),
    (r"cross_attn\.proj\.(\w+)", r"project_out.\1"),
    (r"mlp\.fc1\.(\w+)", r"mlp.0.\1"),
    (r"mlp\.fc2\.(\w+)", r"mlp.2.\1"),
)

XMORPHER = Family(
    "xmorpher",
    "XMorpher",
    (r"swin\.layers\.0\.blocks\.0\.cross_attn\.kv\.weight", r"out_conv\.weight"),
    (
        *COMPUTED,
        (r"swin\.patch_embed\.proj\.(\w+)", r"passes.0.embed.\1"),
        *_under(r"swin\.layers\.(\d)\.blocks\.(\d+)\.", r"passes.0.encoder.\1.\2.", _CROSS),
        *(
            rule
            for number in range(4)
            for rule in _under(
                rf"swin\.up_layers\.{number}\.blocks\.(\d+)\.", rf"passes.0.decoder.{3 - number}.\1.", _CROSS
            )
        ),
        (r"swin\.layers\.(\d)\.downsample\.down_conv\.(\w+)", r"passes.0.merge.\1.0.\2"),
        (r"swin\.layers\.(\d)\.downsample\.norm\.(\w+)", r"passes.0.merge.\1.1.\2"),
        (r"swin\.up_layers\.(\d)\.downsample\.up_conv\.(\w+)", lambda m: f"passes.0.expand.{2 - int(m[1])}.0.{m[2]}"),
        (r"swin\.up_layers\.(\d)\.downsample\.norm\.(\w+)", lambda m: f"passes.0.expand.{2 - int(m[1])}.1.{m[2]}"),
        (r"swin\.concat_back_dim\.0\..*", None),
        (r"swin\.concat_back_dim\.(\d)\.(\w+)", lambda m: f"passes.0.join.{3 - int(m[1])}.{m[2]}"),
        (r"swin\.norm\.(\w+)", r"passes.0.bottom_norm.\1"),
        (r"swin\.norm2\.(\w+)", r"passes.0.last_norm.\1"),
        (r"swin\.reverse_patch_embedding\.(\w+)", r"passes.0.spread.\1"),
        (r"out_conv\.(\w+)", r"passes.0.head.\1"),
    ),
    _xmorpher,
    heads=(r"passes\.0\.head\.(weight|bias)",),
    change=_change_xmorpher,
    notes=("Its code took the fixed image first, and sampled by edges; both are converted.",),
)


def _pivit(arrays: Arrays, settings: Mapping[str, Any]) -> Configuration:
    iterations = numbered(arrays, r"decoder3(\d)\.Conv3\.weight")
    rows, _ = need(arrays, "decoder31.Swin1.blocks.0.attn.relative_position_bias_table")
    window, _ = window_of(rows, None, (8, 8, 8))
    width = need(arrays, "encoder.block1.main.weight")[0]
    return {"width": width, "iterations": len(iterations), "window": window[0]}, []


PIVIT = Family(
    "pivit",
    "PIViT",
    (r"decoder31\.Swin1\.blocks\.0\.attn\.qkv\.weight", r"encoder\.block1\.main\.weight"),
    (
        *COMPUTED,
        (r"encoder\.block(\d)\.main\.(\w+)", lambda m: f"encoder.{int(m[1]) - 1}.0.{m[2]}"),
        *(
            rule
            for number in range(1, 10)
            for rule in _under(
                rf"decoder3{number}\.Swin1\.blocks\.(\d)\.", rf"attend.{number - 1}.swin.blocks.\1.", _BLOCK
            )
        ),
        (r"decoder3(\d)\.Conv2\.main\.(\w+)", lambda m: f"attend.{int(m[1]) - 1}.reduce.0.{m[2]}"),
        (r"decoder3(\d)\.Conv3\.(\w+)", lambda m: f"heads.{int(m[1]) - 1}.{m[2]}"),
        (r"decoder([12])\.Conv1\.main\.(\w+)", lambda m: f"refine.{2 - int(m[1])}.0.{m[2]}"),
        (r"decoder([12])\.Conv2\.(\w+)", lambda m: f"heads.{5 - int(m[1])}.{m[2]}"),
    ),
    _pivit,
    heads=(r"heads\.\d\.(weight|bias)",),
)

FAMILIES = (VIT_V_NET, UTSRMORPH, TRANSMORPH, TRANSMATCH, XMORPHER, PIVIT)
