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
from safetensors.torch import save
from torch import nn

from models import scores, zoo
from models.answers import Watch, answers, shared_sizes
from models.checkpoint import Checkpoint
from models.distill_options import Options, rate_at
from models.files import write_whole
from models.losses import LABEL_NONE
from models.recipes import RECIPES
from models.splits import Split, Splits
from models.views import Pixels
from models.zoo import ModelError


class Epoch(Struct, frozen=True):
    """One line of the curve."""

    number: int
    loss: float
    val_accuracy: float
    rate: float


OnEpoch = Callable[[Epoch], None]


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
    on from it. ValueError where the recipe needs a teacher and there is none; ModelError where a
    network does not suit the data, or there is no such device.
    """
    lesson = RECIPES[recipe]
    if lesson.needs_teacher and teacher is None:
        raise ValueError(f"the recipe '{recipe}' needs a teacher")
    if device == "cpu":
        torch.set_num_threads(1)
    place = place_of(device)
    student.to(place)
    pixels = Pixels(splits.train, splits, options.augment, place)
    require_fit(student, pixels, splits, "the student")
    val = Pixels(splits.val, splits, "none", place)
    usable = len(pixels)
    if options.labelled is not None and not lesson.needs_teacher:
        usable = options.labelled
    watch, ask = Watch(student), None
    if teacher is not None and lesson.needs_teacher:
        require_fit(teacher.to(place), pixels, splits, "the teacher")
        master = Watch(teacher.eval())
        if lesson.attention:
            sizes = shared_sizes(watch, master, pixels)
            watch.note(sizes)
            master.note(sizes)
        ask = answers(master, pixels)
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
    kept = Checkpoint(checkpoint, student, optimiser, generator, options, recipe)
    for number in range(kept.resume() + 1, options.epochs + 1):
        student.train()
        total = torch.zeros((), device=place)
        order = torch.randperm(usable, generator=generator)
        for batch, picked in enumerate(torch.split(order, options.batch)):
            step = (number - 1) * steps_each + batch
            for group in optimiser.param_groups:
                group["lr"] = rate_at(options, step / steps)
            chosen = picked.to(place)
            view = torch.randint(pixels.views, (len(picked),), generator=generator).to(place)
            x, labels = pixels.take(chosen, view), pixels.labels_of(chosen, view)
            if options.labelled is not None:
                labels[chosen >= options.labelled] = LABEL_NONE
            z, *own = watch(x)
            z_teacher, *masters = (None,) if ask is None else ask(chosen, view, x)
            energies = list(zip(own, masters, strict=True))
            done = step / steps
            loss = lesson.loss(z, z_teacher, labels, done, splits.ignored, energies)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]  # torch has no types here
            optimiser.step()
            total += loss.detach() * len(picked)
        rate = rate_at(options, (step + 1) / steps)
        on_epoch(Epoch(number, float(total) / usable, accuracy(student, val), rate))
        kept.save(number)
    return student.eval()


def place_of(device: str) -> torch.device:
    """Returns where torch is to compute; ModelError if it cannot there."""
    try:
        place = torch.device(device)
        torch.zeros(1, device=place)
    except (RuntimeError, AssertionError) as error:
        raise ModelError(
            f"torch cannot compute on '{device}' ({str(error).splitlines()[0]}); "
            "use --device cpu, or cuda where there is one"
        ) from error
    return place


def require_fit(network: nn.Module, pixels: Pixels, splits: Splits, what: str) -> None:
    """Raises ModelError unless a network takes these images and gives a logit for each class."""
    first = torch.zeros(1, dtype=torch.int64, device=pixels.labels.device)
    image = pixels.take(first, first)
    was_training = network.training
    try:
        with torch.no_grad():
            found = tuple(network.eval()(image).shape)
    except RuntimeError as error:
        size = " x ".join(str(n) for n in image.shape[1:])
        raise ModelError(
            f"{what} does not take the images of this data set, {size} "
            f"({str(error).splitlines()[0]}); choose one that was made for them"
        ) from error
    finally:
        network.train(was_training)
    if found[:2] != (1, splits.classes) or (len(found) == 4) != pixels.are_maps:
        of = "each pixel" if len(found) == 4 else "an image"
        wanted = "each pixel" if pixels.are_maps else "an image"
        raise ModelError(
            f"{what} tells {found[1]} classes of {of}, the data set has {splits.classes} of "
            f"{wanted}; choose one that was made for it"
        )


def accuracy(network: nn.Module, pixels: Pixels) -> float:
    """Returns the share of a split that is classified right, or the mean IoU of its pixels."""
    network.eval()
    every = torch.arange(len(pixels), device=pixels.labels.device)
    found = []
    with torch.inference_mode():
        for part in torch.split(every, pixels.eval_batch):
            z = network(pixels.take(part, torch.zeros_like(part)))
            found.append((z.argmax(dim=1), z.shape[1]))
    answered = torch.cat([labels for labels, _ in found]).cpu().numpy()
    return scores.score(answered, pixels.labels.cpu().numpy(), found[0][1], pixels.ignored)


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
    write_whole(folder / "weights.safetensors", packed)
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
        measure="top-1" if splits.ignored is None else "mIoU",
        right_share=splits.right_share,
    )
    write_whole(folder / "manifest.json", json.dumps(msgspec.to_builtins(made), indent=1) + "\n")
    return made


def fresh(architecture: str, classes: int, seed: int) -> nn.Module:
    """Returns an untrained network whose weights are a function of the seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return zoo.build(architecture, classes)
