"""Several processes at one job: the first leads, and the others do with it what gains by it.

The first traces, measures, plans, cuts and writes, as it does alone. Where gradients or statistics are
wanted, it calls the others, and tells them of the network and its weights; until then they wait, however
long.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from torch import Tensor, nn

from penjing import processes
from penjing.criteria import collect, score
from penjing.network import Network, trace
from penjing.network.seeding import seeded
from penjing.plan import Plan
from penjing.recover import RecoveryRecord, Situation, Step
from penjing.report import Report
from penjing.run.job import Job, Outcome
from penjing.run.session import stoppable
from penjing.surgery import Cut, cut

Call = Literal["score", "recover", "end"]


def worth(job: Job, net: Network, plan: Plan | None) -> dict[str, Tensor]:
    """What the units of a network are worth, by all processes together; called by the first one.

    Args:
        job: what is asked.
        net: the original, or what was cut from it.
        plan: by which it was cut; None for the original.
    """
    _call("score", net.model, plan)
    return _worth(job, net)


def recover(job: Job, step: Step, made: nn.Module, plan: Plan, situation: Situation) -> RecoveryRecord:
    """A step of recovery, by all processes where it is not one's alone; called by the first one.

    Args:
        job: what is asked.
        step: of the job or of its schedule.
        made: the cut network; changed in place, and alike in all processes when it is done.
        plan: by which it was cut.
        situation: of the step.
    """
    if not step.alone:
        number = next(number for number, own in enumerate(_steps(job)) if own is step)
        _call("recover", made, plan, step=number)
    return step.apply(made, situation)


def end(outcome: Outcome) -> Outcome:
    """Gives the others what the job came to, too; called by the first one."""
    report = outcome.report.to_json()
    _call("end", outcome.model, outcome.plan, report=report, folder=str(outcome.folder))
    return outcome


def follow(job: Job) -> Outcome:
    """Does what the first process calls for, until the job is done.

    Raises:
        PenjingError: PJ340, another process has failed; PJ341, one is lost; or what fails here.
        KeyboardInterrupt: this process or another one was stopped.
    """
    with stoppable():
        net = trace(job.model, job.example_inputs)
        last: tuple[Plan, Cut] | None = None
        while True:
            called: dict[str, Any] = processes.from_first({})
            if called["plan"] is None:
                with seeded(job.seed):
                    _worth(job, net)
                continue
            plan = Plan.model_validate(called["plan"])
            if last is None or last[0] != plan:
                last = plan, cut(net, plan)
            made = last[1]
            made.model.load_state_dict(called["weights"])
            if called["call"] == "end":
                report = Report.model_validate_json(called["report"])
                return Outcome(made.model, plan, report, made.proof, Path(called["folder"]))
            with seeded(job.seed):
                if called["call"] == "score":
                    _worth(job, trace(made.model, net.call))
                else:
                    situation = Situation(
                        job.model, job.data, job.loss, job.evaluate, job.seed, net=net, plan=plan
                    )
                    _steps(job)[called["step"]].apply(made.model, situation)


def _call(call: Call, model: nn.Module, plan: Plan | None, **what: Any) -> None:
    """Tells the others what to do, and with which network; None for the original."""
    if processes.world() > 1:
        weights = None if plan is None else model.state_dict()
        told = None if plan is None else plan.model_dump(mode="json")
        processes.from_first({"call": call, "plan": told, "weights": weights, **what})


def _steps(job: Job) -> tuple[Step, ...]:
    """All that the job may apply."""
    return (*job.recover, *((job.schedule.steps or ()) if job.schedule else ()))


def _worth(job: Job, net: Network) -> dict[str, Tensor]:
    statistics = collect(net, job.criterion.record.needs, data=job.data, loss=job.loss)
    return score(net, job.criterion, statistics, aggregate=job.aggregate, normalise=job.normalise)
