"""Whole rounds, against arithmetic by hand and TFF's federated averaging."""

from collections import OrderedDict

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from fl.dropout.message_sizes import download_bytes, upload_bytes
from fl.dropout.selection import RandomUnits
from fl.dropout.sub_model import SubModel, flatten, variable_specs
from fl.dropout.tiers import one_tier
from fl.processes.client_work import LocalTraining, build_client_work
from fl.processes.compose import build_federated_process
from fl.processes.distributor import build_distributor
from fl.runtime.local import local_runtime
from lingvo_lite.models.unit_groups import UnitGroup, UnitSlice

_HIDDEN = UnitGroup(
  "hidden",
  4,
  (
    UnitSlice("hidden/kernel:0", 1),
    UnitSlice("hidden/bias:0", 0),
    UnitSlice("out/kernel:0", 0),
  ),
)
_BATCH = OrderedDict(
  x=tf.TensorSpec([None, 3], tf.float32), y=tf.TensorSpec([None, 1], tf.float32)
)
_OPTIMIZERS = tff.learning.optimizers


def _model(hidden=4, dropout=0.0):
  inputs = tf.keras.Input([3])
  values = tf.keras.layers.Dense(hidden, activation="tanh", name="hidden")(
    inputs
  )
  values = tf.keras.layers.Dropout(dropout, name="dropout")(values)
  outputs = tf.keras.layers.Dense(1, name="out")(values)
  return tf.keras.Model(inputs, outputs)


def _linear():
  """y = w x: one layer, small enough for arithmetic by hand."""
  inputs = tf.keras.Input([2])
  outputs = tf.keras.layers.Dense(1, use_bias=False, name="out")(inputs)
  return tf.keras.Model(inputs, outputs)


def _squared_error(model, batch):
  outputs = model(batch["x"], training=True)
  return tf.reduce_mean(tf.math.squared_difference(outputs, batch["y"]))


def _batches(seed, steps, width=3):
  draw = np.random.default_rng(seed)
  return tf.data.Dataset.from_tensor_slices(
    OrderedDict(
      x=draw.normal(size=[4 * steps, width]).astype(np.float32),
      y=draw.normal(size=[4 * steps, 1]).astype(np.float32),
    )
  ).batch(4)


def _process(
  model,
  build_client_model,
  kept,
  groups=(_HIDDEN,),
  scope="client",
  optimizer=None,
  batch=_BATCH,
  client_rate=0.1,
  server_rate=1.0,
  **training,
):
  specs = variable_specs(model)
  sub_model = SubModel(specs, groups, kept)
  selection = RandomUnits(sub_model, 3, scope)
  process = build_federated_process(
    specs,
    one_tier(selection, 8),
    [
      LocalTraining(
        build_client_model,
        _squared_error,
        _OPTIMIZERS.build_sgdm(client_rate),
        lambda round_number: tf.constant(client_rate),
        clip_norm=None,
        seed=3,
        **training,
      )
    ],
    batch,
    server_optimizer=optimizer or _OPTIMIZERS.build_sgdm(server_rate),
    server_learning_rate=lambda round_number: tf.constant(server_rate),
  )
  return process, selection


def _clients(data):
  return [
    OrderedDict(client=np.array([client], np.int32), batches=batches)
    for client, batches in data.items()
  ]


class ComposeTest(tf.test.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.enterClassContext(local_runtime())

  def start(self, process, weights):
    return process.initialize()._replace(
      global_model_weights=np.asarray(weights, np.float32)
    )

  def test_two_clients_one_layer_by_hand(self):
    batch = OrderedDict(
      x=tf.TensorSpec([None, 2], tf.float32),
      y=tf.TensorSpec([None, 1], tf.float32),
    )
    process, _ = _process(
      _linear(), _linear, {}, groups=(), batch=batch, client_rate=0.25
    )

    def data(x, y, copies):
      return tf.data.Dataset.from_tensors(
        OrderedDict(
          x=np.array([x] * copies, np.float32),
          y=np.array([[y]] * copies, np.float32),
        )
      )

    # w = (1, 2). Client 0, three examples: x = (1, 0), y = 3, gradient
    # 2 (1 - 3) (1, 0) = (-4, 0), so w becomes (2, 2). Client 5, one example:
    # x = (0, 2), y = 2, gradient 2 (4 - 2) (0, 2) = (0, 8), so w becomes
    # (1, 0). Weighted by 3 and 1: (1.75, 1.5).
    state = self.start(process, [1, 2])
    output = process.next(
      state, _clients({0: data([1, 0], 3, 3), 5: data([0, 2], 2, 1)})
    )
    self.assertAllEqual(output.state.global_model_weights, [1.75, 1.5])
    # (3 * 4 + 1 * 4) / 4
    self.assertEqual(output.metrics["client_work"]["loss"], 4.0)

  def test_keeping_everything_is_federated_averaging_bit_for_bit(self):
    def tff_model():
      return tff.learning.models.from_keras_model(
        _model(),
        loss=tf.keras.losses.MeanSquaredError(),
        input_spec=(_BATCH["x"], _BATCH["y"]),
      )

    reference = tff.learning.algorithms.build_weighted_fed_avg(
      tff_model,
      client_optimizer_fn=_OPTIMIZERS.build_sgdm(0.1),
      server_optimizer_fn=_OPTIMIZERS.build_adam(0.05),
      loop_implementation=(tff.learning.LoopImplementation.DATASET_ITERATOR),
    )
    model = _model()
    process, _ = _process(
      model,
      _model,
      {"hidden": 4},
      optimizer=_OPTIMIZERS.build_adam(0.05),
      server_rate=0.05,
    )
    # Unequal amounts of data, so that weighting counts.
    data = {0: _batches(1, 3), 4: _batches(2, 1), 7: _batches(3, 2)}
    initial = reference.initialize()
    theirs = initial
    ours = self.start(process, flatten(initial.global_model_weights.trainable))
    for _ in range(3):
      theirs = reference.next(
        theirs,
        [d.map(lambda b: (b["x"], b["y"])) for d in data.values()],
      ).state
      ours = process.next(ours, _clients(data)).state
    expected = flatten(theirs.global_model_weights.trainable).numpy()
    self.assertNotAllEqual(
      expected, flatten(initial.global_model_weights.trainable)
    )
    self.assertEqual(ours.global_model_weights.tobytes(), expected.tobytes())

  def test_a_client_trains_its_own_slices_and_nothing_else_changes(self):
    initial = np.random.default_rng(0).normal(size=21).astype(np.float32)
    for scope in ("client", "round"):
      process, selection = _process(
        _model(), lambda: _model(hidden=2), {"hidden": 2}, scope=scope
      )
      sub_model = selection.sub_model
      data = {1: _batches(1, 2), 6: _batches(2, 1)}
      state = process.next(self.start(process, initial), _clients(data)).state

      # The same by hand: cut out, train, put back, average where held.
      sums, weights = np.zeros([2, 21], np.float32)
      for client, batches in data.items():
        where = sub_model.indices(selection.units(0, client)).numpy()
        client_model = _model(hidden=2)
        part = initial[where]
        shapes = sub_model.client_shapes
        edges = np.cumsum([int(np.prod(shape)) for shape in shapes])[:-1]
        for variable, value, shape in zip(
          client_model.trainable_variables,
          np.split(part, edges),
          shapes,
          strict=True,
        ):
          variable.assign(value.reshape(shape))
        examples = 0
        for batch in batches:
          with tf.GradientTape() as tape:
            loss = _squared_error(client_model, batch)
          variables = client_model.trainable_variables
          for v, g in zip(variables, tape.gradient(loss, variables),
                          strict=True):  # fmt: skip
            v.assign_sub(0.1 * g)
          examples += len(batch["x"])
        delta = part - flatten(client_model.trainable_variables).numpy()
        sums[where] += delta * examples
        weights[where] += examples
      expected = initial - sums / np.maximum(weights, 1)
      self.assertAllClose(state.global_model_weights, expected, atol=1e-6)
      unheld = weights == 0
      # With one draw for all, half of the hidden units have nobody.
      self.assertEqual(unheld.any(), scope == "round" or unheld.any())
      self.assertAllEqual(state.global_model_weights[unheld], initial[unheld])

  def test_unheld_moments_stay(self):
    process, selection = _process(
      _model(),
      lambda: _model(hidden=1),
      {"hidden": 1},
      optimizer=_OPTIMIZERS.build_adam(0.1),
      server_rate=0.1,
    )
    state = self.start(process, np.ones(21))
    output = process.next(state, _clients({2: _batches(1, 1)}))
    held = np.zeros(21, bool)
    held[selection.sub_model.indices(selection.units(0, 2)).numpy()] = True
    moments = output.state.finalizer["optimizer"]["accumulator"]
    self.assertAllEqual(moments[~held], np.zeros((~held).sum()))
    self.assertNotAllEqual(moments[held], np.zeros(held.sum()))
    self.assertAlmostEqual(
      output.metrics["aggregator"]["held_fraction"], held.mean(), places=6
    )

  def test_a_pruned_model_stays_pruned(self):
    pruned = np.random.default_rng(5).normal(size=21).astype(np.float32)
    # Of the kernels; the biases, zero too, are to move.
    kernels = np.r_[0:12, 16:20]
    pruned[np.r_[kernels[::2], 12:16, 20]] = 0
    process, _ = _process(
      _model(),
      lambda: _model(hidden=3),
      {"hidden": 3},
      optimizer=_OPTIMIZERS.build_adam(0.1),
      server_rate=0.1,
      keep_zeros=True,
    )
    state = self.start(process, pruned)
    for _ in range(2):
      state = process.next(
        state, _clients({c: _batches(c, 2) for c in range(6)})
      ).state
    weights = state.global_model_weights
    self.assertAllEqual(weights[kernels] == 0, pruned[kernels] == 0)
    self.assertNotAllEqual(weights[kernels], pruned[kernels])
    # Those of the hidden units that the output listens to.
    self.assertAllEqual(weights[[13, 15]] != 0, [True, True])
    self.assertNotEqual(weights[20], 0)

  def test_a_client_with_a_broken_update_is_left_out_and_counted(self):
    process, _ = _process(_model(), _model, {})
    broken = _batches(2, 1).map(
      lambda batch: OrderedDict(x=batch["x"] * np.nan, y=batch["y"])
    )
    start = self.start(process, np.ones(21))
    both = process.next(start, _clients({0: _batches(1, 2), 3: broken}))
    alone = process.next(start, _clients({0: _batches(1, 2)}))
    self.assertEqual(both.metrics["client_work"]["rejected"].not_finite, 1)
    self.assertAllEqual(
      both.state.global_model_weights, alone.state.global_model_weights
    )
    self.assertAllClose(
      both.metrics["client_work"]["loss"], alone.metrics["client_work"]["loss"]
    )

  def one_linear_client(self, client=0, steps=1, **training):
    """Weights (1, 2) after steps on x = (1, 0), y = 3 at a rate of 1/4."""
    batch = OrderedDict(
      x=tf.TensorSpec([None, 2], tf.float32),
      y=tf.TensorSpec([None, 1], tf.float32),
    )
    process, _ = _process(
      _linear(), _linear, {}, (), batch=batch, client_rate=0.25, **training
    )
    data = tf.data.Dataset.from_tensors(
      OrderedDict(
        x=np.array([[1, 0]], np.float32), y=np.array([[3]], np.float32)
      )
    ).repeat(steps)
    state = process.next(self.start(process, [1, 2]), _clients({client: data}))
    return state.state.global_model_weights

  def test_fedprox_holds_a_client_back(self):
    # Gradients 2 (1 - 3) = -4 and 2 (2 - 3) = -2, and the second step's weight
    # is 1 away from where it began: mu = 2 adds 2.
    self.assertAllEqual(self.one_linear_client(steps=2), [2.5, 2])
    self.assertAllEqual(
      self.one_linear_client(steps=2, proximal_strength=2.0), [2, 2]
    )

  def test_variational_noise_moves_gradients_and_does_not_stay(self):
    noisy = [
      self.one_linear_client(client, variational_noise=lambda r: 0.3)
      for client in (0, 0, 1, 2)
    ]
    # w - 0.5 (w + noise - 3): the noise shows by half, in the gradient alone.
    noise = [(2 - weights[0]) / 0.5 for weights in noisy]
    self.assertEqual([weights[1] for weights in noisy], [2, 2, 2, 2])
    self.assertEqual(noise[0], noise[1])
    self.assertLen(set(noise), 3)
    self.assertAllInRange(np.abs(noise), 1e-3, 4 * 0.3)

  def test_dropout_is_real_and_repeatable(self):
    states = []
    for rate in (0.0, 0.5, 0.5):
      process, _ = _process(
        _model(), lambda rate=rate: _model(dropout=rate), {}
      )
      state = self.start(process, np.linspace(-1, 1, 21))
      data = {client: _batches(client, 3) for client in range(4)}
      for _ in range(2):
        state = process.next(state, _clients(data)).state
      states.append(state.global_model_weights)
    self.assertNotAllClose(states[0], states[1])
    self.assertAllEqual(states[1], states[2])

  def test_sends_what_the_sizes_say(self):
    process, selection = _process(
      _model(), lambda: _model(hidden=2), {"hidden": 2}
    )
    params = selection.sub_model.client_params
    self.assertEqual(params, 11)
    self.assertEqual(
      process.download_bytes_per_client, (download_bytes(params),)
    )
    self.assertEqual(process.upload_bytes_per_client, (upload_bytes(params),))

  def test_the_tensors_that_cross_weigh_what_the_sizes_say(self):
    specs = variable_specs(_model())
    sub_model = SubModel(specs, [_HIDDEN], {"hidden": 2})
    tiers = one_tier(RandomUnits(sub_model, 3, "client"), 8)
    distributor = build_distributor(tiers)
    work = build_client_work(
      [
        LocalTraining(
          lambda: _model(hidden=2),
          _squared_error,
          _OPTIMIZERS.build_sgdm(0.1),
          lambda round_number: tf.constant(0.1),
          clip_norm=None,
          seed=3,
        )
      ],
      tiers,
      _BATCH,
    )
    keys = [np.array([client], np.int32) for client in (1, 6)]
    sent = distributor.next(
      distributor.initialize(), np.ones(21, np.float32), keys
    ).result
    back = work.next(
      work.initialize(), sent, keys, [_batches(1, 2), _batches(2, 1)]
    ).result
    self.assertLen(sent, 2)
    for message in sent:
      (weights,) = message.weights
      self.assertEqual(
        np.asarray(weights).nbytes + np.asarray(message.round_number).nbytes,
        download_bytes(sub_model.client_params),
      )
    for message in back:
      self.assertEqual(
        sum(np.asarray(value).nbytes for value in message),
        upload_bytes(sub_model.client_params),
      )

  def test_a_model_of_other_shapes_is_refused(self):
    with self.assertRaisesRegex(ValueError, "another model"):
      _process(_model(), lambda: _model(hidden=3), {"hidden": 2})

  def test_weights_go_in_and_come_out_in_the_models_shapes(self):
    model = _model()
    process, _ = _process(model, _model, {})
    values = tuple(
      np.full(spec.shape, i, np.float32)
      for i, spec in enumerate(variable_specs(model))
    )
    state = process.set_model_weights(process.initialize(), values)
    for found, value in zip(
      process.get_model_weights(state), values, strict=True
    ):
      self.assertAllEqual(found, value)


if __name__ == "__main__":
  tf.test.main()
