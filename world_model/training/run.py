"""A training run: its steps one after the other, its state on disk, resumed where it ended."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from envs.config import dump_config
from world_model.finite import CollapsedError, DivergedError, check_measured, not_finite, some, tensors_in
from world_model.training.loop import CONFIG_FILE, STATE_FILE, Report, interruptible
from world_model.training.processes import Processes
from world_model.training.run_config import RunConfig
from world_model.training.state import StateError, load_state, save_state

ALONE = Processes()
FORMAT = 1  # of a state


class Trainer(Protocol):
    """Something that learns in numbered steps, each fixed by the state before it and its number alone."""

    def step(self, step: int) -> dict[str, float]:
        """Takes step number `step` and returns what was measured.

        Raises:
            DivergedError: If a loss or a gradient is not finite; what `state_dict` returns is then as before the step.
        """
        ...

    def state_dict(self) -> dict[str, Any]:
        """Returns all that a resumed run needs."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores what `state_dict` returned."""
        ...


def run_steps(
    trainer: Trainer,
    config: RunConfig,
    session_fields: Collection[str],
    fingerprint: str,
    report: Report,
    processes: Processes = ALONE,
    finished: Callable[[], bool] = lambda: False,
) -> bool:
    """Takes all steps from the saved state on, and returns whether the run is finished; False if it was interrupted.

    The run directory gets the resolved configuration and, every `save_every` steps and when interrupted, the state.

    Args:
        trainer: What learns.
        config: Of the run.
        session_fields: Its entries that may differ between the sessions of one run.
        fingerprint: Of the data; a state made from other data is refused.
        report: Gets every step's measurements, in the main process.
        processes: All those that take the steps together; the main one writes.
        finished: Whether the run may end before its last step; asked after each, with the same answer in all processes.

    Raises:
        StateError: If the output directory holds the state of another run, or only damaged ones.
        DivergedError: At the first number that is not finite, in all processes; the state is of the last good step.
    """
    path = config.output / STATE_FILE
    settings = {name: value for name, value in dump_config(config).items() if name not in session_fields}
    identity = {"config": settings, "fingerprint": fingerprint}
    done, ending = _resume(trainer, path, identity), False
    states = _States(trainer, path, identity, processes, done)
    processes.wait()  # nobody writes while others read
    if processes.main:
        config.output.mkdir(parents=True, exist_ok=True)
        dump_config(config, config.output / CONFIG_FILE)
    with interruptible() as stop:
        while done < config.steps and not finished():
            if ending:
                return False
            measured = _take_step(trainer, done, config, states)
            if processes.main:
                report(done, measured)
            done, ending = done + 1, processes.any(stop.is_set())
            if done % config.save_every == 0 or done == config.steps or ending or finished():
                try:
                    states.save(done)
                except DivergedError as error:
                    raise _stopped(done - 1, str(error), config, states) from error
    return True


@dataclass
class _States:
    """Keeps the states of a run on disk; all processes call it.

    Attributes:
        done: Steps that were taken by the last one; 0 where there is none.
    """

    trainer: Trainer
    path: Path
    identity: Mapping[str, Any]
    processes: Processes
    done: int

    def save(self, done: int) -> None:
        """Writes the state after so many steps.

        Raises:
            DivergedError: If it has weights that are not finite; the one before it stays.
        """
        parts = self.trainer.state_dict()
        broken = not_finite(dict(tensors_in(parts))) if self.processes.main else []
        if self.processes.any(bool(broken)):
            raise DivergedError(f"the weights after it are not finite ({some(broken)})")
        if self.processes.main:
            save_state(self.path, {"format": FORMAT, "step": done, "trainer": parts, **self.identity})
        self.done = done


def _take_step(trainer: Trainer, step: int, config: RunConfig, states: _States) -> dict[str, float]:
    """Returns what was measured; DivergedError says of a step that went wrong what to do, the last good state kept."""
    try:
        measured = trainer.step(step)
    except CollapsedError as error:  # the step is taken already, and not worth keeping
        raise _stopped(step, str(error), config, states) from error
    except DivergedError as error:
        with suppress(DivergedError):  # its weights are not finite either: an earlier state stays
            if step != states.done:
                states.save(step)
        states.processes.wait()  # a process that leaves takes the others with it
        raise _stopped(step, str(error), config, states) from error
    try:
        check_measured(measured)  # held-out errors: what was learnt in this step is not kept
    except DivergedError as error:
        raise _stopped(step, str(error), config, states) from error
    return measured


def _stopped(step: int, why: str, config: RunConfig, states: _States) -> DivergedError:
    """Returns the error that a run ends with."""
    kept = f"{states.path} is as after step {states.done}" if states.done else "no state was kept"
    return DivergedError(
        f"training stopped at step {step + 1} of {config.steps}: {why}. {kept}; the same command would come to the "
        f"same. Look at the data with `scripts/dataset.py inspect {config.data}`, or start in another --output with a "
        f"lower --learning-rate (it is {config.learning_rate:g}), --precision fp32 or a smaller --clip"
    )


def _resume(trainer: Trainer, path: Path, identity: Mapping[str, Any]) -> int:
    """Returns the number of steps taken until now, the trainer brought to where it was after them.

    Raises:
        StateError: If the state was made with another configuration, other data or another version.
    """
    state = load_state(path)
    if state is None:
        return 0
    if state.get("format") != FORMAT:
        raise StateError(
            f"{path} was written by another version of this program (its format is {state.get('format')}, {FORMAT} is "
            "read here): go on with that version, or name another output directory"
        )
    differing = _differences(state["config"], identity["config"])
    if differing:
        raise StateError(
            f"{path} is the state of a run with another configuration: {'; '.join(differing)}. Name another output "
            "directory (--output)"
        )
    if state["fingerprint"] != identity["fingerprint"]:
        raise StateError(f"{path} is the state of a run on other data. Name another output directory")
    try:
        trainer.load_state_dict(state["trainer"])
    except (KeyError, TypeError, ValueError, RuntimeError) as error:  # RuntimeError: torch's, of names and shapes
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        raise StateError(
            f"{path} does not fit what this version trains ({reason}): go on with the version that wrote it, or name "
            "another output directory"
        ) from error
    return state["step"]


def _differences(before: Mapping[str, Any], now: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Returns "name: then -> now" for every differing entry of two nested mappings."""
    found = []
    for name in sorted(set(before) | set(now)):
        then, current = before.get(name), now.get(name)
        if isinstance(then, Mapping) and isinstance(current, Mapping):
            found += _differences(then, current, f"{prefix}{name}.")
        elif then != current:
            found.append(f"{prefix}{name}: {then!r} then, {current!r} now")
    return found
