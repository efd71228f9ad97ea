package lingvolite.app

import android.Manifest
import android.annotation.SuppressLint
import android.app.Activity
import android.content.pm.PackageManager
import android.media.AudioFormat
import android.media.AudioRecord
import android.media.MediaRecorder
import android.os.Bundle
import android.widget.ArrayAdapter
import android.widget.Button
import android.widget.LinearLayout
import android.widget.Spinner
import android.widget.TextView
import kotlin.concurrent.thread
import lingvolite.speech.StreamingRecognizer

/** Choose a model, speak, read. */
class MainActivity : Activity() {
  private lateinit var speech: SpeechPackage
  private lateinit var models: Spinner
  private lateinit var speak: Button
  private lateinit var transcript: TextView

  @Volatile private var listening = false

  override fun onCreate(saved: Bundle?) {
    super.onCreate(saved)
    speech = SpeechPackage(assets)
    models = Spinner(this).apply {
      adapter = ArrayAdapter(
        this@MainActivity,
        android.R.layout.simple_spinner_dropdown_item,
        speech.models
      )
    }
    speak = Button(this).apply {
      setText(R.string.speak)
      setOnClickListener { toggle() }
    }
    transcript = TextView(this).apply { textSize = 24f }
    setContentView(
      LinearLayout(this).apply {
        orientation = LinearLayout.VERTICAL
        setPadding(48, 48, 48, 48)
        listOf(models, speak, transcript).forEach { addView(it) }
      }
    )
  }

  override fun onStop() {
    super.onStop()
    listening = false
  }

  private fun toggle() {
    if (listening) {
      listening = false
      return
    }
    val permission = Manifest.permission.RECORD_AUDIO
    if (checkSelfPermission(permission) != PackageManager.PERMISSION_GRANTED) {
      requestPermissions(arrayOf(permission), 0)
      return
    }
    listening = true
    speak.setText(R.string.stop)
    models.isEnabled = false
    val model = speech.models[models.selectedItemPosition]
    thread(name = "speech") { listen(model) }
  }

  @SuppressLint("MissingPermission") // Asked for in `toggle`.
  private fun listen(model: SpeechPackage.Model) {
    LiteRtModel(speech.open(model)).use { loaded ->
      val recognizer = StreamingRecognizer(loaded, speech.labels)
      val smallest = AudioRecord.getMinBufferSize(
        SAMPLE_RATE_HZ,
        AudioFormat.CHANNEL_IN_MONO,
        AudioFormat.ENCODING_PCM_16BIT
      )
      val microphone = AudioRecord(
        MediaRecorder.AudioSource.VOICE_RECOGNITION,
        SAMPLE_RATE_HZ,
        AudioFormat.CHANNEL_IN_MONO,
        AudioFormat.ENCODING_PCM_16BIT,
        maxOf(smallest, 2 * SAMPLE_RATE_HZ)
      )
      val piece = ShortArray(SAMPLE_RATE_HZ / 10)
      microphone.startRecording()
      try {
        while (listening) {
          val count = microphone.read(piece, 0, piece.size)
          if (count < 0) break
          show(recognizer.accept(piece, count))
        }
      } finally {
        microphone.stop()
        microphone.release()
      }
      show(recognizer.finish())
    }
    listening = false
    runOnUiThread {
      speak.setText(R.string.speak)
      models.isEnabled = true
    }
  }

  private fun show(text: String) = runOnUiThread { transcript.text = text }

  private companion object {
    const val SAMPLE_RATE_HZ = 16_000
  }
}
