# SPDX-License-Identifier: Apache-2.0
"""What a layer on a device refuses, whatever the device."""
import numpy as np


def refused(layer, error, *parts, x, **call):
    """layer(x, ...) must raise the error, with the parts in its text."""
    try:
        layer(x, **call)
    except error as e:
        assert all(part in str(e) for part in parts), e
    else:
        raise SystemExit("not refused: " + str(parts))


def refuses_arrays_that_do_not_fit(layer, array, device):
    """array: the class of arrays on the device, with of(values, index=, strides=). The layer is on the device's first."""
    x = np.ones((4, layer.hidden_size), np.float32)
    refused(layer, ValueError, f"x is on {device}:1, the layer on {device}:0", x=array.of(x, index=1))
    refused(layer, ValueError, "last dimension", x=array.of(x[:, :-1]))
    refused(layer, ValueError, "strided", x=array.of(x, strides=(1, 4)))
    refused(layer, TypeError, "int32", x=array.of(x.astype(np.int32)))
    refused(layer, ValueError, f"expert_ids must be on {device}:0", x=array.of(x),
            expert_ids=np.zeros((4, layer.config["router"]["top_k"]), np.int32))
