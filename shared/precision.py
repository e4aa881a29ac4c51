"""Where half precision pays."""

from __future__ import annotations

import torch


def fast_dtype(device: torch.device | str = "cpu") -> torch.dtype | None:
    """bfloat16 where the device multiplies it faster than float32, else None.

    A GPU that knows bfloat16; on a CPU the AVX512-BF16 or AMX units, without which it is emulated and slower.
    """
    kind = torch.device(device).type
    if kind == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else None
    if kind == "cpu":
        units = (getattr(torch.cpu, f"_is_{name}_supported", None) for name in ("avx512_bf16", "amx_tile"))
        return torch.bfloat16 if any(known() for known in units if known is not None) else None
    return None
