"""A split on the device, and its views: what augmentation makes of a picture and of its labels."""

import torch
from torch import Tensor
from torch.nn import functional

from models.splits import Split, Splits

CROP = 4  # pixels of padding of `crop`
EVAL_BATCH, EVAL_PIXELS = 500, 2**19  # at most so many pictures, and pixels, at a time


class Pixels:
    """A split on the device. `views` is how many forms augmentation may give a picture."""

    def __init__(self, split: Split, splits: Splits, augment: str, device: torch.device) -> None:
        images = torch.from_numpy(split.images)
        self.images = (images[:, None] if images.dim() == 3 else images).to(device)
        self.labels = torch.from_numpy(split.labels).to(device)
        self.ignored = splits.ignored
        self.are_maps = self.labels.dim() == 3
        area = self.images.shape[2] * self.images.shape[3]
        self.eval_batch = max(1, min(EVAL_BATCH, EVAL_PIXELS // area))
        shape = (1, -1, 1, 1)
        self._scale = splits.scale
        self._mean = torch.tensor(splits.mean, device=device).view(shape)
        self._deviation = torch.tensor(splits.deviation, device=device).view(shape)
        self.augment = augment
        self.views = {"none": 1, "shift": 9, "flip": 2, "crop": 2 * (2 * CROP + 1) ** 2}[augment]

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, chosen: Tensor, view: Tensor) -> Tensor:
        """Returns images float32 [B, C, H, W], normalised, each in its view (int64 [B])."""
        x = (self.images[chosen].float() / self._scale - self._mean) / self._deviation
        return self._viewed(x, view, 0.0)

    def labels_of(self, chosen: Tensor, view: Tensor) -> Tensor:
        """Returns labels int64 [B], or [B, H, W] in the same view as the picture."""
        labels = self.labels[chosen].long()
        if not self.are_maps:
            return labels
        return self._viewed(labels[:, None], view, float(self.ignored or 0))[:, 0]

    def _viewed(self, x: Tensor, view: Tensor, outside: float) -> Tensor:
        if self.augment in ("flip", "crop"):
            x = torch.where((view % 2 == 1)[:, None, None, None], x.flip(3), x)
        if self.augment == "shift":
            return _moved(x, view // 3, view % 3, 1, outside)
        if self.augment == "crop":
            place = view // 2
            return _moved(x, place // (2 * CROP + 1), place % (2 * CROP + 1), CROP, outside)
        return x


def _moved(x: Tensor, down: Tensor, right: Tensor, most: int, outside: float) -> Tensor:
    """Cuts each image out of its padded self at (down, right); what comes in is `outside`."""
    height, width = x.shape[-2:]
    padded = functional.pad(x, (most, most, most, most), value=outside)
    rows = down[:, None] + torch.arange(height, device=x.device)
    columns = right[:, None] + torch.arange(width, device=x.device)
    each = torch.arange(len(x), device=x.device)[:, None, None, None]
    channels = torch.arange(x.shape[1], device=x.device)[None, :, None, None]
    moved: Tensor = padded[each, channels, rows[:, None, :, None], columns[:, None, None, :]]
    return moved
