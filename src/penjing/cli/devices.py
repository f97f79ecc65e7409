"""`penjing devices` and `penjing criteria`: what there is."""

from __future__ import annotations

from typing import Any

from penjing.cli.output import Json, draw, print_record, table
from penjing.criteria import CRITERIA
from penjing.devices import describe


def devices(json: Json = False) -> None:
    """List the devices, what they say of a network, how they come to know, and which can be used here."""
    rows = describe()
    if json:
        print_record(rows)
        return
    lines = [
        [
            row["name"],
            row["quantity"],
            row["provenance"] + (f" ±{row['error']:.0%}" if row["error"] else ""),
            row["summary"],
            f"{row['runtime']} {row['hardware']}".strip() if row["usable"] else f"not here: {row['install']}",
        ]
        for row in rows
    ]
    draw(table(["device", "says", "how", "", "by"], lines, left=5))


def criteria(json: Json = False) -> None:
    """List the criteria, and what each needs."""
    rows = criteria_rows()
    if json:
        print_record(rows)
        return
    lines = [
        [row["name"], row["summary"], " and ".join(row["needs"]) or "nothing", row["source"]] for row in rows
    ]
    draw(table(["criterion", "worth of a unit", "needs", "source"], lines, left=4))


def criteria_rows() -> list[dict[str, Any]]:
    """One row per criterion; gradients come from data and a loss."""
    rows = []
    for name, make in CRITERIA.items():
        record = make().record
        needs = ["data", "loss"] if "gradients" in record.needs else []
        rows.append(
            {
                "name": name,
                "summary": record.summary,
                "scores": record.scores,
                "needs": needs,
                "normalise": record.normalise,
                "source": record.source,
            }
        )
    return rows
