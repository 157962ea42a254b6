"""Compare our networks with the public code of the systems they re-implement: same weights, same images, one run.

    python benchmarks/peers.py --code FOLDER [--parts fields speed] [--only NAME ...]

FOLDER holds checkouts under the names of their repositories on github.com; those that are missing are left out:

    voxelmorph (voxelmorph/voxelmorph, version 0.2; needs neurite and pystrum)
    TransMorph_Transformer_for_Medical_Image_Registration, ViT-V-Net_for_3D_Image_Registration_Pytorch (junyuchen245)
    MEDIA_CycleMorph (boahK), LKU-Net (xi-jia), TransMatch_TMI (tzayuan), PIViT (Torbjorn1997), RDP (ZAX130),
    UTSRMorph (Runshi-Zhang), H-SGANet (2250432015)

Most need timm, ml_collections and einops on the Python path. Nothing of theirs is kept: their networks get random
weights, heads that are not zero, and small random images; what they hold is read as a pretrained checkpoint is
(``pretrained/``), and the two fields, in voxels, are compared. XMorpher's code does not run as it is; for UDRSNet there
is none, and VTN's is for another library.

--layouts FILE writes the names and shapes of what their networks hold, at their released sizes, for the tests.

Parts: "fields" compares; "speed" times a forward pass of 160 x 192 x 224 with 2 threads for VoxelMorph and TransMorph,
theirs and ours in turn, each in a process of its own, and reads the peak memory of each; without the settings of our
command that keep freed memory, which make both faster and larger.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import inspect
import json
import os
import resource
import subprocess
import sys
import time
import types
from pathlib import Path
from types import SimpleNamespace

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "SlicerDeepReg"))
FULL, THREADS, ROUNDS = (160, 192, 224), 2, 3


# ------------------------------------------------------------------ their networks: (module, field of two images)


os.environ["VXM_BACKEND"] = os.environ["NEURITE_BACKEND"] = "pytorch"
inspect.getargspec = lambda function: inspect.getfullargspec(function)[:4]  # VoxelMorph's asks for what 3.11 took away


def voxelmorph(code, shape):
    sys.path.insert(0, str(code / "voxelmorph"))
    from voxelmorph.torch.networks import VxmDense

    features = [[16, 32, 32, 32], [32, 32, 32, 32, 32, 16, 16]]
    network = VxmDense(shape, features, int_steps=7, int_downsize=2)
    return network, lambda moving, fixed: network(moving, fixed, registration=True)[::-1]


def transmorph(code, shape):
    sys.path.insert(0, str(code / "TransMorph_Transformer_for_Medical_Image_Registration" / "TransMorph"))
    from models.TransMorph import CONFIGS, TransMorph

    configuration = CONFIGS["TransMorph"]
    configuration.img_size = shape
    return _of_pair(TransMorph(configuration))


def vit_v_net(code, shape):
    sys.path.insert(0, str(code / "ViT-V-Net_for_3D_Image_Registration_Pytorch" / "ViT-V-Net"))
    from models import CONFIGS, ViTVNet

    return _of_pair(ViTVNet(CONFIGS["ViT-V-Net"], img_size=shape))


def cyclemorph(code, shape):
    sys.path.insert(0, str(code / "MEDIA_CycleMorph"))
    from models.networks import registUnetGenerator

    network = registUnetGenerator(2, [16, 32, 32, 32, 32], [32, 32, 32, 8, 8, 3])
    del network.model.stn  # it asks for a GPU
    network.model.stn = lambda image, flow: image
    return network, lambda moving, fixed: (_of_pair(network)[1](moving, fixed)[0], None)


def lku_net(code, shape):
    sys.path.insert(0, str(code / "LKU-Net" / f"LKU-Net_{'3D_IXI' if len(shape) == 3 else '2D_OASIS'}"))
    import torch
    from Models import UNet

    network = UNet(2, len(shape), 8)
    half = torch.tensor([(size - 1) / 2 for size in shape]).view(1, -1, *[1] * len(shape))
    return network, lambda moving, fixed: (network(moving, fixed) * half, None)


def transmatch(code, shape):
    sys.path.insert(0, str(code / "TransMatch_TMI"))
    from Models.STN import SpatialTransformer
    from Models.TransMatch import TransMatch

    network, transformer = TransMatch(None), SpatialTransformer(shape)

    def run(moving, fixed):
        flow = network(moving, fixed)
        return flow, transformer(moving, flow)

    return network, run


def pivit(code, shape):
    sys.path.insert(0, str(code / "PIViT"))
    package = types.ModuleType("theirs")
    package.__path__ = [str(code / "PIViT" / "voxelmorph" / "torch")]
    sys.modules["theirs"] = package
    place = code / "PIViT" / "voxelmorph" / "torch" / "pivit.py"
    spec = importlib.util.spec_from_file_location("theirs.pivit", place)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    network = module.pivit(size=shape)
    return network, lambda moving, fixed: network(moving, fixed)[::-1]


def rdp(code, shape):
    sys.path.insert(0, str(code / "RDP"))
    from models import RDP

    network = RDP(shape)
    return network, lambda moving, fixed: network(moving, fixed)[::-1]


def _utsrmorph(name, size="UTSRMorph-Small"):
    def make(code, shape):
        sys.path.insert(0, str(code / "UTSRMorph"))
        module = importlib.import_module(f"{name}.UTSRMorph")
        configuration = module.CONFIGS[size]
        configuration.img_size = shape
        return _of_pair(module.UTSRMorph(configuration))

    return make


def h_sganet(code, shape):
    sys.path.insert(0, str(code / "H-SGANet" / "code"))
    utils = SimpleNamespace(SpatialTransformer=lambda size: lambda image, flow: image)
    sys.modules["utils"] = utils
    from nets.graphlayers import Vig
    from networks import model

    network = model()
    del network.spatial_trans
    network.spatial_trans = lambda image, flow: image
    network.vig1 = Vig(16)  # as it is (32), its code does not run
    return network, lambda moving, fixed: (_of_pair(network)[1](moving, fixed)[0], None)


def xmorpher(code, shape):
    """It can be built, for its layout; it does not run."""
    sys.path.insert(0, str(code / "XMorpher"))
    for name in ("mmcv", "mmcv.runner", "mmcv.cnn", "mmaction", "mmaction.utils", "utils", "utils.STN"):
        sys.modules[name] = types.ModuleType(name)
    nothing = lambda *_, **__: None  # noqa: E731
    sys.modules["mmcv.runner"].load_checkpoint = sys.modules["mmaction.utils"].get_root_logger = nothing
    sys.modules["mmcv.cnn"].ConvModule = nothing
    sys.modules["utils.STN"].SpatialTransformer = sys.modules["utils.STN"].Re_SpatialTransformer = nothing
    from models.XMorpher import Head

    return Head(), None


def _of_pair(network):
    import torch

    return network, lambda moving, fixed: network(torch.cat([moving, fixed], 1))[::-1]


#: By our names: who makes theirs, on images of which shape, what else our configuration needs.
PEERS = {
    "voxelmorph": (voxelmorph, (48, 64, 80), {}),
    "cyclemorph": (cyclemorph, (48, 64, 80), {}),
    "lku-net": (lku_net, (48, 64, 80), {"integration": "displacement", "image_size": [48, 64, 80]}),
    "vit-v-net": (vit_v_net, (64, 96, 64), {"positions": [2, 3, 2]}),
    "transmorph": (transmorph, (64, 96, 128), {}),
    "transmatch": (transmatch, (160, 192, 160), {}),
    "pivit": (pivit, (64, 96, 80), {}),
    "rdp-net": (rdp, (32, 48, 40), {}),
    "utsrmorph": (_utsrmorph("models_ixi"), (64, 96, 64), {}),
    "utsrmorph oasis": (_utsrmorph("models_oasis"), (64, 64, 96), {}),
    "h-sganet": (h_sganet, (48, 48, 224), {}),
}


#: How strong random heads are, so that fields are of some voxels.
HEADS = {"voxelmorph": 0.5, "cyclemorph": 0.5, "vit-v-net": 0.3, "rdp-net": 0.004}


def stirred(network, head):
    """Random numbers wherever a fresh network has constants or next to nothing: heads, biases, norms."""
    import torch

    random = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, one in network.state_dict().items():
            if not one.is_floating_point() or name.endswith("grid"):
                continue
            noise = torch.randn(one.shape, generator=random)
            if name.endswith("running_var"):
                one.copy_(1 + 0.3 * noise.tanh())
            elif one.ndim == 5 and one.shape[0] == 3 and one.shape[1] > 1:
                one.copy_(head * noise)
            elif one.ndim <= 1 or "bias_table" in name or "position" in name:
                one.add_(0.1 * noise)


def compared(name, code):
    """One comparison of fields, as a dictionary."""
    import torch
    from SlicerDeepRegLib.networks import build
    from SlicerDeepRegLib.networks.size import parameters
    from SlicerDeepRegLib.pretrained import recognize
    from SlicerDeepRegLib.warping.sample import warp

    torch.manual_seed(0)
    make, shape, more = PEERS[name]
    theirs, run = make(code, shape)
    stirred(theirs, HEADS.get(name, 0.02))
    theirs.eval()
    settings = {"int_steps": 7, "int_downsize": 2} if name == "voxelmorph" else {}
    found = recognize({key: one.numpy() for key, one in theirs.state_dict().items()}, settings)
    ours = build(found.network, **{**found.configuration, **more})
    ours.load_state_dict({key: torch.from_numpy(one.copy()) for key, one in found.arrays.items()})
    ours.eval()
    moving = torch.nn.functional.avg_pool3d(torch.rand(1, 1, *shape), 5, 1, 2)
    fixed = torch.nn.functional.avg_pool3d(torch.rand(1, 1, *shape), 5, 1, 2)
    with torch.no_grad():
        flow, warped = run(moving, fixed)
        output = ours(moving, fixed)
        by_edges = getattr(ours, "by_edges", False)
        result = {"name": name, "parameters": parameters(ours), "largest": float(flow.abs().max())}
        result["theirs"] = sum(one.numel() for one in theirs.parameters())
        if by_edges:
            ours.by_edges = False
            result["field"] = float((ours(moving, fixed).displacement.flip(1) - flow).abs().max())
        else:
            result["field"] = float((output.displacement.flip(1) - flow).abs().max())
        if warped is not None:
            seen = warp(moving, output.displacement, outside="zeros")
            result["warped"] = float((seen - warped).abs().max())
    result["notes"] = found.notes
    return result


#: Names and shapes at the released sizes: what, who makes it, for which images.
LAYOUTS = {
    "voxelmorph": (voxelmorph, FULL),
    "cyclemorph": (cyclemorph, FULL),
    "lku-net": (lku_net, FULL),
    "lku-net 2D": (lku_net, (160, 192)),
    "vit-v-net": (vit_v_net, FULL),
    "transmorph": (transmorph, FULL),
    "transmatch": (transmatch, (160, 192, 160)),
    "xmorpher": (xmorpher, FULL),
    "pivit": (pivit, (160, 192, 160)),
    "rdp-net": (rdp, (160, 192, 160)),
    "utsrmorph": (_utsrmorph("models_ixi", "UTSRMorph"), FULL),
    "utsrmorph oasis": (_utsrmorph("models_oasis", "UTSRMorph"), FULL),
}


def layout(name, code):
    make, shape = LAYOUTS[name]
    return {key: list(one.shape) for key, one in make(code, shape)[0].state_dict().items()}


def layouts(options):
    """Write the file: {what: {name: shape}}, what can be computed again left out but the grid that tells a size."""
    found = {}
    for name in LAYOUTS:
        rows = _apart("--layout", name, "--code", str(options.code)) or {}
        kept = {key: shape for key, shape in rows.items() if "grid" not in key or key == "spatial_trans.grid"}
        found[name] = {key: shape for key, shape in kept.items() if "position_index" not in key}
        print(f"{name}: {len(rows)} arrays")
    lines = [f'"{name}": {json.dumps(rows, separators=(",", ":"))}' for name, rows in found.items()]
    options.layouts.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


# ------------------------------------------------------------------ speed


def timed(name, whose, code):
    """Seconds of the fastest of some forward passes, and the peak memory of the process over what it held before."""
    import torch

    torch.set_num_threads(THREADS)
    torch.manual_seed(0)
    moving, fixed = torch.rand(1, 1, *FULL), torch.rand(1, 1, *FULL)
    if whose == "theirs":
        network, run = PEERS[name][0](code, FULL)
        network.eval()
    else:
        from SlicerDeepRegLib.networks import build

        network = build(name).eval().to(memory_format=torch.channels_last_3d)
        run = network
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    cpu, wall = [], []
    with torch.no_grad():
        for _ in range(2):  # the first pass pays for what the second has
            start, began = time.process_time(), time.perf_counter()
            run(moving, fixed)
            cpu.append(time.process_time() - start)
            wall.append(time.perf_counter() - began)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    return {"name": name, "whose": whose, "cpu": min(cpu), "wall": min(wall), "peak_gb": peak, "before_gb": before}


def _apart(*arguments):
    """One row in a process of its own; None with its last line where it failed."""
    done = subprocess.run([sys.executable, __file__, *arguments], capture_output=True, encoding="utf-8")
    if done.returncode:
        print(f"{arguments[1]}: {(done.stderr.strip().splitlines() or ['nothing said'])[-1]}", file=sys.stderr)
        return None
    return json.loads(done.stdout.strip().splitlines()[-1])


def fields(options):
    print("\n| network | parameters of theirs | of ours | largest displacement | field differs by | warped image by |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name in options.only or PEERS:
        row = _apart("--compare", name, "--code", str(options.code))
        if row:
            warped = f"{row['warped']:.1e}" if "warped" in row else "-"
            print(
                f"| {name} | {row['theirs']:,} | {row['parameters']:,} | {row['largest']:.2f} voxels "
                f"| {row['field']:.1e} voxels | {warped} |",
                flush=True,
            )


def speed(options):
    import torch

    print(f"\n{FULL[0]} x {FULL[1]} x {FULL[2]}, {THREADS} threads, torch {torch.__version__}")
    print(
        "\n| network | CPU s, theirs | ours | ratio | wall s, theirs | ours | ratio | peak GB, theirs | ours | ratio |"
    )
    print("| --- |" + " --- |" * 9)
    for name in ("voxelmorph", "transmorph"):
        if options.only and name not in options.only:
            continue
        rows = {"theirs": [], "ours": []}
        for number in range(ROUNDS):  # in turn, the order turned about each time
            for whose in ("theirs", "ours") if number % 2 else ("ours", "theirs"):
                row = _apart("--time", f"{name}:{whose}", "--code", str(options.code))
                if row:
                    rows[whose].append(row)
        if rows["theirs"] and rows["ours"]:
            cells = []
            for key in ("cpu", "wall", "peak_gb"):
                theirs, ours = (sorted(row[key] for row in rows[whose]) for whose in ("theirs", "ours"))
                middle = [values[len(values) // 2] for values in (theirs, ours)]
                spread = f"{ours[0] / theirs[-1]:.2f} to {ours[-1] / theirs[0]:.2f}"
                cells += [f"{middle[0]:.2f}", f"{middle[1]:.2f}", f"{middle[1] / middle[0]:.2f} ({spread})"]
            print(f"| {name} | {' | '.join(cells)} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--code", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--parts", nargs="+", choices=("fields", "speed"), default=("fields", "speed"))
    parser.add_argument("--only", nargs="+", choices=tuple(PEERS), metavar="NAME")
    parser.add_argument("--layouts", type=Path, metavar="FILE")
    parser.add_argument("--layout", help=argparse.SUPPRESS)
    parser.add_argument("--compare", help=argparse.SUPPRESS)
    parser.add_argument("--time", help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.code = options.code.resolve()
    if options.layouts:
        layouts(options)
    elif options.layout:
        print(json.dumps(layout(options.layout, options.code)))
    elif options.compare:
        print(json.dumps(compared(options.compare, options.code)))
    elif options.time:
        print(json.dumps(timed(*options.time.split(":"), options.code)))
    else:
        for part in options.parts:
            {"fields": fields, "speed": speed}[part](options)


if __name__ == "__main__":
    main()
