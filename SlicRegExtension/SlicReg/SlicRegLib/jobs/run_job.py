"""A training job from its first to its last second, with the way it ended in its state and log."""

from __future__ import annotations

import traceback
from pathlib import Path

from ..errors import UserError, one_sentence
from ..progress import Progress
from ..stages import LEARN
from .options import JobOptions
from .recorder import Recorder


def run_job(folder: Path, options: JobOptions, progress: Progress) -> Path:
    """Run `learn.learn`; returns the model's path. Only for the folder's owner (`claim_folder`).

    The training's modules are imported inside: what goes wrong there, or while that takes its seconds, is recorded too.
    """
    recorder = Recorder(folder, LEARN, progress)
    try:
        from .learn import learn

        model = learn(folder, options, recorder)
    except (UserError, OSError) as error:
        recorder.end("failed", one_sentence(error))
        raise
    except KeyboardInterrupt:
        recorder.end("stopped")
        raise
    except BaseException as error:
        recorder.log(traceback.format_exc())
        recorder.end("failed", f"An unexpected {type(error).__name__}; see {folder / 'job.log'}.")
        raise
    recorder.end("finished")
    return model
