package lingvolite.speech

/** One call of a streaming .tflite file. */
interface StreamingModel {
  /** Samples of a chunk, 16 kHz. */
  val chunkSamples: Int

  /** How many numbers the state has. */
  val stateSize: Int

  /**
   * Runs the signature `stream`, or `flush` if `samples` is less than a chunk.
   *
   * @param pcm a chunk in [-1, 1], zeros after `samples`
   * @param samples how many of them are sound
   * @param state of the stream; it is set to the state after this chunk
   */
  fun run(pcm: FloatArray, samples: Int, state: FloatArray): Heard
}

/** What a chunk said: ids of characters, and the frames of 40 ms they began in. */
class Heard(val labels: IntArray, val frames: IntArray)

/** A character and when it began, from the start of the utterance. */
data class TimedCharacter(val text: String, val seconds: Double)

/**
 * One utterance that is recognised while it is spoken.
 *
 * The same as `tflite_export/stream.py`: sound may come in pieces of any length;
 * whole chunks are run as soon as they are there.
 *
 * @param model a streaming model of the package
 * @param labels the lines of the package's `labels.txt`
 */
class StreamingRecognizer(
  private val model: StreamingModel,
  private val labels: List<String>
) {
  private val waiting = FloatArray(model.chunkSamples)
  private var waitingSamples = 0
  private val state = FloatArray(model.stateSize)
  private val heard = mutableListOf<TimedCharacter>()
  private var finished = false

  /** The text so far; it only grows. */
  val text: String
    get() = heard.joinToString("") { it.text }

  /** The characters of the text and when they began. */
  val characters: List<TimedCharacter>
    get() = heard.toList()

  /** Takes the next 16-bit samples of one channel at 16 kHz; returns the text. */
  fun accept(pcm: ShortArray, count: Int = pcm.size): String {
    check(!finished) { "found sound after the end, expected a new recogniser" }
    for (index in 0 until count) {
      waiting[waitingSamples++] = pcm[index] / 32768f
      if (waitingSamples == waiting.size) step()
    }
    return text
  }

  /** Ends the utterance; returns the whole text. */
  fun finish(): String {
    check(!finished) { "found a second end of the utterance, expected one" }
    finished = true
    if (waitingSamples > 0) step()
    return text
  }

  private fun step() {
    waiting.fill(0f, waitingSamples)
    val said = model.run(waiting, waitingSamples, state)
    for (index in said.labels.indices) {
      val seconds = said.frames[index] * FRAME_SECONDS
      heard.add(TimedCharacter(labels[said.labels[index]], seconds))
    }
    waitingSamples = 0
  }

  private companion object {
    const val FRAME_SECONDS = 0.04
  }
}
