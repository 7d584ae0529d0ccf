"""Trains a shipped network: `python -m models.train digits-s --seed 1`.

Adam with one cosine cycle, random shifts by one pixel, cross entropy. Nothing is chosen by the
test split: it is looked at once, after the last epoch. One thread, so that equal seeds give
equal weights. Not a distillation: the network learns from labels alone.
"""

import argparse
import hashlib
import json
from datetime import date
from pathlib import Path

import msgspec
import numpy as np
import torch
from safetensors.torch import save
from torch import nn
from torch.nn import functional

from models import data, zoo

BATCH = 50
LEARNING_RATE = 4e-3
WEIGHT_DECAY = 1e-3


def tensor(split: data.Split, scale: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns images float32 [N, 1, 8, 8] in [0, 1] and labels int64 [N]."""
    images = torch.from_numpy(split.images.astype(np.float32) / scale)
    return images[:, None], torch.from_numpy(split.labels)


def accuracy(network: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> float:
    network.eval()
    with torch.inference_mode():
        return float((network(images).argmax(dim=1) == labels).double().mean())


def shift(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Moves each image [B, 1, 8, 8] by up to one pixel each way; what comes in is empty."""
    padded = functional.pad(images, (1, 1, 1, 1))
    moved = torch.stack([padded[:, :, y : y + 8, x : x + 8] for y in range(3) for x in range(3)])
    each = torch.arange(len(images))
    return moved[torch.randint(0, 9, (len(images),), generator=generator), each]


def train(name: str, seed: int, epochs: int) -> nn.Module:
    """Returns the network after `epochs` epochs; prints a line for each tenth of them."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    splits = data.load("digits")
    images, labels = tensor(splits.train, splits.scale)
    network = zoo.build(name)
    optimiser = torch.optim.AdamW(network.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, epochs)
    for epoch in range(1, epochs + 1):
        network.train()
        order = torch.randperm(len(labels), generator=generator)
        for chosen in torch.split(order, BATCH):
            loss = functional.cross_entropy(
                network(shift(images[chosen], generator)), labels[chosen]
            )
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]  # torch has no types here
            optimiser.step()
        schedule.step()
        if epoch % max(1, epochs // 10) == 0:
            share = accuracy(network, *tensor(splits.val, splits.scale))
            print(
                f"epoch {epoch:3d}/{epochs}  loss {float(loss.detach()):.4f}  val {share:.4f}",
                flush=True,
            )
    return network.eval()


def ship(name: str, seed: int, epochs: int, root: Path = zoo.WEIGHTS) -> zoo.Manifest:
    """Trains a network and writes its folder."""
    splits = data.load("digits")
    network = train(name, seed, epochs)
    folder = root / name
    folder.mkdir(parents=True, exist_ok=True)
    packed = save({key: value.contiguous() for key, value in network.state_dict().items()})
    (folder / "weights.safetensors").write_bytes(packed)
    made = zoo.Manifest(
        name=name,
        dataset=f"digits (split seed {data.SPLIT_SEED})",
        command=f"python -m models.train {name} --seed {seed} --epochs {epochs}",
        seed=seed,
        epochs=epochs,
        parameters=sum(p.numel() for p in network.parameters()),
        val_accuracy=accuracy(network, *tensor(splits.val, splits.scale)),
        test_accuracy=accuracy(network, *tensor(splits.test, splits.scale)),
        torch=str(torch.__version__),
        created=date.today().isoformat(),
        sha256=hashlib.sha256(packed).hexdigest(),
    )
    (folder / "manifest.json").write_text(json.dumps(msgspec.to_builtins(made), indent=1) + "\n")
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description="Train a shipped network and write its weights.")
    parser.add_argument("name", choices=zoo.NAMES)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=60)
    arguments = parser.parse_args()
    made = ship(arguments.name, arguments.seed, arguments.epochs)
    print(
        f"{made.parameters} parameters, val {made.val_accuracy:.4f}, test {made.test_accuracy:.4f}"
    )


if __name__ == "__main__":
    main()
