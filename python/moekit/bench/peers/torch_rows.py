# SPDX-License-Identifier: Apache-2.0
"""What workers of torch kernels that are given ids and weights share: bfloat16 tensors on mapped files, and the router
as such kernels' callers have it."""
import numpy as np
import torch

import wire


def tensor(bits):
    """bfloat16 bits as a tensor that shares them (mapped copy-on-write: torch wants memory that could be written)."""
    mapped = np.memmap(bits.filename, dtype=np.int16, mode="c", shape=bits.shape)
    return torch.from_numpy(mapped).view(torch.bfloat16)


def tensors(request):
    torch.set_num_threads(request["threads"])
    return {name: tensor(bits) for name, bits in wire.matrices(request).items()}


def route(x, router, top_k):
    """ids int64 [T, k] and weights float32 [T, k]: softmax over all experts, the top k made to sum to one."""
    weights, ids = torch.softmax(torch.nn.functional.linear(x, router).float(), -1).topk(top_k, -1)
    return ids, weights / weights.sum(-1, keepdim=True)


def rows(x):
    """Float32 values that bfloat16 holds, as bfloat16."""
    return torch.from_numpy(np.ascontiguousarray(x)).bfloat16()
