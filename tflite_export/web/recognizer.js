// Recognises speech with a .tflite file of this project, chunk by chunk.
//
// The same as tflite_export/stream.py: sound may come in pieces of any length,
// whole chunks are run as soon as they are there, the state goes from one call
// into the next.

import {loadAndCompile, Tensor} from '@litertjs/core';

const FRAME_SECONDS = 0.04;

export class Recognizer {
  /**
   * @param {string} folder of the package, ending in a slash
   * @param {object} entry of the model in package.json
   * @param {string[]} labels of package.json
   */
  static async load(folder, entry, labels) {
    if (!entry.chunk_samples) {
      throw new Error(`${entry.file} does not stream; pack a model that does`);
    }
    const model = await loadAndCompile(
        folder + entry.file, {accelerator: 'wasm'});
    return new Recognizer(model, entry, labels);
  }

  constructor(model, entry, labels) {
    this.model = model;
    this.chunkSamples = entry.chunk_samples;
    this.stateSize = entry.signatures.stream.inputs.state.shape[1];
    this.labels = labels;
  }

  /** Begins an utterance. */
  stream() {
    return new Stream(this);
  }

  delete() {
    this.model.delete();
  }
}

export class Stream {
  constructor(recognizer) {
    this.recognizer = recognizer;
    this.waiting = new Float32Array(0);
    this.state = new Float32Array(recognizer.stateSize);
    this.text = '';
    this.frames = [];
    this.samples = 0;
    this.milliseconds = 0;
  }

  /** Takes the next piece, Float32Array at 16 kHz; resolves to the text. */
  async accept(pcm) {
    const size = this.recognizer.chunkSamples;
    const all = new Float32Array(this.waiting.length + pcm.length);
    all.set(this.waiting);
    all.set(pcm, this.waiting.length);
    let start = 0;
    for (; start + size <= all.length; start += size) {
      await this.step('stream', all.subarray(start, start + size));
    }
    this.waiting = all.slice(start);
    return this.text;
  }

  /** Ends the utterance; resolves to the whole text. */
  async finish() {
    if (this.waiting.length) {
      await this.step('flush', this.waiting);
      this.waiting = new Float32Array(0);
    }
    return this.text;
  }

  /** Seconds of computing a second of sound. */
  get realTimeFactor() {
    return this.milliseconds / (this.samples / 16);
  }

  /** When each character began, in seconds. */
  get times() {
    return this.frames.map((frame) => frame * FRAME_SECONDS);
  }

  async step(signature, pcm) {
    const {model, chunkSamples, labels} = this.recognizer;
    const chunk = new Float32Array(chunkSamples);
    chunk.set(pcm);
    const inputs = {
      pcm: new Tensor(chunk, [1, chunkSamples]),
      samples: new Tensor(new Int32Array([pcm.length]), [1]),
      state: new Tensor(this.state, [1, this.state.length]),
    };
    const started = performance.now();
    const outputs = await model.run(signature, inputs);
    const read = (name) => outputs[name].toTypedArray();
    const count = read('count')[0];
    const heard = read('labels').slice(0, count);
    this.frames.push(...read('frames').slice(0, count));
    this.state = read('state').slice();
    this.milliseconds += performance.now() - started;
    this.samples += pcm.length;
    for (const label of heard) this.text += labels[label];
    for (const tensor of Object.values(inputs)) tensor.delete();
    for (const tensor of Object.values(outputs)) tensor.delete();
  }
}
