"""Executors are given jobs, and waited for."""

from __future__ import annotations

from loraloom.engine import Job, Listener
from loraloom.execute.executor import Executor, Finished
from loraloom.study.record import Evaluation


def go_on(job: Job, evaluation: Evaluation) -> bool:
    del job, evaluation
    return True


def never() -> bool:
    return False


def run(executor: Executor, jobs: list[Job], listener: Listener = go_on) -> Finished:
    executor.start(jobs)
    return executor.wait(listener, never)
