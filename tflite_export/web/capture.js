// Hands sound from the microphone on, as it comes. Runs in an AudioWorklet.

class Capture extends AudioWorkletProcessor {
  process(inputs) {
    const channel = inputs[0][0];
    if (channel) this.port.postMessage(channel.slice());
    return true;
  }
}

registerProcessor('capture', Capture);
