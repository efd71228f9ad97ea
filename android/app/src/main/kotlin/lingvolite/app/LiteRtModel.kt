package lingvolite.app

import java.nio.ByteBuffer
import lingvolite.speech.Heard
import lingvolite.speech.StreamingModel
import org.tensorflow.lite.Interpreter

/** A streaming .tflite file of a package, on LiteRT. */
class LiteRtModel(file: ByteBuffer) : StreamingModel, AutoCloseable {
  private val interpreter =
    Interpreter(file, Interpreter.Options().setNumThreads(1))
  private val frames: Int

  override val chunkSamples: Int
  override val stateSize: Int

  init {
    val pcm = interpreter.getInputTensorFromSignature("pcm", STREAM)
    val state = interpreter.getInputTensorFromSignature("state", STREAM)
    val labels = interpreter.getOutputTensorFromSignature("labels", STREAM)
    chunkSamples = pcm.shape()[1]
    stateSize = state.shape()[1]
    frames = labels.shape()[0]
  }

  override fun run(pcm: FloatArray, samples: Int, state: FloatArray): Heard {
    val labels = IntArray(frames)
    val times = IntArray(frames)
    val count = IntArray(1)
    val after = arrayOf(FloatArray(stateSize))
    interpreter.runSignature(
      mapOf(
        "pcm" to arrayOf(pcm),
        "samples" to intArrayOf(samples),
        "state" to arrayOf(state)
      ),
      mapOf(
        "labels" to labels,
        "frames" to times,
        "count" to count,
        "state" to after
      ),
      if (samples == chunkSamples) STREAM else FLUSH
    )
    after[0].copyInto(state)
    return Heard(labels.copyOf(count[0]), times.copyOf(count[0]))
  }

  override fun close() {
    interpreter.close()
  }

  private companion object {
    const val STREAM = "stream"
    const val FLUSH = "flush"
  }
}
