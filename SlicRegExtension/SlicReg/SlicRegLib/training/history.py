"""The learning curve, as a table and as a picture."""

from __future__ import annotations

import csv
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from ..images.figures import save_figure
from ..images.files import atomic


@dataclass
class History:
    """The learning curve of a training."""

    rows: list[tuple[float, ...]] = field(default_factory=list)
    """One per validation, with the values of `COLUMNS`."""
    waiting_share: float = 0.0
    """Share of the time in which there was no batch to learn from, 0 to 1."""

    COLUMNS: ClassVar = ("iteration", "seconds", "training_loss", "validation_loss", "validation_accuracy")

    def save_table(self, path: Path) -> None:
        """Write the rows as CSV; atomic."""
        with atomic(path) as part, open(part, "w", newline="") as file:
            csv.writer(file).writerows([self.COLUMNS, *self.rows])

    def save(self, path: Path) -> None:
        """Write the table ``path``.csv and the picture ``path``.png."""
        from matplotlib.figure import Figure  # without pyplot, whose backend belongs to the user

        self.save_table(Path(f"{path}.csv"))
        iteration, _, training, validation, accuracy = zip(*self.rows, strict=True)
        figure = Figure(figsize=(7, 4), layout="constrained")
        axes = figure.add_subplot()
        axes.plot(iteration, training, label="training")
        axes.plot(iteration, validation, label="validation, without background")
        axes.set(
            xlabel="iteration", ylabel="cross entropy", title=f"validation accuracy {accuracy[-1]:.1%} of 128 classes"
        )
        axes.legend()
        save_figure(Path(f"{path}.png"), figure, 110)
