"""Steps of a generator and its judges: GAN, conditional GAN and CycleGAN, inside the one training loop."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import torch
from torch import nn

from MRHarmonizationLib.core.errors import ParameterError
from MRHarmonizationLib.models import build_model
from MRHarmonizationLib.models.cyclegan_pair import CycleGANPair
from MRHarmonizationLib.training.adversarial_losses import cycle_loss, identity_loss, judge_loss, verdict_loss
from MRHarmonizationLib.training.loop import TrainingState, learning_rate, loss_of, update_average
from MRHarmonizationLib.training.optimiser import build_optimiser
from MRHarmonizationLib.training.patches import draw_batch
from MRHarmonizationLib.training.recipe import CYCLE, Adversary, Recipe
from MRHarmonizationLib.training.restore_samples import RestoreSample
from MRHarmonizationLib.training.samples import Sample

#: Fields that judges are given: planes of the high field, and in a cycle of the low field too.
HIGH, LOW = "high", "low"
#: Weight of the latest step in the running mean of the judges' loss.
LATEST = 0.02


@dataclass
class AdversarialState(TrainingState):
    """A training state with judges.

    The generator moves first, with the judges as they are; then the judges, on the same planes. Generators run in
    bfloat16, judges in float32: they are small, and their instance normalisation wants the precision.

    Attributes
    ----------
    judges : ModuleDict
        Discriminators by the field they judge.
    judge_optimiser : Optimizer or None
    pools : dict of str to list of Tensor
        Made planes (1, H, W) kept for later, by field (cycle).
    judge_loss : float
        Running mean.
    """

    judges: nn.ModuleDict = field(default_factory=nn.ModuleDict)
    judge_optimiser: torch.optim.Optimizer | None = None
    pools: dict[str, list[torch.Tensor]] = field(default_factory=dict)
    judge_loss: float = 0.0

    @staticmethod
    def judges_of(recipe: Recipe, device: torch.device) -> dict[str, Any]:
        """Return the untrained judges of a recipe and their optimiser, as keyword arguments of this class.

        Raises
        ------
        ParameterError
            The patches are too small to be judged.
        """
        adversary, o = cast(Adversary, recipe.adversary), recipe.optimisation
        channels = 2 if adversary.mode == "cgan" else 1
        names = (HIGH, LOW) if adversary.mode == CYCLE else (HIGH,)
        parameters = {**adversary.discriminator, "in_channels": channels}
        judges = nn.ModuleDict({name: build_model("patch_discriminator", parameters) for name in names}).to(device)
        smallest = int(judges[HIGH].smallest)  # type: ignore[arg-type]
        if o.patch < smallest:
            raise ParameterError(
                f"patches of {o.patch} pixels are smaller than the {smallest} a judge of {parameters} needs",
                "use larger patches or fewer layers",
            )
        optimiser = build_optimiser("adam", judges, adversary.learning_rate, 0.0)
        return {"judges": judges, "judge_optimiser": optimiser, "pools": {name: [] for name in names}}

    def values(self) -> dict[str, Any]:
        """Return all that a run needs to go on as if it had never stopped."""
        assert self.judge_optimiser is not None
        return {
            **super().values(),
            "judges": self.judges.state_dict(),
            "judge_optimiser": self.judge_optimiser.state_dict(),
            "judge_loss": self.judge_loss,
            "pools": {name: torch.stack(pool) for name, pool in self.pools.items() if pool},
        }

    def restore(self, values: dict[str, Any]) -> None:
        """Take over what :meth:`values` returned."""
        super().restore(values)
        assert self.judge_optimiser is not None
        self.judges.load_state_dict(values["judges"])
        self.judge_optimiser.load_state_dict(values["judge_optimiser"])
        self.judge_loss = float(values["judge_loss"])
        for name, planes in values["pools"].items():
            self.pools[name] = list(planes)

    def judged(self) -> dict[str, float]:
        """Return the running mean of the judges' loss for the log."""
        return {"judge_loss": round(self.judge_loss, 5)}

    def advance(
        self, rng: np.random.Generator, buffer: deque[Sample | RestoreSample], recipe: Recipe, device: torch.device
    ) -> float:
        """Draw a batch, move the generator, then the judges; return the generator's loss."""
        adversary = cast(Adversary, recipe.adversary)
        batch = draw_batch(rng, buffer, recipe)
        inputs, target, weight = (torch.from_numpy(np.ascontiguousarray(part)).to(device) for part in batch)
        if adversary.mode == CYCLE:  # planes of the other field come from elsewhere: there are no pairs
            target = torch.from_numpy(np.ascontiguousarray(draw_batch(rng, buffer, recipe)[1])).to(device)
        inputs = inputs.contiguous(memory_format=torch.channels_last)
        rate = learning_rate(self.step, recipe)
        self._set_rate(self.optimiser, rate)
        self._set_rate(self.judge_optimiser, rate / recipe.optimisation.learning_rate * adversary.learning_rate)
        self.judges.requires_grad_(False)
        if adversary.mode == CYCLE:
            loss, shown = self._move_pair(inputs, target, recipe)
            shown = {
                name: (real, self._from_pool(name, made, rng, adversary.pool)) for name, (real, made) in shown.items()
            }
        else:
            loss, shown = self._move_generator(inputs, target, weight, recipe)
        self.judges.requires_grad_(True)
        if self.step >= adversary.start_step:
            self._move_judges(shown, adversary.loss)
        self.step += 1
        update_average(self.average, self.network, recipe.optimisation.ema_decay, self.step)
        return loss

    def _move_generator(
        self, inputs: torch.Tensor, target: torch.Tensor, weight: torch.Tensor, recipe: Recipe
    ) -> tuple[float, dict[str, tuple[torch.Tensor, torch.Tensor]]]:
        """Do a generator's step; return its loss and what the judge is to be shown, (real, made)."""
        adversary = cast(Adversary, recipe.adversary)
        centre = inputs[:, recipe.planes // 2 : recipe.planes // 2 + 1]
        made = centre

        def seen(plane: torch.Tensor) -> torch.Tensor:
            return torch.cat([centre, plane], dim=1) if adversary.mode == "cgan" else plane

        def loss_with(precision: dict[str, Any]) -> torch.Tensor:
            nonlocal made
            with torch.autocast(inputs.device.type, torch.bfloat16, **precision):
                correction = self.network(inputs)
            made = centre + correction.float()
            loss = adversary.pixel_weight * loss_of(correction, inputs, target, weight, recipe)
            if self.step >= adversary.start_step:
                loss = loss + verdict_loss(self.judges[HIGH](seen(made)), True, adversary.loss)
            return loss / (adversary.pixel_weight + 1.0)

        loss = self._descend(loss_with, recipe)
        return loss, {HIGH: (seen(target), seen(made.detach()))}

    def _move_pair(
        self, inputs: torch.Tensor, high: torch.Tensor, recipe: Recipe
    ) -> tuple[float, dict[str, tuple[torch.Tensor, torch.Tensor]]]:
        """Do a step of both generators of a cycle; return the loss and what the judges are to be shown."""
        adversary, pair = cast(Adversary, recipe.adversary), cast(CycleGANPair, self.network)
        low, condition = inputs[:, :1], inputs[:, 1:]
        made = {HIGH: low, LOW: high}

        def correction(generator: nn.Module, plane: torch.Tensor) -> torch.Tensor:
            result: torch.Tensor = generator(torch.cat([plane, condition], dim=1)).float()
            return result

        def loss_with(precision: dict[str, Any]) -> torch.Tensor:
            with torch.autocast(inputs.device.type, torch.bfloat16, **precision):
                made[HIGH] = low + correction(pair.to_high, low)
                made[LOW] = high + correction(pair.to_low, high)
                back_low = made[HIGH] + correction(pair.to_low, made[HIGH])
                back_high = made[LOW] + correction(pair.to_high, made[LOW])
                untouched = [correction(pair.to_high, high), correction(pair.to_low, low)]
            loss = adversary.cycle_weight * (cycle_loss(back_low, low) + cycle_loss(back_high, high))
            loss = loss + adversary.identity_weight * sum(identity_loss(part) for part in untouched)
            if self.step >= adversary.start_step:
                loss = loss + sum(verdict_loss(self.judges[n](made[n]), True, adversary.loss) for n in (HIGH, LOW))
            return loss / (adversary.cycle_weight + 1.0)

        loss = self._descend(loss_with, recipe)
        return loss, {HIGH: (high, made[HIGH].detach()), LOW: (low, made[LOW].detach())}

    def _descend(self, loss_with: Callable[[dict[str, Any]], torch.Tensor], recipe: Recipe) -> float:
        """Do a step of the generator's optimiser, in full precision where the gradients of bfloat16 are not finite."""
        for precision in ({}, {"enabled": False}):
            loss = loss_with(precision)
            self.optimiser.zero_grad(set_to_none=True)
            loss.backward()
            norm = nn.utils.clip_grad_norm_(self.network.parameters(), recipe.optimisation.gradient_clip)
            if torch.isfinite(norm):
                break
        self.optimiser.step()
        return float(loss.detach())

    def _move_judges(self, shown: dict[str, tuple[torch.Tensor, torch.Tensor]], kind: str) -> None:
        """Do a step of the judges on (real, made) planes of each field."""
        assert self.judge_optimiser is not None
        losses = [
            judge_loss(self.judges[name](real), self.judges[name](made), kind) for name, (real, made) in shown.items()
        ]
        loss = torch.stack(losses).sum()
        self.judge_optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.judge_optimiser.step()
        value = float(loss.detach()) / len(losses)
        self.judge_loss = value if self.judge_loss == 0.0 else (1.0 - LATEST) * self.judge_loss + LATEST * value

    def _from_pool(self, name: str, made: torch.Tensor, rng: np.random.Generator, size: int) -> torch.Tensor:
        """Return made planes (N, 1, H, W), about half of them exchanged for older ones of the pool.

        Source: Shrivastava et al., CVPR 2017, doi 10.1109/CVPR.2017.241.
        """
        pool, shown = self.pools[name], []
        for plane in made:
            if len(pool) < size:
                pool.append(plane.clone())
            elif size and rng.random() < 0.5:
                place = int(rng.integers(size))
                plane, pool[place] = pool[place], plane.clone()
            shown.append(plane)
        return torch.stack(shown)

    @staticmethod
    def _set_rate(optimiser: torch.optim.Optimizer | None, rate: float) -> None:
        assert optimiser is not None
        for group in optimiser.param_groups:
            group["lr"] = rate
