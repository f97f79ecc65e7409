"""`penjing devices` and `penjing criteria`: what there is."""

from __future__ import annotations

from typing import Any

from penjing.cli.output import Json, draw, print_record, table
from penjing.criteria import CRITERIA, takes_loss
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
    """List the criteria: what each scores, needs and costs."""
    rows = criteria_rows()
    if json:
        print_record(rows)
        return
    lines = [
        [row["name"], row["scores"], " and ".join(row["needs"]) or "nothing", row["cost"], row["source"]]
        for row in rows
    ]
    draw(table(["criterion", "scores", "needs", "cost", "source"], lines, left=5))


def criteria_rows() -> list[dict[str, Any]]:
    """One row per criterion; what it needs is data, a loss, both or nothing."""
    rows = []
    for name, make in CRITERIA.items():
        record = make().record
        needs = ["data"] if record.needs else []
        if any(takes_loss(need) for need in record.needs):
            needs.append("loss")
        rows.append(
            {
                "name": name,
                "summary": record.summary,
                "scores": record.scores,
                "needs": needs,
                "cost": record.cost,
                "normalise": record.normalise,
                "source": record.source,
            }
        )
    return rows
