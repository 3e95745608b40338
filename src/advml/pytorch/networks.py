"""Layers that networks share, with the layouts of `advml.networks`."""

import torch
from torch.nn.functional import (
    conv2d,
    conv_transpose2d,
    pad,
    pixel_unshuffle,
)

from advml import networks
from advml.networks import EPSILON


class Network(torch.nn.Module):
    """Layers (kernel, bias) that can go to the other framework and back."""

    def __init__(self, layers, device, dtype):
        """Take arrays as parameters; see `advml.pytorch.ebm`."""
        super().__init__()
        if device is None:
            device = "cuda" if torch.cuda.is_available() else "cpu"
        self.layers = torch.nn.ParameterList(
            torch.nn.ParameterList(
                torch.as_tensor(array, dtype=dtype, device=device)
                for array in layer
            )
            for layer in layers
        )

    def to_numpy(self):
        """Return copies of all layers, a list of pairs (kernel, bias)."""
        return [
            tuple(
                parameter.detach().cpu().numpy().copy() for parameter in layer
            )
            for layer in self.layers
        ]

    @torch.no_grad()
    def from_numpy(self, layers):
        """Take over what :meth:`to_numpy` of either framework returned."""
        networks.same_shapes(self.to_numpy(), layers)
        for layer, arrays in zip(self.layers, layers, strict=True):
            for parameter, array in zip(layer, arrays, strict=True):
                parameter.copy_(torch.as_tensor(array))
        return self


def adam_of(model, memory, betas):
    """Adam for the parameters of a model; `memory` is that of an earlier call.

    None begins anew. ValueError for the memory of another model, whose
    parameters it would train instead, without a word.
    """
    own = list(model.parameters())
    if memory is None:
        return torch.optim.Adam(own, betas=betas, eps=EPSILON)
    known = [id(p) for g in memory.param_groups for p in g["params"]]
    if known != [id(p) for p in own]:
        raise ValueError("memory must be of this model, but is of another")
    return memory


def dense(layers, x, activation):
    """Dense layers with the activation between them."""
    for i, (kernel, bias) in enumerate(layers):
        x = (activation(x) if i else x) @ kernel + bias
    return x


def halve(y, kernel, bias):
    """Convolution with stride 2 and zeros of width size // 2 around y.

    With one channel, where PyTorch is slow to differentiate in y, it is
    written as one with stride 1 over the four images of every second pixel.
    """
    width, kernel = kernel.shape[0] // 2, kernel.permute(3, 2, 0, 1)
    if y.shape[1] > 1:
        return conv2d(y, kernel, bias, stride=2, padding=width)
    around = (width, width + y.shape[2] % 2) * 2  # an even number of pixels
    four = pixel_unshuffle(pad(y, around), 2)
    four = four.contiguous(memory_format=torch.channels_last)
    return conv2d(four, pixel_unshuffle(pad(kernel, (0, 1) * 2), 2), bias)


def transposed(y, kernel, bias, side):
    """Transpose of :func:`halve` from images of this side, plus a bias.

    Pixel i of y puts the kernel around pixel 2i; what falls outside of the
    image is lost. If the side is that of y, the stride is 1 and not 2. The
    kernel is (size, size, outputs, inputs): that of the convolution.
    """
    size, left = kernel.shape[0], y.shape[-1]
    stride = 1 if side == left else 2
    return conv_transpose2d(
        y,
        kernel.permute(3, 2, 0, 1),
        bias,
        stride=stride,
        padding=size // 2,
        output_padding=side - 1 - stride * (left - 1),
    )
