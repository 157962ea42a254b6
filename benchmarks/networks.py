"""The networks alone: forward pass at 160 x 192 x 224, and one step of fitting at half of that; writes RESULTS.md.

    python benchmarks/networks.py [--voxelmorph FOLDER] [--transmorph FOLDER] [--only NAME ...]

Every row is a process of its own with two threads, random weights and random images. "plain" is the same graph by the
simplest honest implementation, with the same numbers: attention as two products and a softmax of all keys a window
sees, one by one; a depthwise kernel for each size; torch's own layout, normalization and choice of convolution.
FOLDER is a checkout of github.com/voxelmorph/voxelmorph (version 0.2, VxmDense; needs neurite and pystrum) or of
junyuchen245/TransMorph_Transformer_for_Medical_Image_Registration (its IXI folder's models; needs timm and
ml_collections); without them their rows are left out.
"""

from __future__ import annotations

import argparse
import datetime
import inspect
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

THREADS = 2
for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = str(THREADS)

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "RESULTS.md"
FULL, HALF = (160, 192, 224), (80, 96, 112)
NETWORKS = ("msrd-net", "unfolding", "caml", "fmirnet", "wavemorph")
#: Re-implemented systems that these are compared with; measured when named by --only.
COMPARED = ("voxelmorph", "cyclemorph", "lku-net", "vit-v-net", "transmorph", "transmatch", "xmorpher", "pivit")
COMPARED += ("rdp-net", "utsrmorph", "h-sganet", "udrsnet")
#: As their code is; "tuned" is the same with the allocator's settings of our command, which help one and not the other.
PEERS = ("VoxelMorph", "TransMorph")
MARKS = ("<!-- networks: begin -->", "<!-- networks: end -->")


def peak_gb():
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024 / 1e9


# ------------------------------------------------------------------ one row, in its own process


def plain_attention():
    """Replace what is faster in ours by what is simplest."""
    import torch
    import torch.nn.functional as F
    from SlicerDeepRegLib.networks import attention, blocks, caml, msrd_net, unfolding, wavemorph

    def products(query, key, value, mask=None):
        scores = query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5
        if mask is not None:
            scores = scores.masked_fill(~mask, attention.OUTSIDE)
        return scores.softmax(-1) @ value

    def neighbors(query, key, value, heads, window=2, reach=1):
        shape, seen = query.shape[2:], window * (2 * reach + 1)
        extra = [amount for size in shape[::-1] for amount in (0, -size % window)]
        around = [amount + window * reach for amount in extra]
        there = F.pad(query.new_ones((len(query), 1, *shape)), around)
        asked = F.pad(query, extra)

        def gathered(x, heads):
            for axis in (2, 3, 4):
                x = x.unfold(axis, seen, window)
            b, c, *counts = x.shape[:5]
            x = x.reshape(b, heads, c // heads, *counts, seen**3).permute(0, 3, 4, 5, 1, 6, 2)
            return x.reshape(-1, heads, seen**3, c // heads)

        keys, values = (gathered(F.pad(t, around), heads) for t in (key, value))
        mask = gathered(there, 1).transpose(2, 3) > 0
        found = products(attention._windows(asked, [window] * 3, heads), keys, values, mask)
        found = attention._joined(found, [window] * 3, asked.shape)
        return found[:, :, : shape[0], : shape[1], : shape[2]]

    def whole(query, key, value, heads):
        b, tokens, c = query.shape
        parts = [t.reshape(b, tokens, heads, c // heads).transpose(1, 2) for t in (query, key, value)]
        return products(*parts).transpose(1, 2).reshape(b, tokens, c)

    attention.attend, caml.neighbor_attention, unfolding.whole_attention = products, neighbors, whole
    blocks.FAST_FROM = 0
    blocks.InstanceNorm.forward = lambda self, x: F.instance_norm(x, weight=self.weight, bias=self.bias)
    wavemorph.SummedDepthwise.forward = lambda self, x: sum(part(x) for part in self.parts)
    assert msrd_net.window_attention is attention.window_attention and torch is not None


def make(name, options):
    """(network as a function of two images, whether its blocks are recomputed)."""
    import torch

    kind, _, base = name.rpartition(" ")
    if base == "VoxelMorph":
        os.environ["VXM_BACKEND"] = os.environ["NEURITE_BACKEND"] = "pytorch"
        sys.path.insert(0, options.voxelmorph)
        inspect.getargspec = lambda function: inspect.getfullargspec(function)[:4]  # which Python 3.11 took away
        from voxelmorph.torch.networks import VxmDense

        features = [[16, 32, 32, 32], [32, 32, 32, 32, 32, 16, 16]]
        return VxmDense(FULL, features, int_steps=7, int_downsize=2).eval()
    if base == "TransMorph":
        sys.path.insert(0, str(Path(options.transmorph) / "IXI" / "TransMorph"))
        from models.TransMorph import CONFIGS, TransMorph

        network = TransMorph(CONFIGS["TransMorph"]).eval()
        return lambda moving, fixed: network(torch.cat([moving, fixed], 1))
    from SlicerDeepRegLib.networks import build

    if kind == "plain":
        plain_attention()
    network = build(base, checkpointing=kind == "checkpointed")
    return network if kind == "plain" else network.to(memory_format=torch.channels_last_3d)


def row(name, mode, options):
    """One row as JSON: CPU and wall seconds of the second of two passes, peak memory, bytes for each voxel."""
    import torch
    from SlicerDeepRegLib.networks import network_class
    from SlicerDeepRegLib.processes.current import prepare_process

    torch.set_num_threads(THREADS)
    if name not in PEERS:
        prepare_process()
    torch.manual_seed(0)
    shape = FULL if mode == "forward" else HALF
    moving, fixed = torch.rand(1, 1, *shape), torch.rand(1, 1, *shape)
    network = make(name, options)
    loss = network_class(name.rpartition(" ")[2]).loss(moving, fixed) if mode == "step" else None
    before = peak_gb()
    for _ in range(2):
        cpu, wall = time.process_time(), time.perf_counter()
        if mode == "forward":
            with torch.no_grad():
                network(moving, fixed)
        else:
            loss(network(moving, fixed)).backward()
        seconds = time.process_time() - cpu, time.perf_counter() - wall
    voxels = shape[0] * shape[1] * shape[2]
    found = {"cpu_s": seconds[0], "wall_s": seconds[1], "peak_gb": peak_gb()}
    print(json.dumps({**found, "bytes_per_voxel": round((peak_gb() - before) * 1e9 / voxels)}))


def measured(name, mode, arguments):
    command = [sys.executable, __file__, "--row", name, "--mode", mode, *arguments]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
    if done.returncode:
        print(done.stderr[-2000:], file=sys.stderr)
        sys.exit(f"{name} could not be measured.")
    found = json.loads(done.stdout.splitlines()[-1])
    print(f"{name:24} {mode:8} {found}", flush=True)
    return found


# ------------------------------------------------------------------ the tables


def tables(rows):
    peers = [name for name in PEERS if (name, "forward") in rows and (f"tuned {name}", "forward") in rows]
    faster = {p: min((rows[n, "forward"] for n in (p, f"tuned {p}")), key=lambda found: found["cpu_s"]) for p in peers}
    head = ["network", "CPU s", "wall s", "peak GB", "bytes / voxel", "CPU s / plain", "GB / plain"]
    head += [f"{what} / {peer}" for peer in peers for what in ("CPU s", "GB")]
    lines = ["### Forward pass, 160 x 192 x 224, one pair", "", _line(head), _line(["---"] * len(head))]
    for (name, mode), found in rows.items():
        if mode == "forward":
            others = [rows.get((f"plain {name}", "forward")), *faster.values()]
            ratios = [
                f"{found[key] / other[key]:.2f}" if other else "-" for other in others for key in ("cpu_s", "peak_gb")
            ]
            lines.append(_line([name, *_numbers(found), *ratios]))
    if not any(mode == "step" for _, mode in rows):
        return lines
    head = ["network", "CPU s", "wall s", "peak GB", "bytes / voxel"]
    lines += ["", "### One step of fitting, 80 x 96 x 112", "", _line(head), _line(["---"] * len(head))]
    lines += [_line([name, *_numbers(found)]) for (name, mode), found in rows.items() if mode == "step"]
    return lines


def _numbers(found):
    return [f"{found[key]:.2f}" for key in ("cpu_s", "wall_s", "peak_gb")] + [str(found["bytes_per_voxel"])]


def _line(cells):
    return "| " + " | ".join(cells) + " |"


def write(rows, command):
    import torch

    said = (
        f"Command: `{command}`. Date: {datetime.date.today()}. Machine: {os.cpu_count()} cores, {platform.system()}, "
        f"Python {platform.python_version()}, torch {torch.__version__}. {THREADS} threads; the second of two passes; "
        "peak memory is of the whole process, bytes / voxel of what the passes added. Rows named plain are the same "
        "graph without our formulations; ratios to VoxelMorph (327,331 parameters) and TransMorph are to the faster of "
        "their two rows."
    )
    text = RESULTS.read_text(encoding="utf-8")
    block = "\n".join([MARKS[0], said, "", *tables(rows), MARKS[1]])
    if MARKS[0] in text:
        start, end = text.index(MARKS[0]), text.index(MARKS[1]) + len(MARKS[1])
        text = text[:start] + block + text[end:]
    else:
        text = text.rstrip("\n") + "\n\n## The networks alone\n\n" + block + "\n"
    RESULTS.write_text(text, encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--voxelmorph")
    parser.add_argument("--transmorph")
    parser.add_argument("--only", nargs="+", choices=NETWORKS + COMPARED, help="print these rows and write nothing")
    parser.add_argument("--parts", nargs="+", choices=("forward", "step"), default=["forward", "step"])
    parser.add_argument("--row", help=argparse.SUPPRESS)
    parser.add_argument("--mode", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.row:
        return row(options.row, options.mode, options)
    folders = {name: getattr(options, name) for name in ("voxelmorph", "transmorph") if getattr(options, name)}
    given = [item for name, folder in folders.items() for item in (f"--{name}", folder)]
    names = options.only or NETWORKS
    asked = [peer for peer in PEERS if getattr(options, peer.lower())]
    wanted = [(f"{kind}{peer}", "forward") for peer in asked for kind in ("", "tuned ")]
    wanted += [(f"{kind}{name}", "forward") for kind in ("", "plain ") for name in names]
    wanted = [(name, mode) for name, mode in wanted if name.removeprefix("plain ") not in COMPARED or " " not in name]
    wanted += [(f"{kind}{name}", "step") for name in names for kind in ("", "checkpointed ")]
    wanted = [(name, mode) for name, mode in wanted if mode in options.parts]
    shown = "python benchmarks/networks.py" + " --voxelmorph FOLDER" * bool(options.voxelmorph)
    shown += " --transmorph FOLDER" * bool(options.transmorph)
    shown += f" --parts {options.parts[0]}" * (len(options.parts) == 1)
    rows = {}
    for name, mode in wanted:
        rows[name, mode] = measured(name, mode, given)
        if not options.only:
            write(rows, shown)


if __name__ == "__main__":
    main()
