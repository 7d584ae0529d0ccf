"""Checkpoints of a training run: tensors as safetensors, the rest as JSON in their header."""

import json
from pathlib import Path

import msgspec
import torch
from msgspec import Struct
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import nn

from models import zoo
from models.distill_options import Options
from models.files import write_whole


class Checkpoint(Struct, frozen=True):
    """All that a training run goes on from, at `path`; without one nothing is kept."""

    path: Path | None
    student: nn.Module
    optimiser: torch.optim.SGD
    generator: torch.Generator
    options: Options
    recipe: str

    def save(self, epoch: int) -> None:
        if self.path is None:
            return
        tensors = {f"model/{key}": value for key, value in self.student.state_dict().items()}
        for number, parameter in enumerate(self.student.parameters()):
            momentum = self.optimiser.state[parameter].get("momentum_buffer")
            if momentum is not None:
                tensors[f"momentum/{number}"] = momentum
        tensors["generator"] = self.generator.get_state()
        reported = {"options": self._options, "recipe": self.recipe, "epoch": epoch}
        packed = save(
            {k: v.contiguous() for k, v in tensors.items()}, metadata={"run": json.dumps(reported)}
        )
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(self.path, packed)  # a run that is killed leaves the old one or the new one

    def resume(self) -> int:
        """Restores what was kept of the same options; returns the epochs done, 0 without one."""
        path = self.path
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
        if (reported["options"], reported["recipe"]) != (self._options, self.recipe):
            raise zoo.ModelError(f"{path} is of a run with other options; remove it to begin anew")
        state = {k.removeprefix("model/"): v for k, v in tensors.items() if k.startswith("model/")}
        self.student.load_state_dict(state)
        for number, parameter in enumerate(self.student.parameters()):
            if f"momentum/{number}" in tensors:
                momentum = tensors[f"momentum/{number}"].to(parameter.device)
                self.optimiser.state[parameter]["momentum_buffer"] = momentum
        self.generator.set_state(tensors["generator"].cpu())
        return int(reported["epoch"])

    @property
    def _options(self) -> object:
        """The options as JSON has them, which knows no tuples."""
        return json.loads(msgspec.json.encode(self.options))
