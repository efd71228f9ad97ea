"""Runs federated computations on this machine, on all its cores."""

import contextlib
import os
from collections.abc import Iterator

import tensorflow_federated as tff

from fl.runtime.executors import WorkerExecutors
from fl.runtime.worker import Worker


@contextlib.contextmanager
def local_runtime() -> Iterator[Worker]:
  """Makes TFF's default context a worker that lives as long as the block.

  Each client computes on one thread and as many clients at a time as there are
  cores: a client's operations are too small to share.

  Yields:
    The worker.
  """
  worker = Worker(
    concurrent_calls=len(os.sched_getaffinity(0)), threads_per_call=1
  )
  stack = tff.framework.get_context_stack()
  try:
    with stack.install(_context(worker)):
      yield worker
  finally:
    worker.close()


def _context(worker: Worker) -> tff.framework.SyncExecutionContext:
  return tff.framework.SyncExecutionContext(
    executor_fn=WorkerExecutors(worker),
    compiler_fn=compile_for_workers,
    transform_args=tff.tensorflow.transform_args,
    transform_result=tff.tensorflow.transform_result,
  )


def compile_for_workers(
  computation: tff.framework.ConcreteComputation,
) -> tff.framework.ConcreteComputation:
  """Compiles for TFF's workers, which simulate clients.

  They know no cryptography: a secure sum is computed as what it is, a sum of
  bounded integers modulo a power of two, by a server that we simulate too.
  """
  return tff.backends.native.desugar_and_transform_to_native(
    tff.backends.test.replace_secure_intrinsics_with_bodies(computation)
  )
