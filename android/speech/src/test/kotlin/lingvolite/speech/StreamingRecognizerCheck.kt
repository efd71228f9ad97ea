package lingvolite.speech

import kotlin.random.Random

/** Notes its calls and says one label a chunk: what the chunk's first sample is. */
private class NotingModel : StreamingModel {
  override val chunkSamples = 8
  override val stateSize = 2
  val calls = mutableListOf<Pair<Int, List<Float>>>()

  override fun run(pcm: FloatArray, samples: Int, state: FloatArray): Heard {
    calls.add(Pair(samples, pcm.toList()))
    val frame = state[0].toInt()
    state[0] += 1f
    val label = (pcm[0] * 32768).toInt() % 3
    return Heard(intArrayOf(label), intArrayOf(frame))
  }
}

private fun check(found: Any?, expected: Any?) {
  if (found != expected) throw AssertionError("found $found, expected $expected")
}

/**
 * Run by `tflite_export/android_speech_test.py` where there are kotlinc and java,
 * which is not so on a machine that only has what the project installs.
 */
fun main() {
  val labels = listOf(" ", "A", "B")
  val sound = ShortArray(37) { it.toShort() }
  val whole = NotingModel()
  val first = StreamingRecognizer(whole, labels)
  // Chunks begin with samples 0, 8, 16, 24, 32: labels 0, 2, 1, 0, 2.
  check(first.accept(sound), " BA ")
  check(first.finish(), " BA B")
  check(whole.calls.map { it.first }, listOf(8, 8, 8, 8, 5))
  check(whole.calls.last().second.drop(5), listOf(0f, 0f, 0f))
  check(whole.calls[1].second[3], 11 / 32768f)
  check(first.characters[2], TimedCharacter("A", 2 * 0.04))
  val random = Random(0)
  repeat(200) {
    val model = NotingModel()
    val recognizer = StreamingRecognizer(model, labels)
    var start = 0
    while (start < sound.size) {
      val end = minOf(sound.size, start + random.nextInt(0, 12))
      recognizer.accept(sound.copyOfRange(start, end))
      start = end
    }
    recognizer.finish()
    check(model.calls, whole.calls)
    check(recognizer.text, first.text)
  }
  val refused = try {
    first.accept(sound)
    false
  } catch (error: IllegalStateException) {
    true
  }
  check(refused, true)
  println("ok")
}
