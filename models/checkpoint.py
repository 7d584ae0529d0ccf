"""Checkpoints of a training run: tensors as safetensors, the rest as JSON in their header."""

import json
from pathlib import Path

import msgspec
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import nn

from models import zoo
from models.distill_options import Options
from models.files import write_whole


def save_run(
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
    reported = {"options": msgspec.to_builtins(options), "recipe": recipe, "epoch": epoch}
    packed = save(
        {k: v.contiguous() for k, v in tensors.items()}, metadata={"run": json.dumps(reported)}
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, packed)  # a run that is killed leaves the old one or the new one


def resume(
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
    try:
        header = json.loads(packed[8 : 8 + int.from_bytes(packed[:8], "little")])
        reported = json.loads(header["__metadata__"]["run"])
        tensors = load(packed)
    except (ValueError, KeyError, TypeError, SafetensorError) as error:
        raise zoo.ModelError(
            f"{path} is damaged or no checkpoint ({error}); remove it to begin anew"
        ) from error
    if (
        reported["options"] != json.loads(msgspec.json.encode(options))
        or reported["recipe"] != recipe
    ):
        raise zoo.ModelError(f"{path} is of a run with other options; remove it to begin anew")
    state = {k.removeprefix("model/"): v for k, v in tensors.items() if k.startswith("model/")}
    student.load_state_dict(state)
    for number, parameter in enumerate(student.parameters()):
        if f"momentum/{number}" in tensors:
            momentum = tensors[f"momentum/{number}"].to(parameter.device)
            optimiser.state[parameter]["momentum_buffer"] = momentum
    generator.set_state(tensors["generator"].cpu())
    return int(reported["epoch"])
