"""What a teacher says of each picture: its logits, and where it looks.

Where views are few the answers are kept, so that a student costs no teacher in every epoch.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from models import losses
from models.views import Pixels
from models.zoo import ModelError

KEPT_VIEWS, KEPT_NUMBERS = 9, 100_000_000  # more views are not all seen; 400 MB

Answers = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, ...]]
"""Maps (image numbers, views, the images so viewed) to logits, classes last, and energies."""


class Watch:
    """Runs a network and notes the energy of its last map of each size in `sizes`."""

    def __init__(self, network: nn.Module) -> None:
        self.network = network
        self.sizes: tuple[tuple[int, int], ...] = ()

    def __call__(self, x: Tensor) -> tuple[Tensor, ...]:
        """Returns logits, classes last, in float32, and an energy [B, H W] for each size."""
        if not self.sizes:
            return (self._logits(x),)
        maps: dict[tuple[int, int], Tensor] = {}
        z = self._noting(x, maps)
        return z, *(losses.energy(maps[size]) for size in self.sizes)

    def note(self, sizes: Sequence[tuple[int, int]]) -> None:
        """Has it note the maps of these sizes from now on."""
        self.sizes = tuple(sizes)

    def all_sizes(self, x: Tensor) -> list[tuple[int, int]]:
        """Returns the sizes of the maps of one batch of pictures, largest first."""
        maps: dict[tuple[int, int], Tensor] = {}
        was_training = self.network.training
        with torch.no_grad():
            self.network.eval()  # or this batch would count in the norms
            self._noting(x, maps)
        self.network.train(was_training)
        return list(maps)

    def _logits(self, x: Tensor) -> Tensor:
        with precision(x.device):
            z: Tensor = self.network(x)
        return z.movedim(1, -1).float()

    def _noting(self, x: Tensor, maps: dict[tuple[int, int], Tensor]) -> Tensor:
        features = self.network.features

        def note(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            maps[output.shape[2], output.shape[3]] = output

        assert isinstance(features, nn.Sequential)
        hooks = [layer.register_forward_hook(note) for layer in features]
        try:
            return self._logits(x)
        finally:
            for hook in hooks:
                hook.remove()


def precision(place: torch.device) -> torch.autocast:
    """Mixed precision where a GPU is: bfloat16, whose range needs no scaling of the loss."""
    return torch.autocast(place.type, torch.bfloat16, enabled=place.type == "cuda")


def shared_sizes(student: Watch, teacher: Watch, pixels: Pixels) -> tuple[tuple[int, int], ...]:
    """Returns the sizes of map that both have; ModelError if there are none.

    One pixel is no size: its energy, scaled to length one, is always one.
    """
    first = torch.zeros(1, dtype=torch.int64, device=pixels.labels.device)
    x = pixels.take(first, first)
    own, masters = student.all_sizes(x), teacher.all_sizes(x)
    shared = tuple(size for size in own if size in masters and size != (1, 1))
    if not shared:
        raise ModelError(f"attention needs maps of one size: student {own}, teacher {masters}")
    return shared


def answers(teacher: Watch, pixels: Pixels) -> Answers:
    """Returns what answers for the teacher: itself, or what it said of every picture and view."""
    device = pixels.labels.device

    def ask(chosen: Tensor, view: Tensor, x: Tensor) -> tuple[Tensor, ...]:
        with torch.no_grad():
            return teacher(x)

    first = torch.zeros(1, dtype=torch.int64, device=device)
    one = sum(part.numel() for part in ask(first, first, pixels.take(first, first)))
    if pixels.views > KEPT_VIEWS or pixels.views * len(pixels) * one > KEPT_NUMBERS:
        return ask
    every = torch.arange(len(pixels), device=device)
    by_view = []
    for view in range(pixels.views):
        said = [
            ask(part, part, pixels.take(part, torch.full_like(part, view)))
            for part in torch.split(every, pixels.eval_batch)
        ]
        by_view.append([torch.cat(column) for column in zip(*said, strict=True)])
    kept = [torch.stack(column) for column in zip(*by_view, strict=True)]

    def look_up(chosen: Tensor, view: Tensor, x: Tensor) -> tuple[Tensor, ...]:
        return tuple(part[view, chosen] for part in kept)

    return look_up
