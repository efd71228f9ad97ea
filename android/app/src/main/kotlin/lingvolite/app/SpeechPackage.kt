package lingvolite.app

import android.content.res.AssetManager
import java.io.FileInputStream
import java.nio.ByteBuffer
import java.nio.channels.FileChannel
import org.json.JSONObject

/**
 * A package of `//tflite_export:package` below the app's assets.
 *
 * It was checked when the app was built (`//tflite_export:check_package`), and the
 * APK's signature covers it since.
 */
class SpeechPackage(private val assets: AssetManager) {
  /** A model of the ladder. */
  class Model(val recipe: String, val file: String, val bytes: Long) {
    override fun toString() = "%s (%.2f MB)".format(recipe, bytes / 1e6)
  }

  val models: List<Model>
  val labels: List<String>

  init {
    val text = assets.open("$FOLDER/package.json").bufferedReader().readText()
    val index = JSONObject(text)
    val files = index.getJSONObject("files")
    val entries = index.getJSONArray("models")
    models = (0 until entries.length())
      .map { entries.getJSONObject(it) }
      .filter { !it.isNull("chunk_samples") }
      .map {
        val file = it.getString("file")
        val bytes = files.getJSONObject(file).getLong("bytes")
        Model(it.getString("recipe"), file, bytes)
      }
    val lines = index.getJSONArray("labels")
    labels = (0 until lines.length()).map { lines.getString(it) }
  }

  /** Maps a model into memory; nothing is copied. */
  fun open(model: Model): ByteBuffer =
    assets.openFd("$FOLDER/${model.file}").use { place ->
      FileInputStream(place.fileDescriptor).channel.use { channel ->
        channel.map(
          FileChannel.MapMode.READ_ONLY,
          place.startOffset,
          place.declaredLength
        )
      }
    }

  private companion object {
    const val FOLDER = "speech"
  }
}
