"""MorphNet at run time: Gordon et al., "MorphNet: Fast & Simple Resource-Constrained Structure Learning" (2018).

RUN/checkpoint.pt    which run it is
RUN/metrics.jsonl    a line per epoch
RUN/fullest/         the training of the fullest network, with all that going on needs

The fullest network is trained with an L1 penalty on the scales of its batch norms, weighed by cost (3.3); then channels
of small scale go. What must be of one width is one group: its scale is the largest of those that its channel has.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from nasc.compiler import expr
from nasc.compiler.cost import cost_of, graph_formula
from nasc.compiler.fullest import fullest
from nasc.compiler.masked_member import Kept, keep, member_of
from nasc.compiler.masked_weights import gathered
from nasc.compiler.masks import MaskedNetwork, masked
from nasc.compiler.member import member_text
from nasc.compiler.methods.morphnet import MorphnetOptions
from nasc.compiler.network import network_of
from nasc.compiler.opened import open_file, space_of
from nasc.compiler.segments import Masked
from nasc.dsl.diagnostics import NascError
from nasc.runtime import checkpoint
from nasc.runtime.costs import UNITS
from nasc.runtime.data_loader import loader
from nasc.runtime.evaluate import evaluate
from nasc.runtime.masks import masking_modules
from nasc.runtime.masks_state import gathered_state
from nasc.runtime.member_model import module_of
from nasc.runtime.methods.trials import training_data, training_options
from nasc.runtime.metrics import append_metrics, read_metrics, rewind_metrics
from nasc.runtime.recalibrate import BATCHES, recalibrate
from nasc.runtime.run_identity import require_same_run, run_of
from nasc.runtime.search_context import Context, Outcome
from nasc.runtime.search_run import CHECKPOINT, KIND, METRICS, VERSION
from nasc.runtime.seeds import derive_seed
from nasc.runtime.train import TrainResult, train

FULLEST = "fullest"


def search(context: Context) -> Outcome:
    """Train, cut and take over. Raises `NascError` for a space of which there is no fullest network, for a loss that is
    not finite, and where the folder holds a run that was not asked to go on, or another one."""
    options: MorphnetOptions = context.options
    _require_plain(context)
    network = masked(fullest(context.source.space))
    _require_run(context)
    seed = derive_seed(options.seed, FULLEST)
    torch.manual_seed(seed)
    assert context.job.supernet is not None
    supernet = context.job.supernet().to(context.device)
    penalty = CostPenalty(network, supernet, options)
    data, folder = training_data(context), context.out / FULLEST
    trained = train(
        supernet, data, training_options(context, seed), folder, context.progress, resume=True, penalty=penalty
    )
    rewind_metrics(context.out / METRICS, 0)
    for record in read_metrics(folder / METRICS):
        append_metrics(context.out / METRICS, record)
    return _outcome(context, network, supernet, penalty, trained)


def _require_plain(context: Context) -> None:
    """Refuse what `nasc train` has not."""
    if context.ranks.world > 1:
        raise NascError(f"the method `{context.method.name}` runs in one process", help="start it without torchrun")
    settings = context.settings
    if settings.checkpoint_activations or settings.channels_last != "auto" or settings.accumulate > 1:
        raise NascError(
            f"the method `{context.method.name}` trains as `nasc train` does",
            help="leave --checkpoint-activations, --channels-last and --accumulate out",
        )


def _require_run(context: Context) -> None:
    path = context.out / CHECKPOINT
    run = run_of(context.identity, context.data.name, context.settings, context.options)
    if not path.exists():
        checkpoint.save(path, {"run": run}, KIND, VERSION)
    elif not context.settings.resume:
        raise NascError(f"{context.out} already holds a search", "continue it with --resume, or name another folder")
    else:
        require_same_run(path, checkpoint.load(path, KIND, VERSION), run)


# ------------------------------------------------------------------------------------------------ the penalty


@dataclass(frozen=True)
class _Scales:
    """Where a decision's channels have scales: in which batch norm, from which channel on."""

    norm: _BatchNorm
    start: int


class CostPenalty:
    """Lambda times what each channel costs times its scale, relative to the cost of the fullest network (3.3).

    What a channel costs is what there would be less without it, with as many of the others as are alive when an epoch
    begins: the paper takes those of each step. Decisions without a batch norm are let alone.
    """

    def __init__(self, network: MaskedNetwork, supernet: nn.Module, options: MorphnetOptions) -> None:
        self.options = options
        self.sizes = {name: each.widths[-1] for name, each in network.opens.items()}
        self.scales = _scales(network, supernet)
        self.formulas = [graph_formula(layer.layer.graph, options.cost) for layer in network.layers]
        self.whole = max(1, self._cost(self.formulas, self.sizes))
        self.epoch, self.rates = -1, dict[str, float]()

    def __call__(self, epoch: int) -> Tensor:
        if epoch != self.epoch:
            self.epoch, self.rates = epoch, self._rates()
        parts = [rate * self.scale(name).sum() for name, rate in self.rates.items()]
        return self.options.alpha[0] * torch.stack(parts).sum() if parts else torch.zeros(())

    def scale(self, name: str) -> Tensor:
        """The scale of each channel of a decision: the largest of those in its batch norms, as a magnitude."""
        size = self.sizes[name]
        each = [scales.norm.weight[scales.start : scales.start + size].abs() for scales in self.scales[name]]
        return torch.stack(each).amax(0)

    def alive(self, name: str) -> int:
        """How many of a decision's channels have a scale of the threshold or more; all where there are none."""
        if name not in self.scales:
            return self.sizes[name]
        return int((self.scale(name) >= self.options.threshold).sum())

    def _rates(self) -> dict[str, float]:
        """What one channel more or less of each decision costs, as a part of the fullest network's cost."""
        widths = {name: max(1, self.alive(name)) for name in self.sizes}
        found = {}
        for name in self.scales:
            formulas = [formula for formula in self.formulas if name in expr.variables(formula)]
            more, less = ({**widths, name: widths[name] + by} for by in (0, -1))
            if widths[name] == 1:
                more, less = {**widths, name: 2}, widths
            found[name] = (self._cost(formulas, more) - self._cost(formulas, less)) / self.whole
        return found

    def _cost(self, formulas: Sequence[expr.Size], widths: Mapping[str, int]) -> float:
        return sum(float(expr.evaluate(formula, widths)) for formula in formulas)


def _scales(network: MaskedNetwork, supernet: nn.Module) -> dict[str, list[_Scales]]:
    found: dict[str, list[_Scales]] = {}
    for module in masking_modules(supernet).values():
        start = 0
        for segment in network.masks[module.key]:
            if isinstance(module, _BatchNorm) and isinstance(segment, Masked):
                found.setdefault(segment.name, []).append(_Scales(module, start))
            start += segment.size
    return found


# ------------------------------------------------------------------------------------------------ what is left


def kept_of(network: MaskedNetwork, penalty: CostPenalty, options: MorphnetOptions) -> Kept:
    """The widths that are left, multiplied by `expand`; the channels of the largest scales are kept."""
    alive = {name: penalty.alive(name) for name in network.opens}
    wanted = {name: min(size, int(alive[name] * options.expand + 1e-9)) for name, size in penalty.sizes.items()}
    kept = keep(network, {name: [1.0] * n + [0.0] * (penalty.sizes[name] - n) for name, n in wanted.items()})
    ranked = {
        name: tuple(penalty.scale(name).argsort(descending=True, stable=True).tolist()) for name in penalty.scales
    }
    return Kept(kept.widths, {**kept.ranked, **ranked})


def _outcome(
    context: Context, network: MaskedNetwork, supernet: nn.Module, penalty: CostPenalty, trained: TrainResult
) -> Outcome:
    options, settings, source = context.options, context.settings, context.source
    kept = kept_of(network, penalty, options)
    member = member_of(network, kept)
    space = space_of(open_file("<found>", member_text(source.space, member, source.module)))
    found = network_of(space)
    module = module_of(found)
    state = gathered_state(supernet, gathered(network, kept, found))
    checkpoint.restore_weights(module, state, "the fullest network")
    data = training_data(context)
    images = loader(data.train, options.batch, True, options.seed, 0, drop_last=False, workers=settings.workers)
    recalibrate(module.to(context.device), images, context.device, settings.steps or BATCHES)
    scores = evaluate(module, data.val, options.batch, context.device, settings.workers)
    cost = float(getattr(cost_of(space), options.cost).min)
    return Outcome(
        member=member,
        cost=cost,
        unit=UNITS[options.cost],
        loss=scores.loss,
        cross_entropy=scores.loss,
        epochs=trained.epochs,
        seconds=trained.seconds,
        details={"lambda": options.alpha[0], "widths": dict(kept.widths)},
        state=lambda network: {name: tensor.cpu() for name, tensor in module.state_dict().items()},
    )
