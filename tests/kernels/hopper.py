"""Compile every Triton kernel to compute capability 9.0, no GPU needed; print what came out.

A program of its own, because Triton decides at import whether to interpret.
"""

from __future__ import annotations

import itertools
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
import triton
from mmspec_kernels import triton_chunk, triton_move, triton_prefix, triton_tail
from mmspec_kernels.layout import tail_width
from mmspec_kernels.triton_shapes import Heads, chunk_shape, finish_shape, prefix_shape
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

TARGET = GPUTarget("cuda", 90, 32)
NAMES = {torch.bfloat16: "bf16", torch.float16: "fp16", torch.float32: "fp32"}
TABLES = {"windows", "rows", "pages", "path"}
WHOLE = {"total_rows", "slots", "page_count", "window_count", "past", "count", "sliding"}
LONG = {"head_stride", "side_stride"}
# Key heads, group, head dimension: Llama-3.1-8B, Qwen2.5-VL-7B, LLaVA-1.5-7B, Gemma, odd ones.
MODELS = [(8, 4, 128), (4, 7, 128), (32, 1, 128), (4, 2, 256), (3, 2, 80)]
OPTIONS = ("num_warps", "num_stages")


def compiled(kernel, element, settings):
    """Registers, spilled bytes, shared bytes and product instructions of one kernel."""
    options = {name: settings.pop(name) for name in OPTIONS if name in settings}
    kinds = {}
    for name in kernel.arg_names:
        if name in settings:
            kinds[name] = "constexpr"
        elif name == "scale":
            kinds[name] = "fp32"
        elif name in WHOLE | LONG:
            kinds[name] = "i32" if name in WHOLE else "i64"
        elif name in TABLES:
            kinds[name] = "*i32"
        else:
            kinds[name] = {"outs": "*fp32", "lses": "*fp32"}.get(name, f"*{element}")
            if name in {"sources", "targets"}:
                kinds[name] = "*i64"
    aligned = {
        (place,): [["tt.divisibility", 16]]
        for place, kind in enumerate(kinds.values())
        if kind[0] == "*"
    }
    constants = {(kernel.arg_names.index(name),): value for name, value in settings.items()}
    source = ASTSource(kernel, kinds, constants, aligned)
    done = triton.compile(source, target=TARGET, options=options)
    return {**used(done.asm["cubin"]), "shared": done.metadata.shared, **products(done.asm["ptx"])}


def used(cubin):
    """Registers a thread, and bytes of stack and local memory: what did not fit in them."""
    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        said = subprocess.run(
            [tool, "--dump-resource-usage", file.name], check=True, capture_output=True, text=True
        ).stdout
    found = {
        name: int(re.search(rf"{name}:(\d+)", said).group(1)) for name in ("REG", "STACK", "LOCAL")
    }
    return {"registers": found["REG"], "spilled": found["STACK"] + found["LOCAL"]}


def products(ptx):
    return {
        "wgmma": ptx.count("wgmma.mma_async"),
        "mma": len(re.findall(r"mma\.sync", ptx)),
        "barriers": ptx.count("bar.sync"),
        "atomics": len(re.findall(r"\b(?:atom|red)\.", ptx)),
    }


def attention(models, dtypes):
    """Each kernel in the shapes of these models: (its name, heads, settings)."""
    for model, dtype in itertools.product(models, dtypes):
        heads = Heads(*model, dtype)
        reach, most = 16 * heads.group, tail_width(16)
        yield "prefix", heads, {**prefix_shape(heads, reach), "page": 0}
        yield "paged prefix", heads, {**prefix_shape(heads, reach), "page": 64}
        yield "finish", heads, finish_shape(heads, reach, most, 0)
        yield "sliding finish", heads, finish_shape(heads, reach, most, most)
        yield "chunk", heads, chunk_shape(heads)


def main(models, dtypes):
    kernels = {
        "prefix": triton_prefix.prefix,
        "finish": triton_tail.finish,
        "chunk": triton_chunk.chunk,
    }
    said = []
    for name, heads, settings in attention(models, dtypes):
        kernel = kernels[name.split()[-1]]
        out = compiled(kernel, NAMES[heads.dtype], {**settings, "widened": False})
        about = {"kernel": name, "group": heads.group, "dim": heads.dim}
        kept = {k: settings[k] for k in ("tile", "block", "num_warps", "num_stages")}
        said.append({**about, "dtype": NAMES[heads.dtype], **kept, **out})
    moved = compiled(triton_move.move, "bf16", {"dim": 128, "wide": 128, "tile": 16})
    said.append({"kernel": "move", "dtype": "bf16", **moved})
    sys.stdout.write(json.dumps(said))


if __name__ == "__main__":
    if sys.argv[1:] == ["all"]:
        main(MODELS, list(NAMES))
    else:
        main(MODELS[:1], [torch.bfloat16])
