plugins {
  id("com.android.application")
  id("org.jetbrains.kotlin.android")
}

android {
  namespace = "lingvolite.app"
  compileSdk = 34

  defaultConfig {
    applicationId = "lingvolite.app"
    minSdk = 26
    targetSdk = 34
    versionCode = 1
    versionName = "1.0"
  }

  // The interpreter maps models from the APK: they must lie there as they are.
  androidResources {
    noCompress += "tflite"
  }

  compileOptions {
    sourceCompatibility = JavaVersion.VERSION_17
    targetCompatibility = JavaVersion.VERSION_17
  }
  kotlinOptions {
    jvmTarget = "17"
  }
}

dependencies {
  implementation(project(":speech"))
  implementation("com.google.ai.edge.litert:litert:1.4.0")
}
