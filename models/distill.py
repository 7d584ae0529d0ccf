"""One trainer for teachers and students: SGD, a schedule, a recipe of losses, bit-exact resume.

Everything random comes from one generator that is part of the checkpoint, and CPU training uses one
thread, so equal options give equal weights, whether or not a run was interrupted between epochs.
Nothing is chosen by the test split: it is looked at once, after the last epoch.
"""

import hashlib
import json
import math
from collections.abc import Callable
from datetime import date
from pathlib import Path

import msgspec
import torch
from msgspec import Struct
from safetensors.torch import load, save
from torch import Tensor, nn
from torch.nn import functional

from models import zoo
from models.data import Split, Splits
from models.distill_options import Options, rate_at
from models.losses import LABEL_NONE
from models.recipes import RECIPES

CROP = 4  # pixels of padding of `crop`
EVAL_BATCH = 500


class Epoch(Struct, frozen=True):
    """One line of the curve."""

    number: int
    loss: float
    val_accuracy: float
    rate: float


OnEpoch = Callable[[Epoch], None]


class Pixels:
    """A split on the device, and its views: what augmentation may make of an image."""

    def __init__(self, split: Split, splits: Splits, augment: str, device: torch.device) -> None:
        images = torch.from_numpy(split.images)
        self.images = (images[:, None] if images.dim() == 3 else images).to(device)
        self.labels = torch.from_numpy(split.labels).to(device)
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
        if self.augment in ("flip", "crop"):
            x = torch.where((view % 2 == 1)[:, None, None, None], x.flip(3), x)
        if self.augment == "shift":
            return _moved(x, view // 3, view % 3, 1)
        if self.augment == "crop":
            place = view // 2
            return _moved(x, place // (2 * CROP + 1), place % (2 * CROP + 1), CROP)
        return x


def _moved(x: Tensor, down: Tensor, right: Tensor, most: int) -> Tensor:
    """Cuts each image out of its padded self at (down, right); what comes in is empty."""
    height, width = x.shape[-2:]
    padded = functional.pad(x, (most, most, most, most))
    rows = down[:, None] + torch.arange(height, device=x.device)
    columns = right[:, None] + torch.arange(width, device=x.device)
    each = torch.arange(len(x), device=x.device)[:, None, None, None]
    channels = torch.arange(x.shape[1], device=x.device)[None, :, None, None]
    moved: Tensor = padded[each, channels, rows[:, None, :, None], columns[:, None, None, :]]
    return moved


def train(
    student: nn.Module,
    splits: Splits,
    recipe: str,
    options: Options,
    teacher: nn.Module | None = None,
    on_epoch: OnEpoch = lambda epoch: None,
    checkpoint: Path | None = None,
    device: str = "cpu",
) -> nn.Module:
    """Trains `student` in place and returns it in evaluation mode.

    With `checkpoint` every epoch is saved there, and a run that finds one of the same options goes
    on from it. ValueError where the recipe needs a teacher and there is none.
    """
    lesson = RECIPES[recipe]
    if lesson.needs_teacher and teacher is None:
        raise ValueError(f"the recipe '{recipe}' needs a teacher")
    if device == "cpu":
        torch.set_num_threads(1)
    place = torch.device(device)
    student.to(place)
    pixels = Pixels(splits.train, splits, options.augment, place)
    val = Pixels(splits.val, splits, "none", place)
    labels = pixels.labels
    if options.labelled is not None:
        kept = torch.arange(len(labels), device=place) < options.labelled
        labels = torch.where(kept, labels, torch.full_like(labels, LABEL_NONE))
    usable = len(labels) if lesson.needs_teacher or options.labelled is None else options.labelled
    answers = _answers(teacher, pixels, place) if lesson.needs_teacher and teacher else None
    generator = torch.Generator().manual_seed(options.seed)
    optimiser = torch.optim.SGD(
        student.parameters(),
        lr=options.rate,
        momentum=options.momentum,
        nesterov=options.momentum > 0.0,
        weight_decay=options.weight_decay,
    )
    steps_each = math.ceil(usable / options.batch)
    steps = steps_each * options.epochs
    begun = _resume(checkpoint, student, optimiser, generator, options, recipe)
    for number in range(begun + 1, options.epochs + 1):
        student.train()
        total = torch.zeros((), device=place)
        order = torch.randperm(usable, generator=generator)
        for batch, picked in enumerate(torch.split(order, options.batch)):
            step = (number - 1) * steps_each + batch
            for group in optimiser.param_groups:
                group["lr"] = rate_at(options, step / steps)
            chosen = picked.to(place)
            view = torch.randint(pixels.views, (len(picked),), generator=generator).to(place)
            x = pixels.take(chosen, view)
            with torch.autocast(place.type, enabled=place.type == "cuda"):
                z = student(x)
            z_teacher = None if answers is None else answers(chosen, view, x)
            loss = lesson.loss(z.float(), z_teacher, labels[chosen], step / steps)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]  # torch has no types here
            optimiser.step()
            total += loss.detach() * len(picked)
        rate = rate_at(options, (step + 1) / steps)
        on_epoch(Epoch(number, float(total) / usable, accuracy(student, val), rate))
        _save(checkpoint, student, optimiser, generator, options, recipe, number)
    return student.eval()


Answers = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Maps (image numbers, views, the images so viewed) to the teacher's logits."""


def _answers(teacher: nn.Module, pixels: Pixels, device: torch.device) -> Answers:
    """Answers from a cache where views are few, so that a student costs no teacher per epoch."""
    teacher.to(device).eval()
    if pixels.views > 9:

        def ask(chosen: Tensor, view: Tensor, x: Tensor) -> Tensor:
            with torch.no_grad():
                answered: Tensor = teacher(x).float()
            return answered

        return ask
    every = torch.arange(len(pixels), device=device)
    with torch.inference_mode():
        cached = torch.stack(
            [
                torch.cat(
                    [
                        teacher(pixels.take(part, torch.full_like(part, view))).float()
                        for part in torch.split(every, EVAL_BATCH)
                    ]
                )
                for view in range(pixels.views)
            ]
        )
    logits = cached.clone()  # out of inference mode

    def look_up(chosen: Tensor, view: Tensor, x: Tensor) -> Tensor:
        found: Tensor = logits[view, chosen]
        return found

    return look_up


def accuracy(network: nn.Module, pixels: Pixels) -> float:
    """Returns the share of a split that is classified right, unaugmented."""
    network.eval()
    right = 0
    every = torch.arange(len(pixels), device=pixels.labels.device)
    with torch.inference_mode():
        for part in torch.split(every, EVAL_BATCH):
            z = network(pixels.take(part, torch.zeros_like(part)))
            right += int((z.argmax(dim=1) == pixels.labels[part]).sum())
    return right / len(pixels)


def accuracy_of(network: nn.Module, split: Split, splits: Splits) -> float:
    device = next(network.parameters()).device
    return accuracy(network, Pixels(split, splits, "none", device))


def ship(
    folder: Path,
    student: nn.Module,
    splits: Splits,
    options: Options,
    *,
    architecture: str,
    dataset: str,
    recipe: str,
    teacher: str,
    command: str,
) -> zoo.Manifest:
    """Writes a network's folder: weights, and a manifest that says where they come from."""
    folder.mkdir(parents=True, exist_ok=True)
    state = {key: value.cpu().contiguous() for key, value in student.state_dict().items()}
    packed = save(state)
    (folder / "weights.safetensors").write_bytes(packed)
    made = zoo.Manifest(
        name=folder.name,
        architecture=architecture,
        dataset=dataset,
        classes=splits.classes,
        recipe=recipe,
        teacher=teacher,
        command=command,
        seed=options.seed,
        epochs=options.epochs,
        parameters=sum(p.numel() for p in student.parameters()),
        val_accuracy=accuracy_of(student, splits.val, splits),
        test_accuracy=accuracy_of(student, splits.test, splits),
        test_images=len(splits.test.labels),
        torch=str(torch.__version__),
        created=date.today().isoformat(),
        sha256=hashlib.sha256(packed).hexdigest(),
    )
    (folder / "manifest.json").write_text(json.dumps(msgspec.to_builtins(made), indent=1) + "\n")
    return made


# Checkpoints: tensors as safetensors, the rest as JSON


def _save(
    path: Path | None,
    student: nn.Module,
    optimiser: torch.optim.SGD,
    generator: torch.Generator,
    options: Options,
    recipe: str,
    epoch: int,
) -> None:
    if path is None:
        return
    tensors = {f"model/{key}": value for key, value in student.state_dict().items()}
    for number, parameter in enumerate(student.parameters()):
        if (momentum := optimiser.state[parameter].get("momentum_buffer")) is not None:
            tensors[f"momentum/{number}"] = momentum
    tensors["generator"] = generator.get_state()
    told = {"options": msgspec.to_builtins(options), "recipe": recipe, "epoch": epoch}
    packed = save(
        {k: v.contiguous() for k, v in tensors.items()}, metadata={"run": json.dumps(told)}
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".new")
    fresh.write_bytes(packed)
    fresh.replace(path)  # at once: a run that is killed leaves the old one or the new one


def _resume(
    path: Path | None,
    student: nn.Module,
    optimiser: torch.optim.SGD,
    generator: torch.Generator,
    options: Options,
    recipe: str,
) -> int:
    """Restores a checkpoint of the same options; returns the epochs it had done, 0 without one."""
    if path is None or not path.exists():
        return 0
    packed = path.read_bytes()
    told = json.loads(
        json.loads(packed[8 : 8 + int.from_bytes(packed[:8], "little")])["__metadata__"]["run"]
    )
    if told["options"] != json.loads(msgspec.json.encode(options)) or told["recipe"] != recipe:
        raise zoo.ModelError(f"{path} is of a run with other options; remove it to begin anew")
    tensors = load(packed)
    state = {k.removeprefix("model/"): v for k, v in tensors.items() if k.startswith("model/")}
    student.load_state_dict(state)
    for number, parameter in enumerate(student.parameters()):
        if f"momentum/{number}" in tensors:
            momentum = tensors[f"momentum/{number}"].to(parameter.device)
            optimiser.state[parameter]["momentum_buffer"] = momentum
    generator.set_state(tensors["generator"].cpu())
    return int(told["epoch"])


def fresh(architecture: str, classes: int, seed: int) -> nn.Module:
    """Returns an untrained network whose weights are a function of the seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return zoo.build(architecture, classes)
