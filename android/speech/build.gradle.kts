// What needs no Android: runs and is tested on any JVM.
plugins {
  id("org.jetbrains.kotlin.jvm")
}

kotlin {
  jvmToolchain(17)
}
