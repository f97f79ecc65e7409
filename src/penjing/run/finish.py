"""The end of a run: the files that are its result, and the manifest as the very last."""

from __future__ import annotations

from dataclasses import replace

from penjing.devices import Measuring
from penjing.devices.size import weights_beside
from penjing.devices.slower import check_operators, said
from penjing.report import Report
from penjing.run.events import EVENTS
from penjing.run.files import write_model
from penjing.run.result import Ingredients, report_of
from penjing.run.sealed import file_hash, synchronise, take, write_manifest
from penjing.run.session import Session


def finish(made: Ingredients, session: Session) -> Report:
    """Writes the files of a finished run, its manifest, and removes what it was worked out from.

    They are prepared beside, and put in their places one by one: a stop in the middle leaves a run without a
    manifest, whose steps are all there, and from which they are written again.

    Raises:
        PenjingError: as `write_model`.
        OSError: there is no room, for instance.
    """
    journal, log = session.journal, session.log
    draft = journal.work / "result"
    draft.mkdir()
    notes = write_model(made.job, made.bench.net, made.found, draft)
    for artifact in (made.bench.original, made.artifact):
        for file in (artifact.path, weights_beside(artifact.path)):
            if file.is_file():
                take(file, draft / file.name)
    notes += _operators(made)
    report = report_of(replace(made, notes=[*made.notes, *notes], seconds=log.seconds))
    (draft / "report.json").write_text(report.to_json(), encoding="utf-8")
    names = sorted(file.name for file in draft.iterdir())
    for name in names:
        if journal.durable:
            synchronise(draft / name)
        (draft / name).replace(journal.folder / name)
    log.event("finished", **report.after.model_dump(mode="json", exclude_none=True))
    log.close()  # whatever it has to say stands in the log before that is hashed
    if journal.durable:
        synchronise(journal.folder / EVENTS)
    files = {name: file_hash(journal.folder / name) for name in sorted({*names, EVENTS})}
    write_manifest(journal.folder, files, durable=journal.durable, job=session.identity)
    journal.close()
    return report


def _operators(made: Ingredients) -> list[str]:
    """Whether an operator takes longer than in the original, where the device tells their times."""
    device, original = made.bench.device, made.bench.original
    plan = made.found.plan
    if not isinstance(device, Measuring) or not plan.counts() or plan.dropped:
        return []  # without a branch, the exporter gives the same names to other operators
    check = check_operators(device, original.path, made.artifact.path, made.bench.net.call)
    return [] if check is None else [said(check)]
