"""The workers that run at a moment: started as cores are free, looked at, and ended."""

import time

from ddl_bench.harness.curves import GrowingCurves
from ddl_bench.harness.queue import Queue
from ddl_bench.harness.stop import SIGNAL_WITHIN_S, Shift
from ddl_bench.harness.supervise import Job
from ddl_bench.harness.view import View

POLL_EVERY_S = 0.02


class Workers:
    """The workers of a run that are under way.

    Parameters
    ----------
    queue
        The cells that wait for a worker; it learns of those that end without a row.
    view
        Watches the run.
    shift
        The time that this runner has.
    curves
        Takes the curves of the workers.
    slots
        How many workers run at the same time.
    """

    def __init__(
        self, queue: Queue, view: View, shift: Shift, curves: GrowingCurves, *, slots: int
    ) -> None:
        self.running: list[Job] = []
        self._queue = queue
        self._view = view
        self._shift = shift
        self._curves = curves
        self._slots = slots
        self._has_waited = False  # for cores, of which the view has learnt

    def start(self) -> None:
        """Start workers until all slots are taken, or the cores are, or no cell waits."""
        while len(self.running) < self._slots and self._queue.waiting:
            job = self._queue.start_next(self.running, self._shift.remaining_s())
            if job is None:
                if self._queue.waiting and not self._has_waited:
                    self._has_waited = True
                    self._view.lacks_cores(self._queue.core_users(self.running))
                return
            self.running.append(job)

    def look(self) -> list[str]:
        """Look at the workers once, and let go of those that are over.

        Returns the IDs of the cells that have a row now.
        """
        queue = self._queue
        done = []
        for job in list(self.running):
            if job.was_stopped_by_others():
                self._ask_if_stopping(job)
            row = job.poll()
            if row is not None:
                row = queue.with_attempts(job, row)
                if queue.try_again(job.cell, row):
                    self._view.retried(row)
                else:
                    self._view.finished(row)
                    done.append(job.cell.id)
            if job.is_lost:
                queue.leave(job.cell)
            if job.is_stopped:
                queue.set_aside(job.cell)
            if row is not None or job.is_lost or job.is_stopped:
                self.running.remove(job)
                self._curves.ended(job, row)
                job.release()
            elif job.must_be_resumable and job.progress().is_resumable is False:
                queue.note_not_resumable(job.cell)
                job.ask_to_stop()
        self._view.tick(self.running)
        self._curves.look(self.running)
        time.sleep(POLL_EVERY_S)
        return done

    def _ask_if_stopping(self, job: Job) -> None:
        """Take a worker that has stopped for one that was asked to, if the runner is to stop too.

        Slurm asks all processes of a job, and the signal to the runner may come a little later.
        """
        time.sleep(SIGNAL_WITHIN_S)
        self._view.tick(self.running)
        if self._shift.is_over():
            job.ask_to_stop()

    def stop_in_order(self) -> None:
        """Ask the workers to save a checkpoint and to end; those that take longer are killed."""
        for job in self.running:
            job.ask_to_stop()
        end = time.monotonic() + self._shift.stop_within_s
        while self.running and time.monotonic() < end:
            self.look()
        for job in self.running:
            self._queue.set_aside(job.cell)
        self.kill()

    def kill(self) -> None:
        """Kill the workers that run still."""
        for job in self.running:
            job.kill()
            job.release()
        self.running.clear()
