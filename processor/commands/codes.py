"""`processor codes`: the catalogue, as a table or as JSON."""

from __future__ import annotations

import json

from processor.core.codes import CATALOGUE


def show_codes(*, as_json: bool) -> int:
    """The 30 codes: number, category, stage, whether final, text."""
    rows = [
        {
            "code": code.number,
            "category": code.category.value,
            "stage": code.stage.name,
            "final": code.final,
            "text": code.text,
        }
        for code in CATALOGUE
    ]
    if as_json:
        print(json.dumps(rows, indent=2))
        return 0
    for row in rows:
        final = "final" if row["final"] else ""
        print(
            f"{row['code']}  {row['category']:<10}  {row['stage']:<11}  {final:<5}  {row['text']}"
        )
    return 0
