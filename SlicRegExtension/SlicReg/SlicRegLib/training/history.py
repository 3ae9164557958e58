"""The learning curve."""

from __future__ import annotations

import csv
from dataclasses import dataclass, field
from pathlib import Path

from ..images.files import atomic


@dataclass
class History:
    """The learning curve: rows of (iteration, seconds, training loss, validation loss, validation accuracy)."""

    rows: list[tuple] = field(default_factory=list)
    waiting_share: float = 0.0  # of the time, spent without a batch to learn from
    COLUMNS = ("iteration", "seconds", "training_loss", "validation_loss", "validation_accuracy")

    def save_table(self, path: Path) -> None:
        with atomic(path) as part, open(part, "w", newline="") as file:
            csv.writer(file).writerows([self.COLUMNS, *self.rows])

    def save(self, path: Path) -> None:
        """Write ``path``.csv and a picture ``path``.png."""
        self.save_table(Path(f"{path}.csv"))
        import matplotlib

        matplotlib.use("Agg")
        import matplotlib.pyplot as plt

        iteration, _, training, validation, accuracy = zip(*self.rows)
        figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
        axes.plot(iteration, training, label="training")
        axes.plot(iteration, validation, label="validation, background left out")
        axes.set(
            xlabel="iteration", ylabel="cross entropy", title=f"validation accuracy {accuracy[-1]:.1%} of 128 classes"
        )
        axes.legend()
        with atomic(Path(f"{path}.png")) as part:
            figure.savefig(part, dpi=110, format="png")
        plt.close(figure)
